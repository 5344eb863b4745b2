"""Refuse examples that the model cannot have been meant for, and say which and why.

Everything here looks at one batch, so that a set larger than memory is checked while it is read.
Numbers of examples in messages count from 0 in the order of the file.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from fulcrum_components.data.label_values import Array, Indices
from fulcrum_components.data.notes import Notes
from fulcrum_components.models.signature import BATCH, Signature, TensorSpec
from fulcrum_pipelines.errors import UserError

Size = TypeVar("Size", int, int | str)

COARSE = 1e-3
"""Rounding by this share of the range of a value is worth a note; float32 rounds values that lie
around 0 by 1e-7 of it."""

FEWEST_FOR_SPREAD = 16

EXACT_WHOLE = 2**53
"""Up to here float64 holds every whole number."""


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
        _check_finite(values, f"input '{spec.name}'", indices, where)
    if np.issubdtype(wanted, np.integer):
        _check_range(values, wanted, spec.name, where)
    if scale is not None and np.issubdtype(wanted, np.floating):
        values = _scaled(values, scale, wanted)
    with np.errstate(over="ignore"):
        converted = np.ascontiguousarray(values, dtype=wanted)
    if np.issubdtype(wanted, np.floating):
        _check_finite(converted, f"input '{spec.name}' as {spec.dtype}", indices, where)
        _note_rounding(values, converted, f"input '{spec.name}'", spec.dtype, indices, notes)
    return converted


def _converts(values: Array, wanted: np.dtype[Any]) -> bool:
    """Tell whether `values` may feed a model that takes `wanted`, without a change of meaning."""
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


def _note_rounding(
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


def _check_finite(values: Array, name: str, indices: Indices, where: str) -> None:
    finite = np.isfinite(values)
    if finite.all():
        return
    bad = np.flatnonzero(~finite.reshape(len(values), -1).all(axis=1))
    value = values[bad[0]].ravel()[~finite[bad[0]].ravel()][0]
    message = f"{name} of example {indices[bad[0]]} holds {value}; values must be finite"
    raise UserError(message, where=where)


def _check_range(values: Array, wanted: np.dtype[Any], name: str, where: str) -> None:
    limits = np.iinfo(wanted)
    if values.size and (values.min() < limits.min or values.max() > limits.max):
        message = (
            f"input '{name}' goes from {values.min()} to {values.max()}, "
            f"which does not fit the model's {wanted.name}"
        )
        raise UserError(message, where=where)


def _check_target_shape(
    shape: tuple[int, ...], output: TensorSpec, where: str, notes: Notes
) -> None:
    """Accept targets that differ from the output only in axes of length 1, and note which.

    (n,) for (batch, 1) is so common that it is no note.

    Raises:
        UserError: They differ in more.
    """
    if output.matches(shape) or (len(shape) == 1 and output.shape[1:] == (1,)):
        return
    found = f"targets have the shape {_shown('n', shape[1:])}"
    needed = replace(output, shape=(output.shape[0], *_without_ones(output.shape[1:])))
    if not needed.matches((shape[0], *_without_ones(shape[1:]))):
        message = (
            f"{found}, but the model gives {output}; store targets as "
            f"{_shown('n', output.shape[1:])}, or give a model whose first output is "
            f"{_shown(BATCH, shape[1:])} (only axes of length 1 may differ)"
        )
        raise UserError(message, where=where)
    text = f"{found} and the model gives {output}; axes of length 1 are taken as the same"
    notes.add("target shape", text)


def _without_ones(sizes: tuple[Size, ...]) -> tuple[Size, ...]:
    return tuple(size for size in sizes if size != 1)


def _shown(first: str, sizes: tuple[int | str, ...]) -> str:
    return f"[{', '.join(map(str, (first, *sizes)))}]"


def check_targets(
    values: Array, signature: Signature, indices: Indices, *, where: str, notes: Notes
) -> Array:
    """Return the targets of a regression as float64.

    Raises:
        UserError: They have the wrong shape or type, or are not finite.
    """
    if values.dtype.kind not in "iuf":
        message = f"targets are {values.dtype.name}, expected numbers"
        raise UserError(message, where=where)
    output = signature.outputs[0]
    _check_target_shape(values.shape, output, where, notes)
    _check_finite(values, "the target", indices, where)
    converted = values.astype(np.float64)
    if output.dtype.startswith("float"):
        with np.errstate(over="ignore"):
            rounded = converted.astype(output.dtype)
        _note_rounding(converted, rounded, "the target", output.dtype, indices, notes)
    if values.dtype.kind in "iu" and values.size and (np.abs(converted) > EXACT_WHOLE).any():
        text = f"targets above {EXACT_WHOLE} are rounded: float64 cannot hold all their digits"
        notes.add("targets", text)
    return converted
