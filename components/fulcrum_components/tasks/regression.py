"""Numbers for each example, as many as the first output has."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from fulcrum_components.notes import Notes
from fulcrum_components.tasks.definition import FirstOutput, Task
from fulcrum_components.tasks.outcomes import Array, Outcomes
from fulcrum_components.tasks.values import (
    EXACT_WHOLE,
    Indices,
    check_finite,
    note_rounding,
    refuse_targets,
    squeezed,
)
from fulcrum_pipelines.catalog import Meaning
from fulcrum_pipelines.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

Size = TypeVar("Size", int, int | str)

LEAST_SHARE = 0.01
"""Least variance of one of several targets, as a share of the largest one's: a target of 1 % may be
lost as a whole, and 99 % of the variance over both are kept."""


class Regression(Task):
    """See the module."""

    name = "regression"

    def check_targets(
        self, values: Array, output: FirstOutput, indices: Indices, *, where: str, notes: Notes
    ) -> Array:
        """Return finite numbers of the output's shape as float64."""
        if values.dtype.kind not in "iuf":
            message = f"targets are {values.dtype.name}, expected numbers"
            raise UserError(message, where=where)
        _check_shape(values.shape, output, where, notes)
        check_finite(values, "the target", indices, where)
        converted = values.astype(np.float64)
        if output.dtype.startswith("float"):
            with np.errstate(over="ignore"):
                rounded = converted.astype(output.dtype)
            note_rounding(converted, rounded, "the target", output.dtype, indices, notes)
        if values.dtype.kind in "iu" and values.size and (np.abs(converted) > EXACT_WHOLE).any():
            text = f"targets above {EXACT_WHOLE} are rounded: float64 cannot hold all their digits"
            notes.add("targets", text)
        return converted

    def loss(self, outputs: Tensor, targets: Tensor, meaning: Meaning) -> Tensor:
        """Return the squared error, averaged over the values of an example, (n,)."""
        if outputs.numel() != targets.numel():
            message = (
                f"the model gives values of shape {tuple(outputs.shape)}, the targets have "
                f"{tuple(targets.shape)}; both must have the same number of values an example"
            )
            raise UserError(message, where="spec.data.train.target")
        difference = outputs.to(targets.dtype).reshape(targets.shape) - targets
        return difference.square().reshape(len(targets), -1).mean(dim=1)

    def distillation(
        self, outputs: Tensor, teacher_outputs: Tensor, meaning: Meaning, temperature: float
    ) -> Tensor:
        """Return the mean squared error."""
        return (outputs.float() - teacher_outputs.float()).square().mean()

    def outcomes(
        self, raw: Array, targets: Array, meaning: Meaning, *, first: int, where: str
    ) -> Outcomes:
        """Return values (n,) or (n, k), wider than float32 if `raw` is."""
        values = squeezed(raw).astype(np.result_type(raw, np.float32))
        return Outcomes(values, squeezed(targets).astype(np.float64))

    def check(self, outcomes: Outcomes, *, where: str) -> None:
        """Refuse targets of another shape than the outputs, and those that are not finite."""
        outputs, targets = outcomes.outputs, outcomes.targets
        if outputs.shape != targets.shape:
            message = (
                f"the model gives values of shape {list(outputs.shape[1:])} an example, "
                f"the targets are of shape {list(targets.shape[1:])}; give one target a value"
            )
            raise UserError(message, where=where)
        refuse_targets(~np.isfinite(targets), targets, "is not finite", where)

    def example_losses(self, outcomes: Outcomes) -> Array:
        """Return the mean squared error of each example."""
        errors = (outcomes.outputs.astype(np.float64) - outcomes.targets).reshape(len(outcomes), -1)
        losses: Array = np.square(errors).mean(axis=1)
        return losses

    def constant_answer(self, outcomes: Outcomes, best_value: Callable[[Array], Array]) -> Array:
        """Return the mean of the targets, for the absolute error their median."""
        return best_value(outcomes.targets)

    def warnings(self, outcomes: Outcomes) -> tuple[str, ...]:
        """Return a warning if metrics of several targets an example hardly see one of them."""
        targets = outcomes.targets
        if targets.ndim == 1:
            return ()
        variances = targets.var(axis=0).ravel()
        moving = np.flatnonzero(variances)
        if not moving.size:
            return ()
        least, most = moving[variances[moving].argmin()], int(variances.argmax())
        share = variances[least] / variances[most]
        if share >= LEAST_SHARE:
            return ()
        return (
            f"spec.data.test: value {least} of the targets has {share:.1g} of the variance of "
            f"value {most}, so metrics over all hardly see whether value {least} is lost; scale "
            "the targets to one spread, or make a job for each",
        )


def _check_shape(shape: tuple[int, ...], output: FirstOutput, where: str, notes: Notes) -> None:
    """Accept targets that differ from the output only in axes of length 1, and note which.

    (n,) for (batch, 1) is so common that it is no note.

    Raises:
        UserError: They differ in more.
    """
    sizes = output.shape[1:]
    if _fits(shape[1:], sizes) or (len(shape) == 1 and sizes == (1,)):
        return
    found = f"targets have the shape {_shown('n', shape[1:])}"
    if not _fits(_without_ones(shape[1:]), _without_ones(sizes)):
        message = (
            f"{found}, but the model gives {output}; store targets as {_shown('n', sizes)}, or "
            f"give a model whose first output is {_shown('batch', shape[1:])} (only axes of "
            "length 1 may differ)"
        )
        raise UserError(message, where=where)
    text = f"{found} and the model gives {output}; axes of length 1 are taken as the same"
    notes.add("target shape", text)


def _fits(sizes: tuple[int, ...], wanted: tuple[int | str, ...]) -> bool:
    """Return whether `sizes` are those `wanted`, of which a name matches any size."""
    return len(sizes) == len(wanted) and all(
        isinstance(each, str) or size == each for size, each in zip(sizes, wanted, strict=True)
    )


def _without_ones(sizes: tuple[Size, ...]) -> tuple[Size, ...]:
    return tuple(size for size in sizes if size != 1)


def _shown(first: str, sizes: tuple[int | str, ...]) -> str:
    return f"[{', '.join(map(str, (first, *sizes)))}]"
