"""Shared parts of the methods that set weights to zero and keep the shapes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fulcrum_components.objective import Problem
from fulcrum_components.pruning.methods.definition import AfterStep, MethodResult
from fulcrum_components.pruning.prunable_weights import layer_name, prunable_weights
from fulcrum_pipelines.evidence import LayerSparsity


@torch.no_grad()
def replace_weights(weights: dict[str, nn.Parameter], values: dict[str, Tensor]) -> None:
    """Write `values` into the parameters of the same names."""
    for name, weight in weights.items():
        weight.copy_(values[name])


def read_back(weights: dict[str, nn.Parameter]) -> MethodResult:
    """Return the share of zeros of each of `weights` and of all together.

    The masks of the sparse parameters are `weight != 0`.
    """
    zeros = {name: int((weight == 0).sum()) for name, weight in weights.items()}
    layers = tuple(
        LayerSparsity(
            layer=layer_name(name),
            shape_before=tuple(weight.shape),
            shape_after=tuple(weight.shape),
            sparsity=zeros[name] / weight.numel(),
        )
        for name, weight in weights.items()
    )
    total = sum(weight.numel() for weight in weights.values())
    return MethodResult(sum(zeros.values()) / total, layers, sparse_layers=tuple(weights))


def each_layer(
    one_layer: Callable[[Tensor, Any], Tensor],
) -> Callable[..., MethodResult]:
    """Return the `prune` of a method that treats each weight by itself, at once and in place.

    Args:
        one_layer: Returns what becomes of a weight by the method's options.
    """

    def prune(
        module: nn.Module,
        options: Any,
        problem: Problem,
        example_inputs: tuple[Tensor, ...],
        after_step: AfterStep,
    ) -> MethodResult:
        weights = prunable_weights(module, example_inputs, options.ignore or ())
        replace_weights(weights, {name: one_layer(w, options) for name, w in weights.items()})
        after_step(tuple(weights))
        return read_back(weights)

    return prune
