"""Unstructured magnitude pruning: the smallest weights become zero, wherever they are."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fulcrum_components.objective import Problem
from fulcrum_components.pruning.methods.definition import AfterStep, MethodResult, PruningMethod
from fulcrum_components.pruning.methods.sparse import read_back, replace_weights
from fulcrum_components.pruning.prunable_weights import prunable_weights
from fulcrum_components.pruning.schedule import sparsities
from fulcrum_pipelines.errors import QualityError
from fulcrum_pipelines.resources.compressionjob import Unstructured


def magnitude_masks(
    weights: dict[str, Tensor], options: Unstructured, sparsity: float
) -> dict[str, Tensor]:
    """Return for each weight tensor a mask of its shape: True stays.

    `sparsity` of the weights go, to the nearest whole weight: of each tensor for scope `layer`, of
    all together for `global`. Ties go by position, so a larger sparsity removes a superset.
    """
    if options.scope == "layer":
        return {name: keep_largest(weight, sparsity) for name, weight in weights.items()}
    flat = torch.cat([weight.detach().reshape(-1) for weight in weights.values()])
    mask = keep_largest(flat, sparsity)
    parts = torch.split(mask, [weight.numel() for weight in weights.values()])
    return {
        name: part.reshape(weight.shape)
        for (name, weight), part in zip(weights.items(), parts, strict=True)
    }


def keep_largest(weight: Tensor, sparsity: float) -> Tensor:
    """Return a mask that drops round(sparsity * n) of the n weights, those of least magnitude."""
    flat = weight.detach().abs().reshape(-1)
    order = torch.argsort(flat, stable=True)
    mask = torch.ones_like(flat, dtype=torch.bool)
    mask[order[: round(sparsity * flat.numel())]] = False
    return mask.reshape(weight.shape)


def _prune(
    module: nn.Module,
    options: Unstructured,
    problem: Problem,
    example_inputs: tuple[Tensor, ...],
    after_step: AfterStep,
) -> MethodResult:
    """Set the smallest weights of `module` to zero, in place and in the steps asked for.

    Raises:
        QualityError: Achieved and asked sparsity differ by more than `options.tolerance`.
    """
    weights = prunable_weights(module, example_inputs, options.ignore or ())
    for sparsity in sparsities(options.schedule, options.sparsity, options.iterations):
        masks = magnitude_masks(dict(weights), options, sparsity)
        replace_weights(weights, {name: weight * masks[name] for name, weight in weights.items()})
        after_step(tuple(weights))
    result = read_back(weights)
    if abs(result.achieved - options.sparsity) > options.tolerance + 1e-9:
        message = (
            f"asked for sparsity {options.sparsity:g}, achieved {result.achieved:.4f}, which is "
            f"further away than tolerance {options.tolerance:g}; weights that are zero already "
            "count too: ask for at least their share"
        )
        raise QualityError(message, where="spec.recipe.prune.unstructured")
    return result


UNSTRUCTURED = PruningMethod(
    "unstructured",
    prune=_prune,
    one_layer=lambda weight, options: weight * keep_largest(weight, options.sparsity),
    asked_sparsity=lambda options: options.sparsity,
    steps=lambda options: options.iterations,
)
