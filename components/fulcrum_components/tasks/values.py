"""Checks of numbers that tasks, and what reads the data, have in common.

Everything here looks at one batch, so that a set larger than memory is checked while it is read.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fulcrum_components.notes import Notes
from fulcrum_components.tasks.outcomes import Array
from fulcrum_pipelines.errors import UserError

Indices = npt.NDArray[np.int64]

COARSE = 1e-3
"""Rounding by this share of the range of a value is worth a note; float32 rounds values that lie
around 0 by 1e-7 of it."""

FEWEST_FOR_SPREAD = 16

EXACT_WHOLE = 2**53
"""Up to here float64 holds every whole number."""


def check_finite(values: Array, name: str, indices: Indices, where: str) -> None:
    """Refuse values (n, ...) that are NaN or infinite.

    Args:
        values: Of the examples `indices`.
        name: What the values are, for messages.
        indices: Numbers of the examples in the file, for messages.
        where: Field path and file, for messages.

    Raises:
        UserError: Naming the first such value.
    """
    finite = np.isfinite(values)
    if finite.all():
        return
    bad = np.flatnonzero(~finite.reshape(len(values), -1).all(axis=1))
    value = values[bad[0]].ravel()[~finite[bad[0]].ravel()][0]
    message = f"{name} of example {indices[bad[0]]} holds {value}; values must be finite"
    raise UserError(message, where=where)


def note_rounding(
    values: Array, converted: Array, name: str, dtype: str, indices: Indices, notes: Notes
) -> None:
    """Note where the model's type makes values equal that are not, such as ids and times."""
    if values.dtype.kind == "b" or values.dtype.itemsize <= 2 or values.dtype == converted.dtype:
        return
    whole_words = values.dtype.kind in "iu" and values.dtype.itemsize == 8
    wide = values.astype(np.longdouble if whole_words else np.float64)
    error = np.abs(converted.astype(wide.dtype) - wide)
    whole = error * (np.trunc(wide) == wide)
    bad = whole if whole.any() else _coarse(wide, error)
    if bad.any():
        place = np.unravel_index(int(bad.argmax()), bad.shape)
        notes.add(
            f"rounding {name}",
            f"{name} is {values.dtype.name}, and the model's {dtype} cannot hold all digits: "
            f"{values[place]} of example {indices[place[0]]} becomes {converted[place]:.10g}",
        )


def _coarse(values: Array, error: Array) -> Array:
    """Return `error` where it is large against how much that value differs between examples."""
    if len(values) < FEWEST_FOR_SPREAD:
        return np.zeros_like(error)
    spread = np.ptp(values, axis=0)
    coarse: Array = np.where((spread > 0) & (error > COARSE * spread), error, 0)
    return coarse


def refuse_targets(wrong: Array, targets: Array, complaint: str, where: str) -> None:
    """Refuse targets (n, ...) of which some are `wrong`, a mask of their shape.

    Raises:
        UserError: Naming the first example that has one.
    """
    per_example = wrong.reshape(len(wrong), -1).any(axis=1)
    if per_example.any():
        index = int(per_example.argmax())
        raise UserError(f"target {targets[index]} of example {index} {complaint}", where=where)


def squeezed(values: np.ndarray[Any, np.dtype[Any]]) -> Array:
    """Return values (n, ...) without further axes of length 1: (n,) for (n, 1) or (n, 1, 1)."""
    return values.reshape(len(values), *(size for size in values.shape[1:] if size != 1))
