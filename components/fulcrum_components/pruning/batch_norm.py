"""Batch-norm statistics after pruning: they describe activations that no longer exist.

Re-estimating them needs no labels and no training, and recovers much of what pruning cost (Li et
al., "EagleEye", 2020); it comes before any fine-tuning and before any score is taken.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from fulcrum_components.modes import evaluating
from fulcrum_components.objective import Problem, call, input_tensors
from fulcrum_pipelines.errors import UserError

BATCH_SIZE = 64


def reestimate_batch_norm(module: nn.Module, problem: Problem, samples: int) -> int:
    """Replace every batch norm's running statistics by those of `samples` training examples.

    In place. Cumulative average over batches (momentum None): each batch weighs the same.

    Returns:
        How many examples were used; 0 where the module has no batch norm with running statistics.

    Raises:
        UserError: There are no data, the model cannot be run on them, or its statistics are not
            finite.
    """
    norms = [
        layer
        for layer in module.modules()
        if isinstance(layer, _BatchNorm) and layer.running_mean is not None
    ]
    if not norms or samples < 2:
        return 0
    train = problem.required_train()
    momenta = [layer.momentum for layer in norms]
    device = next(module.parameters()).device
    used = 0
    with evaluating(module), torch.no_grad():
        for layer in norms:
            layer.reset_running_stats()
            layer.momentum = None
            layer.train()
        try:
            for batch in train.batches(min(BATCH_SIZE, samples), shuffle_seed=problem.seed):
                given = input_tensors(batch, problem.signature, device)
                inputs = tuple(value[: samples - used] for value in given)
                if len(inputs[0]) < 2:  # one example alone has no variance
                    break
                call(module, inputs)
                used += len(inputs[0])
        finally:
            for layer, momentum in zip(norms, momenta, strict=True):
                layer.momentum = momentum
                layer.eval()
    _require_finite(norms)
    return used


def _require_finite(norms: list[_BatchNorm]) -> None:
    for layer in norms:
        if layer.running_var is not None and not torch.isfinite(layer.running_var).all():
            message = "batch-norm statistics of data.train are not finite; it has NaN or infinity"
            raise UserError(message, where="spec.data.train")
