"""N:M sparsity: of every M consecutive inputs of an output, at most N keep their weight.

The pattern of sparse tensor cores (Mishra et al. 2021). Groups run along the input axis, which is
the axis that a matrix product sums over.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fulcrum_components.objective import Problem
from fulcrum_components.pruning.layers import prunable_weights
from fulcrum_components.pruning.methods.definition import AfterStep, MethodResult, PruningMethod
from fulcrum_components.pruning.methods.sparse import read_back, replace_weights
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


def _prune(
    module: nn.Module,
    options: PatternNM,
    problem: Problem,
    example_inputs: tuple[Tensor, ...],
    after_step: AfterStep,
) -> MethodResult:
    """Give the weights of `module` the pattern n of m along their inputs, in place."""
    weights = prunable_weights(module, example_inputs, options.ignore or ())
    replace_weights(weights, {name: _one_layer(w, options) for name, w in weights.items()})
    after_step(tuple(weights))
    return read_back(weights)


NM = PruningMethod(
    "nm",
    prune=_prune,
    one_layer=_one_layer,
    asked_sparsity=lambda options: 1.0 - options.keep / options.of,
)
