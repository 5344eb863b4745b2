"""Gradients of the loss in a module's parameters, for the criteria that rank channels by them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fulcrum_components.modes import all_require_gradients, evaluating
from fulcrum_components.objective import (
    Problem,
    call_all,
    input_tensors,
    kept_loss,
    target_tensor,
    task_loss,
)

BATCHES = 16
BATCH_SIZE = 32
"""512 examples: gradients are summed, and the ranking settles long before a pass over the data."""


def accumulate_gradients(module: nn.Module, problem: Problem) -> None:
    """Leave in every parameter the gradient of all outputs' loss over a seeded sample of train.

    The loss is the task's for the first output and, for each of `problem.kept`, `distance_to_next`.

    Raises:
        UserError: There are no data, or the model cannot be run or has no loss on them.
    """
    train, signature = problem.required_train(), problem.signature
    device = next(module.parameters()).device
    module.zero_grad(set_to_none=True)
    with evaluating(module), all_require_gradients(module):
        batches = train.batches(BATCH_SIZE, shuffle_seed=problem.seed)
        for _, batch in zip(range(BATCHES), batches, strict=False):
            outputs = call_all(module, input_tensors(batch, signature, device))
            targets = target_tensor(batch, problem.asked, device)
            loss = task_loss(outputs[0], targets, problem)
            for position in problem.kept:
                loss = loss + distance_to_next(outputs[position], signature.outputs[position].shape)
            torch.autograd.backward(loss)
        for parameter in module.parameters():
            if parameter.grad is None and parameter.is_floating_point():
                parameter.grad = torch.zeros_like(parameter)


def distance_to_next(output: Tensor, shape: Sequence[int | str]) -> Tensor:
    """Return how far an output is from that of the next example, by `kept_loss`, as a scalar.

    An output after the first has no targets, and does not differ from itself, whose loss would have
    no gradient. A channel is useful to it if it distinguishes examples.

    Args:
        output: Values of a batch.
        shape: Its sizes by the signature; an axis "batch" is that of examples, or else the first.
    """
    if output.ndim == 0:
        return torch.zeros((), device=output.device)
    axis = shape.index("batch") if "batch" in shape else 0
    return kept_loss(output, output.detach().roll(1, axis))
