"""The paired timings of validate on disk, so that each speed-up and its control can be recomputed.

Whole nanoseconds, as the clock gave them: medians, ratios and intervals follow exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fulcrum_components.array_file import Arrays, read_arrays
from fulcrum_components.latency.interleaving import Interleaved, Timings


def save_timings(by_batch: Mapping[int, Interleaved], path: Path) -> None:
    """Write the timings of each batch size B to `path` as compressed .npz.

    A row of an array is a session, and times of one place in two arrays are a pair:
        batchB/baseline_ns, batchB/candidate_ns: int64 (sessions, pairs a session).
        batchB/control_baseline_ns, batchB/control_ns: int64 (sessions, pairs a session), those
            calls of the baseline that the control took turns with, and the control's.
        batchB/cpu_share: float64 ().
    """
    arrays: Arrays = {}
    for batch, found in by_batch.items():
        arrays |= {
            f"batch{batch}/baseline_ns": found.models.first,
            f"batch{batch}/candidate_ns": found.models.second,
            f"batch{batch}/control_baseline_ns": found.itself.first,
            f"batch{batch}/control_ns": found.itself.second,
            f"batch{batch}/cpu_share": np.array(found.cpu_share),
        }
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def load_timings(path: Path) -> dict[int, Interleaved]:
    """Return what `save_timings` wrote, by batch size.

    Raises:
        InfrastructureError: If the file is damaged or is something else.
    """
    return read_arrays(path, "timings", _by_batch)


def _by_batch(arrays: Arrays) -> dict[int, Interleaved]:
    folders = dict.fromkeys(name.partition("/")[0] for name in arrays)
    return {int(folder.removeprefix("batch")): _of_batch(arrays, folder) for folder in folders}


def _of_batch(arrays: Arrays, folder: str) -> Interleaved:
    return Interleaved(
        Timings(arrays[f"{folder}/baseline_ns"], arrays[f"{folder}/candidate_ns"]),
        Timings(arrays[f"{folder}/control_baseline_ns"], arrays[f"{folder}/control_ns"]),
        float(arrays[f"{folder}/cpu_share"]),
    )
