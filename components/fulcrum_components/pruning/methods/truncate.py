"""Truncation: weights within a threshold of zero become zero.

The operator T of Langford, Li and Zhang, "Sparse Online Learning via Truncated Gradient" (2009),
applied once: section 3.1's simple coefficient rounding (hard) and section 3.2's shrinkage (soft).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from fulcrum_components.pruning.methods.definition import PruningMethod
from fulcrum_components.pruning.methods.sparse import each_layer
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


TRUNCATE = PruningMethod(
    "truncate",
    prune=each_layer(_one_layer),
    one_layer=_one_layer,
    asked_sparsity=lambda options: None,
)
