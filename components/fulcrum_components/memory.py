"""Storage costs of a model: bytes on disk, and memory of a process that serves it."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fulcrum_components.sizes import gzip_bytes
from fulcrum_pipelines.evidence import SizeComparison

RUNS = 3
_TIMEOUT_SECONDS = 300


def compare_sizes(
    baseline: Path,
    candidate: Path,
    inputs_by_batch: Mapping[int, Mapping[str, np.ndarray]],
    *,
    threads: int = 1,
) -> SizeComparison:
    """Return file sizes of both models, and the peak memory of serving the largest batch.

    Memory that cannot be measured here is absent, with a note that says why.

    Args:
        baseline: ONNX file.
        candidate: ONNX file with the same inputs.
        inputs_by_batch: For each batch size one array for each input.
        threads: Intra-op threads of the serving session.
    """
    batch = max(inputs_by_batch)
    before, before_note = peak_memory(baseline, inputs_by_batch[batch], threads=threads)
    after, after_note = peak_memory(candidate, inputs_by_batch[batch], threads=threads)
    measured = f"at batch {batch}, median of {RUNS} processes, without what imports take"
    return SizeComparison(
        baseline_bytes=baseline.stat().st_size,
        candidate_bytes=candidate.stat().st_size,
        baseline_gzip_bytes=gzip_bytes(baseline),
        candidate_gzip_bytes=gzip_bytes(candidate),
        baseline_peak_memory_bytes=before,
        candidate_peak_memory_bytes=after,
        memory_note=before_note or after_note or measured,
    )


def peak_memory(
    path: Path, inputs: Mapping[str, np.ndarray], *, threads: int = 1
) -> tuple[int | None, str]:
    """Return the bytes that a fresh process needs to open `path` and answer `inputs`, and a note.

    The bytes are None if the measurement fails; the note then says why.
    """
    with tempfile.TemporaryDirectory() as directory:
        inputs_path = Path(directory, "inputs.npz")
        np.savez(inputs_path, allow_pickle=False, **inputs)
        arguments = [str(path), str(inputs_path), str(threads)]
        try:
            return int(statistics.median(_probe(arguments) for _ in range(RUNS))), ""
        except subprocess.TimeoutExpired:
            return None, f"peak memory: no answer within {_TIMEOUT_SECONDS} s"
        except subprocess.CalledProcessError as error:
            last_line = (error.stderr.strip().splitlines() or [f"exit code {error.returncode}"])[-1]
            return None, f"peak memory could not be measured: {last_line}"


def _probe(arguments: list[str]) -> int:
    """Run the probe once; it finds the packages where this process does."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "fulcrum_components.memory_probe", *arguments]
    done = subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=_TIMEOUT_SECONDS,
    )
    return int(done.stdout)
