"""Learning from the original's outputs besides the labels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from fulcrum_components.objective import Meaning, class_logits

FILL = 1e4
"""Magnitude from which a value fills a place, as -1e9 in a mask does, and is nothing to learn."""

CONSTANT = 1e-4
"""Share of its mean square that counts as variance of an output that hardly varies."""

SMALLEST_VARIANCE = 1e-12


def distillation_loss(
    outputs: Tensor, teacher_outputs: Tensor, meaning: Meaning, temperature: float
) -> Tensor:
    """Return how far `outputs` are from the teacher's, as a scalar.

    For classes, T^2 * KL(softmax(t / T) || softmax(s / T)), averaged over examples: the factor T^2
    keeps the gradient's size when T changes (Hinton, Vinyals and Dean 2015, section 2). The
    logarithm of probabilities serves as their logits, and one number an example stands for two
    classes. For values, the mean squared error.

    Args:
        outputs: The student's, shape (n, C), (n, 1) or (n,), or (n, ...) values.
        teacher_outputs: The teacher's, of the same shape.
        meaning: What both mean.
        temperature: T.
    """
    if meaning == "value":
        return functional.mse_loss(outputs.float(), teacher_outputs.float())
    student = functional.log_softmax(class_logits(outputs, meaning) / temperature, dim=-1)
    teacher = functional.log_softmax(class_logits(teacher_outputs, meaning) / temperature, dim=-1)
    divergence = functional.kl_div(student, teacher, reduction="batchmean", log_target=True)
    return divergence * temperature**2


def kept_loss(outputs: Tensor, teacher_outputs: Tensor) -> Tensor:
    """Return how well an output after the first is kept, as a scalar: its squared relative error.

    The mean squared difference is divided by the variance of the teacher's values, so that outputs
    of any scale weigh alike. Where either has NaN, infinity or the fill of a mask nothing counts.

    Args:
        outputs: The student's, of any shape.
        teacher_outputs: The teacher's, of the same shape.
    """
    student, teacher = outputs.float(), teacher_outputs.float()
    usual = student.isfinite() & (teacher.abs() < FILL)
    values = teacher[usual]
    if not values.numel():
        return torch.zeros((), device=teacher.device)
    difference = torch.where(usual, student, teacher)[usual] - values
    scale = values.var(correction=0) + CONSTANT * values.square().mean()
    return difference.square().mean() / (scale + SMALLEST_VARIANCE)
