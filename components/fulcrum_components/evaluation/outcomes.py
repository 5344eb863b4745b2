"""What a model answered for each test example, kept so that any statistic can be redone.

Models are compared in pairs of answers to the same example; a stored mean could not be paired. The
file holds float32, or float64 where a model returns such values: float16 would change ties, and
with them AUC.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fulcrum_pipelines.catalog import has_labels
from fulcrum_pipelines.errors import InfrastructureError, UserError
from fulcrum_pipelines.resources.compressionjob import Data

Array = np.ndarray[Any, np.dtype[Any]]

_COLUMN = "column:"
_OUTPUT = "output:"


@dataclass(frozen=True)
class Outcomes:
    """Answers of one model to n examples.

    Attributes:
        outputs: Probabilities (n, classes), float32; or values (n,) or (n, k) for regression, as
            exact as the model gives them.
        targets: Right answers: labels (n,) from 0, or values of the shape of `outputs`.
        columns: Declared columns by name, (n,) each.
    """

    outputs: Array
    targets: Array
    columns: dict[str, Array] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return n."""
        return len(self.targets)

    def take(self, selected: Array) -> Outcomes:
        """Return the outcomes of `selected` examples: a mask (n,) or indices."""
        columns = {name: values[selected] for name, values in self.columns.items()}
        return Outcomes(self.outputs[selected], self.targets[selected], columns)


def column_of(outcomes: Outcomes, name: str, *, where: str) -> Array:
    """Return the declared column `name`, (n,).

    Raises:
        UserError: If the outcomes lack it.
    """
    if name not in outcomes.columns:
        known = ", ".join(sorted(outcomes.columns)) or "none"
        raise UserError(f"the test data have no column '{name}' (known: {known})", where=where)
    return outcomes.columns[name]


def check_outcomes(outcomes: Outcomes, task: str, *, where: str) -> None:
    """Check that targets and outputs fit each other and the task.

    Raises:
        UserError: Naming the first example that does not.
    """
    outputs, targets = outcomes.outputs, outcomes.targets
    if not has_labels(task):
        if outputs.shape != targets.shape:
            message = (
                f"the model gives values of shape {list(outputs.shape[1:])} an example, "
                f"the targets are of shape {list(targets.shape[1:])}; give one target a value"
            )
            raise UserError(message, where=where)
        _first_wrong(~np.isfinite(targets), targets, "is not finite", where)
        return
    if outputs.ndim != 2:
        message = f"classification needs outputs (examples, classes), got {list(outputs.shape)}"
        raise UserError(message, where=where)
    if targets.ndim != 1 or not np.issubdtype(targets.dtype, np.integer):
        message = f"class labels must be whole numbers (n,), got {targets.dtype}{targets.shape}"
        raise UserError(message, where=where)
    last = outputs.shape[1] - 1
    wrong = (targets < 0) | (targets > last)
    _first_wrong(wrong, targets, f"is not a label of this model, which knows 0 to {last}", where)


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
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        outputs, targets = arrays.pop("outputs"), arrays.pop("targets")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, TypeError) as error:
        message = "is not a file of outcomes, or is damaged; run the stage again with --no-cache"
        raise InfrastructureError(message, where=str(path)) from error
    columns = {
        name.removeprefix(_COLUMN): values
        for name, values in arrays.items()
        if name.startswith(_COLUMN)
    }
    return Outcomes(outputs, targets, columns)


def columns_needed(data: Data) -> tuple[str, ...]:
    """Return the columns of the test data that slices and groups need, each once."""
    names = [declared.column for declared in data.slices or ()]
    return tuple(dict.fromkeys([*names, *([data.group_by] if data.group_by else [])]))


def _plain(values: Array) -> Array:
    """Return `values` without Python objects, which only pickle could store."""
    return values.astype(str) if values.dtype == object else values


def _first_wrong(wrong: Array, targets: Array, complaint: str, where: str) -> None:
    per_example = wrong.reshape(len(wrong), -1).any(axis=1)
    if per_example.any():
        index = int(per_example.argmax())
        raise UserError(f"target {targets[index]} of example {index} {complaint}", where=where)
