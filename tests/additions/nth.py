"""Remove each n-th weight, an example of how to add a pruning method."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fulcrum_components.objective import Problem
from fulcrum_components.pruning.methods.definition import AfterStep, MethodResult, PruningMethod
from fulcrum_components.pruning.methods.sparse import read_back, replace_weights
from fulcrum_components.pruning.prunable_weights import prunable_weights
from fulcrum_pipelines.resources.compressionjob import Nth


def _one_layer(weight: Tensor, options: Nth) -> Tensor:
    places = torch.arange(weight.numel(), device=weight.device).reshape(weight.shape)
    return weight * (places % options.n != 0)


def _prune(
    module: nn.Module,
    options: Nth,
    problem: Problem,
    example_inputs: tuple[Tensor, ...],
    after_step: AfterStep,
) -> MethodResult:
    """Set each n-th weight of `module` to zero, in place."""
    weights = prunable_weights(module, example_inputs, options.ignore or ())
    replace_weights(weights, {name: _one_layer(w, options) for name, w in weights.items()})
    after_step(tuple(weights))
    return read_back(weights)


NTH = PruningMethod(
    "nth",
    prune=_prune,
    one_layer=_one_layer,
    asked_sparsity=lambda options: 1 / options.n,
)
