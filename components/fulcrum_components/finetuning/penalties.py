"""The terms lambda * L_pars(theta): they push weights towards zero while training.

`l1` makes single weights small, for unstructured pruning; `group` whole output channels, for
structured pruning (group lasso, Yuan and Lin 2006; Wen et al. 2016).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from fulcrum_pipelines.resources.compressionjob import Penalty


def penalty(module: nn.Module, terms: Sequence[Penalty]) -> Tensor:
    """Return the weighted sum of `terms` over all convolution and linear weights, a scalar.

    Effective weights count, also where weight normalisation computes them.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, _ConvNd | nn.Linear)]
    functions = {"l1": _l1, "group": _group}
    total = torch.zeros((), device=next(module.parameters()).device)
    for term in terms:
        for layer in layers:
            total = total + term.weight * functions[term.kind](layer)
    return total


def _l1(layer: _ConvNd | nn.Linear) -> Tensor:
    return layer.weight.abs().sum()


def _group(layer: _ConvNd | nn.Linear) -> Tensor:
    """Return the sum over output channels of their L2 norms; at zero the gradient is zero."""
    transposed = isinstance(layer, _ConvTransposeNd)
    rows = layer.weight.transpose(0, 1) if transposed else layer.weight
    norms: Tensor = torch.linalg.vector_norm(rows.flatten(1), dim=1)
    return norms.sum()
