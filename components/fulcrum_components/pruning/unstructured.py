"""Unstructured magnitude pruning: the smallest weights become zero, wherever they are."""

from __future__ import annotations

import torch
from torch import Tensor

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
