"""One class for each example.

The first output holds logits or probabilities of all classes, or one number for the second of two.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from fulcrum_components.notes import Notes
from fulcrum_components.tasks.definition import FirstOutput, Task
from fulcrum_components.tasks.outcomes import Array, Outcomes
from fulcrum_components.tasks.values import Indices, refuse_targets, squeezed
from fulcrum_pipelines.baselines import SUM_TOLERANCE
from fulcrum_pipelines.catalog import Meaning
from fulcrum_pipelines.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

SMALLEST_PROBABILITY = 1e-7
"""Probabilities are clamped here before the logarithm, so that one sure mistake is not infinite."""

_INTEGER_STEP = 1 / 512
"""How far 8-bit integers round a probability: half a step of 1/256. Baselines are held to the sum
of 1 more strictly, in stage evaluate."""


class Classification(Task):
    """See the module."""

    name = "classification"
    labelled = True
    target_dtype = "int64"
    sums_to_one = True

    def check_targets(
        self, values: Array, output: FirstOutput, indices: Indices, *, where: str, notes: Notes
    ) -> Array:
        """See `Task`; the classes of labels were found over all data sets together."""
        return values

    def loss(self, outputs: Tensor, targets: Tensor, meaning: Meaning) -> Tensor:
        """Return cross entropy for logits, negative log likelihood for probabilities, (n,)."""
        from torch.nn import functional

        logits = class_logits(outputs, meaning)
        labels = targets[:, 0] if targets.ndim == 2 and targets.shape[1] == 1 else targets
        _check_labels(logits, labels)
        if meaning == "logits":
            return functional.cross_entropy(logits, labels, reduction="none")
        return functional.nll_loss(logits, labels, reduction="none")

    def distillation(
        self, outputs: Tensor, teacher_outputs: Tensor, meaning: Meaning, temperature: float
    ) -> Tensor:
        """Return T^2 * KL(softmax(t / T) || softmax(s / T)), averaged over examples.

        The factor T^2 keeps the gradient's size when T changes (Hinton, Vinyals and Dean 2015,
        section 2). The logarithm of probabilities serves as their logits.
        """
        from torch.nn import functional

        student, teacher = (
            functional.log_softmax(class_logits(each, meaning) / temperature, dim=-1)
            for each in (outputs, teacher_outputs)
        )
        divergence = functional.kl_div(student, teacher, reduction="batchmean", log_target=True)
        return divergence * temperature**2

    def outcomes(
        self, raw: Array, targets: Array, meaning: Meaning, *, first: int, where: str
    ) -> Outcomes:
        """Return float32 probabilities (n, classes) and labels (n,)."""
        labels = squeezed(targets)
        whole = labels.dtype == bool or np.issubdtype(labels.dtype, np.integer)
        return Outcomes(
            _probabilities(raw, meaning, first, where), labels.astype(np.int64) if whole else labels
        )

    def check(self, outcomes: Outcomes, *, where: str) -> None:
        """Refuse outputs that are no rows of classes, and labels that are no class."""
        outputs, targets = outcomes.outputs, outcomes.targets
        if outputs.ndim != 2:
            message = f"classification needs outputs (examples, classes), got {list(outputs.shape)}"
            raise UserError(message, where=where)
        if targets.ndim != 1 or not np.issubdtype(targets.dtype, np.integer):
            message = f"class labels must be whole numbers (n,), got {targets.dtype}{targets.shape}"
            raise UserError(message, where=where)
        last = outputs.shape[1] - 1
        complaint = f"is not a label of this model, which knows 0 to {last}"
        refuse_targets((targets < 0) | (targets > last), targets, complaint, where)

    def example_losses(self, outcomes: Outcomes) -> Array:
        """Return 1 where the answer is wrong, else 0."""
        wrong: Array = self.answers(outcomes) != outcomes.targets
        return wrong.astype(np.float64)

    def constant_answer(self, outcomes: Outcomes, best_value: Callable[[Array], Array]) -> Array:
        """Return the frequencies of the classes."""
        counts = np.bincount(outcomes.targets, minlength=outcomes.outputs.shape[1])
        shares: Array = counts / counts.sum()
        return shares

    def check_output(self, output: FirstOutput) -> str:
        """Refuse an output that holds the answers themselves."""
        if np.issubdtype(np.dtype(output.dtype), np.floating):
            return ""
        return (
            f"the first output '{output.name}' is {output}, so it holds class labels; give logits "
            "or probabilities as the first output (of a scikit-learn model, export with "
            "zipmap=False and put the probabilities first)"
        )

    def classes(self, output: FirstOutput) -> int | None:
        """Return the number of classes; one probability or logit separates two."""
        shape = output.shape
        if len(shape) == 1:
            return 2
        return max(2, shape[1]) if len(shape) == 2 and isinstance(shape[1], int) else None

    def undecided_by(self, targets: Array) -> str:
        """Refuse test data of one class: a gate on them would measure nothing."""
        labels = np.unique(targets)
        if len(labels) > 1:
            return ""
        return (
            f"all {len(targets)} examples have the label {labels[0]}; "
            "at least two classes are needed to measure a classifier"
        )

    def answers(self, outcomes: Outcomes) -> Array:
        """Return the most probable class of each example, (n,)."""
        return most_probable(outcomes)

    def cut_at(self, meaning: Meaning) -> float | None:
        """Return 0 for logits, 0.5 for probabilities."""
        return 0.0 if meaning == "logits" else 0.5


def most_probable(outcomes: Outcomes) -> Array:
    """Return the most probable class of each example, (n,); the first of equals."""
    result: Array = outcomes.outputs.argmax(axis=1)
    return result


def class_logits(outputs: Tensor, meaning: Meaning) -> Tensor:
    """Return logits of all classes, (n, C), in float32; their softmax are the probabilities.

    One number an example, (n,) or (n, 1), is that of class 1 of two: a logit z means (0, z), a
    probability p means (log(1 - p), log p), so that cross entropy is binary cross entropy.

    Args:
        outputs: Logits or probabilities of shape (n, C), (n, 1) or (n,).
        meaning: `logits` or `probabilities`.
    """
    import torch

    wide = outputs.float()
    wide = wide[:, None] if wide.ndim == 1 else wide
    single = wide.ndim == 2 and wide.shape[1] == 1
    if meaning == "logits":
        return torch.cat([torch.zeros_like(wide), wide], dim=1) if single else wide
    wide = torch.cat([1.0 - wide, wide], dim=1) if single else wide
    return wide.clamp_min(SMALLEST_PROBABILITY).log()


def _check_labels(outputs: Tensor, targets: Tensor) -> None:
    """Refuse logits of all classes and labels that do not belong to each other."""
    if outputs.ndim != 2 or targets.ndim != 1 or len(outputs) != len(targets):
        message = (
            f"classification needs outputs of shape (n, classes) and labels (n,), but got "
            f"{tuple(outputs.shape)} and {tuple(targets.shape)}"
        )
        raise UserError(message, where="spec.data.train.target")
    lowest, highest = int(targets.min()), int(targets.max())
    if lowest < 0 or highest >= outputs.shape[1]:
        wrong = lowest if lowest < 0 else highest
        message = f"label {wrong} is not one of the model's classes 0 to {outputs.shape[1] - 1}"
        raise UserError(message, where="spec.data.train.target")


def _probabilities(raw: Array, meaning: Meaning, first: int, where: str) -> Array:
    """Return float32 probabilities (n, classes) of logits or probabilities."""
    if raw.ndim == 1:
        raw = raw[:, None]
    if raw.ndim != 2:
        message = f"{meaning} must have shape (batch, classes), the model gives {list(raw.shape)}"
        raise UserError(message, where=where)
    wide = raw.astype(np.float64)
    if meaning == "probabilities":
        _check_probabilities(wide, first, where)
        wide = np.clip(wide, 0, 1)
        return _both_classes(wide).astype(np.float32)
    if wide.shape[1] == 1:
        wide = np.concatenate([np.zeros_like(wide), wide], axis=1)
    exponentials = np.exp(wide - wide.max(axis=1, keepdims=True))
    probabilities: Array = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities.astype(np.float32)


def _both_classes(probabilities: Array) -> Array:
    if probabilities.shape[1] > 1:
        return probabilities
    return np.concatenate([1 - probabilities, probabilities], axis=1)


def _check_probabilities(values: Array, first: int, where: str) -> None:
    low, high = -SUM_TOLERANCE, 1 + SUM_TOLERANCE
    wrong = ((values < low) | (values > high)).any(axis=1)
    if values.shape[1] > 1:
        rounding = SUM_TOLERANCE + values.shape[1] * _INTEGER_STEP
        wrong |= np.abs(values.sum(axis=1) - 1) > rounding
    if wrong.any():
        row = int(wrong.argmax())
        message = (
            f"the first output is taken for probabilities, but for example {first + row} it is "
            f"{np.array2string(values[row], precision=3, threshold=6)}; {_what_is_seen(values)}"
        )
        raise UserError(message, where=where)


def _what_is_seen(values: Array) -> str:
    """Return what numbers (n, classes) that are no probabilities look like, and what to do."""
    low, high = float(values.min()), float(values.max())
    rows, columns = values.sum(axis=1), values.sum(axis=0)
    several = values.shape[1] > 1
    if low < -SUM_TOLERANCE:
        return (
            "set meaning: logits in fulcrum.yaml (for .pt2 and ONNX in spec.model), or end the "
            "model with a softmax"
        )
    if several and np.abs(columns - 1).max() <= SUM_TOLERANCE:
        return (
            f"each class sums to 1 over the examples of a batch ({len(values)}), and those "
            "of an example do not: take the softmax over the axis of the classes (1), not over the "
            "batch (0)"
        )
    total = float(rows.mean())
    if several and total > 0 and np.abs(rows / total - 1).max() <= SUM_TOLERANCE:
        return f"every example sums to {total:.4g}{_percent(total)}: divide the output by it"
    if high > 1 + SUM_TOLERANCE:
        return (
            f"values go from {low:.4g} to {high:.4g}: if they are percentages or probabilities "
            "times another constant, divide the output by it; if they are logits, set meaning: "
            "logits in fulcrum.yaml (for .pt2 and ONNX in spec.model)"
        )
    return (
        f"values are from 0 to 1, but those of an example sum to {rows.min():.4g} to "
        f"{rows.max():.4g} instead of 1 (one sigmoid a class?): end the model with a softmax over "
        "the classes, or divide them by their sum"
    )


def _percent(total: float) -> str:
    return " (percentages)" if abs(total / 100 - 1) <= SUM_TOLERANCE else ""
