"""N:M sparsity: of every M consecutive inputs of an output, at most N keep their weight.

The pattern of sparse tensor cores (Mishra et al. 2021). Groups run along the input axis, which is
the axis that a matrix product sums over.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fulcrum_components.pruning.methods.definition import PruningMethod
from fulcrum_components.pruning.methods.sparse import each_layer
from fulcrum_pipelines.resources.compressionjob import PatternNM


def nm_mask(weight: Tensor, n: int, m: int) -> Tensor:
    """Return a mask of `weight`'s shape (outputs, inputs, ...): True stays.

    At each output and kernel position, the n largest magnitudes of every m consecutive inputs stay;
    ties go to the earlier. A last group of fewer than m inputs keeps at most n too.
    """
    rows = weight.detach().abs().movedim(1, -1)
    inputs = rows.shape[-1]
    padding = -inputs % m
    groups = torch.nn.functional.pad(rows, (0, padding), value=-1.0)
    groups = groups.reshape(*rows.shape[:-1], -1, m)
    order = torch.argsort(groups, dim=-1, descending=True, stable=True)
    mask = torch.zeros_like(groups, dtype=torch.bool).scatter_(-1, order[..., :n], True)
    return mask.reshape(*rows.shape[:-1], -1)[..., :inputs].movedim(-1, 1).contiguous()


def _one_layer(weight: Tensor, options: PatternNM) -> Tensor:
    return weight * nm_mask(weight, options.keep, options.of)


NM = PruningMethod(
    "nm",
    prune=each_layer(_one_layer),
    one_layer=_one_layer,
    asked_sparsity=lambda options: 1.0 - options.keep / options.of,
)
