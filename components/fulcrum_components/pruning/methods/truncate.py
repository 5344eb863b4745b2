"""Truncation: weights within a threshold of zero become zero.

The operator T of Langford, Li and Zhang, "Sparse Online Learning via Truncated Gradient" (2009),
applied once: section 3.1's simple coefficient rounding (hard) and section 3.2's shrinkage (soft).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from fulcrum_components.objective import Problem
from fulcrum_components.pruning.layers import prunable_weights
from fulcrum_components.pruning.methods.definition import AfterStep, MethodResult, PruningMethod
from fulcrum_components.pruning.methods.sparse import read_back, replace_weights
from fulcrum_pipelines.resources.compressionjob import Truncate


def truncate(weight: Tensor, threshold: float, shrink: Literal["hard", "soft"]) -> Tensor:
    """Return `weight` truncated at `threshold` standard deviations of its own values.

    With t the threshold, hard gives w where |w| > t, else 0; soft gives sign(w) * max(|w| - t, 0).
    """
    weight = weight.detach()
    limit = threshold * weight.std(correction=0)
    if shrink == "soft":
        return torch.nn.functional.softshrink(weight, float(limit))
    return torch.where(weight.abs() > limit, weight, torch.zeros_like(weight))


def _one_layer(weight: Tensor, options: Truncate) -> Tensor:
    return truncate(weight, options.threshold, options.shrink)


def _prune(
    module: nn.Module,
    options: Truncate,
    problem: Problem,
    example_inputs: tuple[Tensor, ...],
    after_step: AfterStep,
) -> MethodResult:
    """Truncate the weights of `module` at a threshold, in place."""
    weights = prunable_weights(module, example_inputs, options.ignore or ())
    replace_weights(weights, {name: _one_layer(w, options) for name, w in weights.items()})
    after_step(tuple(weights))
    return read_back(weights)


TRUNCATE = PruningMethod(
    "truncate", prune=_prune, one_layer=_one_layer, asked_sparsity=lambda options: None
)
