"""What pruning each layer alone costs, so that a recipe can spare the layers that matter."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from fulcrum_components.pruning.layers import layer_name, prunable_weights
from fulcrum_components.pruning.pattern_nm import nm_mask
from fulcrum_components.pruning.truncation import truncate
from fulcrum_components.pruning.unstructured import keep_largest
from fulcrum_pipelines.evidence import Sensitivity
from fulcrum_pipelines.resources.compressionjob import Prune


class Measured(Protocol):
    """A metric's name and value, as evidence.Metric has them."""

    @property
    def name(self) -> str: ...
    @property
    def value(self) -> float | None: ...


Evaluate = Callable[[nn.Module], Sequence[Measured]]
"""Measures a module: the same metrics in the same order each time."""


def layer_sensitivity(
    module: nn.Module, options: Prune, example_inputs: tuple[Tensor, ...], evaluate: Evaluate
) -> tuple[Sensitivity, ...]:
    """Return for each prunable weight the metrics with only it pruned as `options` asks.

    Structured pruning is stood in for by zeroing the output channels of least norm, which needs no
    change of shapes. `module` itself is left as it is; metrics that cannot be computed are left
    out.
    """
    chosen = options.structured or options.unstructured or options.nm or options.truncate
    ignore = chosen.ignore if chosen is not None and chosen.ignore is not None else ()
    trial = copy.deepcopy(module)
    before = [each.value for each in evaluate(trial)]
    rows: list[Sensitivity] = []
    for name, weight in prunable_weights(trial, example_inputs, ignore).items():
        original = weight.detach().clone()
        with torch.no_grad():
            weight.copy_(_pruned(original, options))
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


def _pruned(weight: Tensor, options: Prune) -> Tensor:
    if options.structured is not None:
        keep = keep_largest(weight.flatten(1).norm(dim=1), options.structured.sparsity)
        return weight * keep.reshape(-1, *[1] * (weight.dim() - 1))
    if options.unstructured is not None:
        return weight * keep_largest(weight, options.unstructured.sparsity)
    if options.nm is not None:
        return weight * nm_mask(weight, options.nm.keep, options.nm.of)
    if options.truncate is not None:
        return truncate(weight, options.truncate.threshold, options.truncate.shrink)
    return weight
