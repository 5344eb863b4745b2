"""Refuse examples that the model cannot have been meant for, and say which and why.

Everything here looks at one batch, so that a set larger than memory is checked while it is read.
Numbers of examples in messages count from 0 in the order of the file.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fulcrum_components.models.signature import Signature, TensorSpec
from fulcrum_pipelines.errors import UserError

Array = npt.NDArray[Any]


def check_inputs(
    values: Array,
    spec: TensorSpec,
    indices: npt.NDArray[np.int64],
    *,
    scale: float | None,
    where: str,
) -> Array:
    """Return `values` in the type of `spec`, scaled if it is a floating one.

    Args:
        values: Examples along axis 0.
        spec: What the model takes.
        indices: Their numbers in the file, for messages.
        scale: Factor, or `None`.
        where: Field path and file, for messages.

    Raises:
        UserError: Shape or type do not fit, or a value is not finite.
    """
    wanted = np.dtype(spec.dtype)
    found = f"{values.dtype.name}[n{''.join(f', {size}' for size in values.shape[1:])}]"
    if not spec.matches(values.shape) or not _converts(values.dtype, wanted):
        message = f"input '{spec.name}' is {found}, but the model takes {spec}"
        raise UserError(message, where=where)
    if np.issubdtype(values.dtype, np.floating):
        _check_finite(values, f"input '{spec.name}'", indices, where)
    if np.issubdtype(wanted, np.integer):
        _check_range(values, wanted, spec.name, where)
    if scale is not None and np.issubdtype(wanted, np.floating):
        with np.errstate(over="ignore"):
            values = np.multiply(values, wanted.type(scale), dtype=wanted)
    with np.errstate(over="ignore"):
        converted = np.ascontiguousarray(values, dtype=wanted)
    if np.issubdtype(wanted, np.floating):
        _check_finite(converted, f"input '{spec.name}' as {spec.dtype}", indices, where)
    return converted


def _converts(found: np.dtype[Any], wanted: np.dtype[Any]) -> bool:
    """Tell whether values of type `found` may feed a model that takes `wanted`."""
    if wanted == np.bool_:
        return found == np.bool_
    numeric = np.issubdtype(found, np.integer) or found == np.bool_
    if np.issubdtype(wanted, np.floating):
        return numeric or np.issubdtype(found, np.floating)
    return bool(numeric)


def _check_finite(values: Array, name: str, indices: npt.NDArray[np.int64], where: str) -> None:
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


def check_targets(
    values: Array,
    signature: Signature,
    task: str,
    indices: npt.NDArray[np.int64],
    *,
    where: str,
) -> Array:
    """Return labels as int64 or regression targets as float32.

    Raises:
        UserError: They have the wrong shape or type, are not finite, or a label is negative or
            not below the number of classes.
    """
    if task == "classification":
        return _labels(values, signature.classes, indices, where)
    if not (np.issubdtype(values.dtype, np.floating) or np.issubdtype(values.dtype, np.integer)):
        message = f"targets are {values.dtype.name}, expected numbers"
        raise UserError(message, where=where)
    output = signature.outputs[0]
    if not output.matches(values.shape) and not (
        values.ndim == 1 and output.shape[1:] in ((1,), ())
    ):
        shape = [str(size) for size in ("n", *values.shape[1:])]
        message = f"targets have the shape [{', '.join(shape)}], but the model gives {output}"
        raise UserError(message, where=where)
    _check_finite(values, "the target", indices, where)
    return values.astype(np.float32)


def _labels(
    values: Array, classes: int | None, indices: npt.NDArray[np.int64], where: str
) -> Array:
    if not np.issubdtype(values.dtype, np.integer):
        message = (
            f"class labels are {values.dtype.name}, expected integers from 0; "
            "convert them once, for instance with .astype('int64')"
        )
        raise UserError(message, where=where)
    if values.ndim != 1:
        hint = "; for one-hot rows store their argmax" if values.ndim == 2 else ""
        message = f"class labels have {values.ndim} axes, expected one label an example{hint}"
        raise UserError(message, where=where)
    bad = values < 0 if classes is None else (values < 0) | (values >= classes)
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        allowed = "0 or more" if classes is None else f"0 to {classes - 1}"
        message = (
            f"the label of example {indices[first]} is {values[first]}, but the model's classes "
            f"are {allowed}"
        )
        raise UserError(message, where=where)
    return values.astype(np.int64)
