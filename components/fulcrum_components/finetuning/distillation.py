"""Learning from the original's first output besides the labels."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from fulcrum_components.objective import class_logits
from fulcrum_pipelines.catalog import Meaning


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
