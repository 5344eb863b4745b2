"""Measure the cost of pruning each layer alone, so that a recipe can spare the important layers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from fulcrum_components.pruning.methods import find_method
from fulcrum_components.pruning.prunable_weights import layer_name, prunable_weights
from fulcrum_pipelines.evidence import Sensitivity
from fulcrum_pipelines.resources.compressionjob import Prune


class Measured(Protocol):
    """A metric's name and value, as evidence.Metric has them."""

    @property
    def name(self) -> str: ...
    @property
    def value(self) -> float | None: ...


EvaluateModule = Callable[[nn.Module], Sequence[Measured]]
"""Measures a module: the same metrics in the same order each time."""


def layer_sensitivity(
    module: nn.Module, options: Prune, example_inputs: tuple[Tensor, ...], evaluate: EvaluateModule
) -> tuple[Sensitivity, ...]:
    """Return for each prunable weight the metrics with only it pruned as `options` asks.

    `module` itself is left as it is; metrics that cannot be computed are left out.

    Raises:
        UserError: Options name no method, or the module has nothing to prune.
    """
    method, asked = find_method(options)
    trial = copy.deepcopy(module)
    before = [each.value for each in evaluate(trial)]
    rows: list[Sensitivity] = []
    for name, weight in prunable_weights(trial, example_inputs, asked.ignore or ()).items():
        original = weight.detach().clone()
        with torch.no_grad():
            weight.copy_(method.one_layer(original, asked))
        measured = evaluate(trial)
        sparsity = float((weight == 0).double().mean())
        with torch.no_grad():
            weight.copy_(original)
        rows += [
            Sensitivity(
                layer=layer_name(name),
                sparsity=sparsity,
                metric=each.name,
                value=each.value,
                delta=each.value - start,
            )
            for each, start in zip(measured, before, strict=True)
            if each.value is not None and start is not None
        ]
    return tuple(rows)
