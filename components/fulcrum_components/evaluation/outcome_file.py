"""A model's answer for each test example, kept so that any statistic can be computed again.

Models are compared in pairs of answers to the same example; a stored mean could not be paired. The
file holds float32, or float64 where a model returns such values: float16 would change ties, and
with them AUC.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fulcrum_components.array_file import Arrays, read_arrays
from fulcrum_components.tasks import Array, Outcomes
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.resources.compressionjob import Data

_COLUMN = "column:"
_OUTPUT = "output:"


def column_of(outcomes: Outcomes, name: str, *, where: str) -> Array:
    """Return the declared column `name`, (n,).

    Raises:
        UserError: If the outcomes lack it.
    """
    if name not in outcomes.columns:
        known = ", ".join(sorted(outcomes.columns)) or "none"
        raise UserError(f"the test data have no column '{name}' (known: {known})", where=where)
    return outcomes.columns[name]


def save_outcomes(
    outcomes: Outcomes, path: Path, further: Mapping[str, Mapping[str, Array]] | None = None
) -> None:
    """Write `outcomes` to `path` as compressed .npz; equal outcomes give equal bytes.

    Args:
        outcomes: Of the first output.
        path: File to write.
        further: For each output after the first, what is known of each example, by name.
    """
    columns = {_COLUMN + name: _plain(values) for name, values in outcomes.columns.items()}
    others = {
        f"{_OUTPUT}{output}:{name}": values
        for output, arrays in (further or {}).items()
        for name, values in arrays.items()
    }
    arrays = {"outputs": outcomes.outputs, "targets": outcomes.targets, **columns, **others}
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def load_outcomes(path: Path) -> Outcomes:
    """Return what `save_outcomes` wrote of the first output.

    Raises:
        InfrastructureError: If the file is damaged or is something else.
    """
    return read_arrays(path, "outcomes", _first_output)


def _first_output(arrays: Arrays) -> Outcomes:
    columns = {
        name.removeprefix(_COLUMN): values
        for name, values in arrays.items()
        if name.startswith(_COLUMN)
    }
    return Outcomes(arrays["outputs"], arrays["targets"], columns)


def columns_needed(data: Data) -> tuple[str, ...]:
    """Return the columns of the test data that slices and groups need, each once."""
    names = [declared.column for declared in data.slices or ()]
    return tuple(dict.fromkeys([*names, *([data.group_by] if data.group_by else [])]))


def _plain(values: Array) -> Array:
    """Return `values` without Python objects, which only pickle could store."""
    return values.astype(str) if values.dtype == object else values
