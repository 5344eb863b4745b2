"""How important each channel is: a score for every unit of a group, comparable between groups.

All three are torch-pruning's group scores: a layer's score is summed over what a channel touches,
averaged over the coupled layers, and divided by the group's mean so that layers compare.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import torch_pruning as tp
from numpy.typing import NDArray
from torch import Tensor, nn

from fulcrum_components.modes import all_require_gradients, evaluating
from fulcrum_components.objective import (
    Examples,
    SignatureLike,
    call_all,
    input_tensors,
    kept_loss,
    target_tensor,
    task_loss,
)
from fulcrum_components.pruning.graph import ChannelGroup
from fulcrum_pipelines.catalog import Meaning

Importance = Literal["magnitude", "bnScale", "taylor"]

TAYLOR_BATCHES = 16
TAYLOR_BATCH_SIZE = 32
"""512 examples: gradients are summed, and the ranking settles long before a pass over the data."""


def unit_scores(group: ChannelGroup, importance: Importance) -> NDArray[np.float64] | None:
    """Return a score for each unit of `group`, shape (units,), or None if there is none to give.

    `magnitude` is the squared L2 norm of a channel's weights (Li et al. 2017; grouped as in Fang et
    al. 2023), `bnScale` the magnitude of its batch-norm scale (Liu et al. 2017), `taylor` the
    first-order estimate |weight * gradient| of the loss without it (Molchanov et al. 2019), for
    which `accumulate_gradients` must have run.
    """
    scorer = {
        "magnitude": tp.importance.GroupMagnitudeImportance(p=2),
        "bnScale": tp.importance.BNScaleImportance(),
        "taylor": tp.importance.GroupTaylorImportance(),
    }[importance]
    scores = scorer(group.dependencies)
    if scores is None:
        return None
    channels = np.nan_to_num(scores.detach().cpu().double().numpy())
    return np.asarray(channels[group.units].mean(axis=1))


def accumulate_gradients(
    module: nn.Module,
    train: Examples,
    signature: SignatureLike,
    meaning: Meaning,
    seed: int,
    kept: Sequence[int] = (),
) -> None:
    """Leave in every parameter the gradient of all outputs' loss over a seeded sample of `train`.

    The loss is the task's for the first output and, for each of `kept`, `told_apart`.

    Raises:
        UserError: The model cannot be run on the data, or has no loss on them.
    """
    device = next(module.parameters()).device
    module.zero_grad(set_to_none=True)
    with evaluating(module), all_require_gradients(module):
        batches = train.batches(TAYLOR_BATCH_SIZE, shuffle_seed=seed)
        for _, batch in zip(range(TAYLOR_BATCHES), batches, strict=False):
            outputs = call_all(module, input_tensors(batch, signature, device))
            loss = task_loss(outputs[0], target_tensor(batch, meaning, device), meaning)
            for position in kept:
                loss = loss + told_apart(outputs[position], signature.outputs[position].shape)
            torch.autograd.backward(loss)
        for parameter in module.parameters():
            if parameter.grad is None and parameter.is_floating_point():
                parameter.grad = torch.zeros_like(parameter)


def told_apart(output: Tensor, shape: Sequence[int | str]) -> Tensor:
    """Return how far an output is from that of the next example, by `kept_loss`, as a scalar.

    An output after the first has no targets, and does not differ from itself, whose loss would have
    no gradient. What a channel does for it is to tell examples apart.

    Args:
        output: Values of a batch.
        shape: Its sizes by the signature; an axis "batch" is that of examples, or else the first.
    """
    if output.ndim == 0:
        return torch.zeros((), device=output.device)
    axis = shape.index("batch") if "batch" in shape else 0
    return kept_loss(output, output.detach().roll(1, axis))
