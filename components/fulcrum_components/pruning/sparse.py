"""Sparse pruning: weights become zero in place and the shapes stay, by any of three rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fulcrum_components.pruning.layers import layer_name, prunable_weights
from fulcrum_components.pruning.pattern_nm import nm_mask
from fulcrum_components.pruning.schedule import sparsities
from fulcrum_components.pruning.truncation import truncate
from fulcrum_components.pruning.unstructured import magnitude_masks
from fulcrum_pipelines.errors import QualityError
from fulcrum_pipelines.evidence import LayerSparsity
from fulcrum_pipelines.resources.compressionjob import PatternNM, Truncate, Unstructured

AfterStep = Callable[[tuple[str, ...]], None]


@dataclass(frozen=True)
class SparseResult:
    """What sparse pruning did.

    Attributes:
        layers: For each pruned tensor its share of zeros.
        achieved: Share of zeros in all pruned tensors together.
        sparse_layers: Names of the pruned parameters; their masks are `weight != 0`.
    """

    layers: tuple[LayerSparsity, ...]
    achieved: float
    sparse_layers: tuple[str, ...]


def prune_unstructured(
    module: nn.Module,
    options: Unstructured,
    example_inputs: tuple[Tensor, ...],
    after_step: AfterStep,
) -> SparseResult:
    """Set the smallest weights of `module` to zero, in place and in the steps asked for.

    Raises:
        QualityError: Achieved and asked sparsity differ by more than `options.tolerance`.
    """
    weights = prunable_weights(module, example_inputs, options.ignore or ())
    for sparsity in sparsities(options.schedule, options.sparsity, options.iterations):
        masks = magnitude_masks(dict(weights), options, sparsity)
        _replace(weights, {name: weight * masks[name] for name, weight in weights.items()})
        after_step(tuple(weights))
    result = _read_back(weights)
    if abs(result.achieved - options.sparsity) > options.tolerance + 1e-9:
        message = (
            f"asked for sparsity {options.sparsity:g}, achieved {result.achieved:.4f}, which is "
            f"further away than tolerance {options.tolerance:g}; weights that are zero already "
            "count too: ask for at least their share"
        )
        raise QualityError(message, where="spec.recipe.prune.unstructured")
    return result


def prune_nm(
    module: nn.Module, options: PatternNM, example_inputs: tuple[Tensor, ...], after_step: AfterStep
) -> SparseResult:
    """Give the weights of `module` the pattern n of m along their inputs, in place."""
    weights = prunable_weights(module, example_inputs, options.ignore or ())
    masked = {
        name: weight * nm_mask(weight, options.keep, options.of) for name, weight in weights.items()
    }
    _replace(weights, masked)
    after_step(tuple(weights))
    return _read_back(weights)


def prune_truncate(
    module: nn.Module, options: Truncate, example_inputs: tuple[Tensor, ...], after_step: AfterStep
) -> SparseResult:
    """Truncate the weights of `module` at a threshold, in place."""
    weights = prunable_weights(module, example_inputs, options.ignore or ())
    _replace(
        weights,
        {name: truncate(w, options.threshold, options.shrink) for name, w in weights.items()},
    )
    after_step(tuple(weights))
    return _read_back(weights)


@torch.no_grad()
def _replace(weights: dict[str, nn.Parameter], values: dict[str, Tensor]) -> None:
    for name, weight in weights.items():
        weight.copy_(values[name])


def _read_back(weights: dict[str, nn.Parameter]) -> SparseResult:
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
    return SparseResult(layers, sum(zeros.values()) / total, tuple(weights))
