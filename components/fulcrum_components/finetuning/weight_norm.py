"""Weight normalisation while training: direction and length of each output's weights apart.

w = g * v / |v| (Salimans and Kingma 2016). Folded back at the end, so that nothing of it is left in
the saved or exported model.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils import parametrizations, parametrize


@contextmanager
def weight_norm(module: nn.Module, *, enabled: bool) -> Iterator[None]:
    """Train `module` under weight normalisation inside the block; plain weights afterwards.

    An output whose weights are all zero has no direction, so a layer with one is left plain.
    """
    layers = [
        layer
        for layer in module.modules()
        if enabled and isinstance(layer, _ConvNd | nn.Linear) and _has_directions(layer)
    ]
    for layer in layers:
        parametrizations.weight_norm(layer, "weight", dim=0)
    try:
        yield
    finally:
        for layer in layers:
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)


def _has_directions(layer: _ConvNd | nn.Linear) -> bool:
    return type(layer.weight) is nn.Parameter and bool(
        (torch.linalg.vector_norm(layer.weight.detach().flatten(1), dim=1) > 0).all()
    )
