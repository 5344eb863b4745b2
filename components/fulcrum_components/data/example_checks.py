"""Refuse examples that the model cannot have been meant for, and say which and why.

Everything here looks at one batch, so that a set larger than memory is checked while it is read.
Numbers of examples in messages count from 0 in the order of the file.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fulcrum_components.data.label_values import Array
from fulcrum_components.models.signature import TensorSpec
from fulcrum_components.notes import Notes
from fulcrum_components.tasks.values import EXACT_WHOLE, Indices, check_finite, note_rounding
from fulcrum_pipelines.errors import UserError


def check_inputs(
    values: Array,
    spec: TensorSpec,
    indices: Indices,
    *,
    scale: float | None,
    where: str,
    notes: Notes,
) -> Array:
    """Return `values` in the type of `spec`, scaled if it is a floating one.

    Args:
        values: Examples along axis 0.
        spec: What the model takes.
        indices: Their numbers in the file, for messages.
        scale: Factor, or `None`.
        where: Field path and file, for messages.
        notes: Takes what the model's type cannot hold.

    Raises:
        UserError: Shape or type do not fit, or a value is not finite.
    """
    wanted = np.dtype(spec.dtype)
    found = f"{values.dtype.name}[n{''.join(f', {size}' for size in values.shape[1:])}]"
    if not spec.matches(values.shape) or not _converts(values, wanted):
        message = f"input '{spec.name}' is {found}, but the model takes {spec}"
        raise UserError(message, where=where)
    if np.issubdtype(values.dtype, np.floating):
        check_finite(values, f"input '{spec.name}'", indices, where)
    if np.issubdtype(wanted, np.integer):
        _check_range(values, wanted, spec.name, where)
    if scale is not None and np.issubdtype(wanted, np.floating):
        values = _scaled(values, scale, wanted)
    with np.errstate(over="ignore"):
        converted = np.ascontiguousarray(values, dtype=wanted)
    if np.issubdtype(wanted, np.floating):
        check_finite(converted, f"input '{spec.name}' as {spec.dtype}", indices, where)
        note_rounding(values, converted, f"input '{spec.name}'", spec.dtype, indices, notes)
    return converted


def _converts(values: Array, wanted: np.dtype[Any]) -> bool:
    """Return whether `values` may feed a model that takes `wanted`, without a change of meaning."""
    kind = values.dtype.kind
    if wanted == np.bool_:
        return kind == "b" or (kind in "iu" and bool(((values == 0) | (values == 1)).all()))
    if np.issubdtype(wanted, np.floating):
        return kind in "biuf"
    if kind == "f" and values.dtype.itemsize > 4:  # whole numbers where one was missing once
        return bool(((np.trunc(values) == values) & (np.abs(values) <= EXACT_WHOLE)).all())
    return kind in "biu"


def _scaled(values: Array, scale: float, wanted: np.dtype[Any]) -> Array:
    """Return `values` times `scale`, in float64 where `wanted` would round the values first."""
    wide = np.dtype(np.float64) if np.result_type(values.dtype, wanted) != wanted else wanted
    with np.errstate(over="ignore"):
        scaled: Array = np.multiply(values, wide.type(scale), dtype=wide)
    return scaled


def _check_range(values: Array, wanted: np.dtype[Any], name: str, where: str) -> None:
    limits = np.iinfo(wanted)
    if values.size and (values.min() < limits.min or values.max() > limits.max):
        message = (
            f"input '{name}' goes from {values.min()} to {values.max()}, "
            f"which does not fit the model's {wanted.name}"
        )
        raise UserError(message, where=where)
