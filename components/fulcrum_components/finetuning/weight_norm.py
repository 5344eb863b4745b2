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

from fulcrum_components.ties import shared_parameters

DirectedLayer = _ConvNd | nn.Linear

SHARED = "weightNorm leaves layers plain that share their weights with others: "


@contextmanager
def weight_norm(module: nn.Module, *, enabled: bool) -> Iterator[tuple[str, ...]]:
    """Train `module` under weight normalisation inside the block; plain weights afterwards.

    Some layers are left plain. An output whose weights are all zero has no direction, frozen
    weights are not trained, and weights that layers share would become one copy for each.

    Yields:
        Names of the layers that are left plain because they share their weights.
    """
    shared = shared_parameters(module)
    able = {
        name: layer
        for name, layer in module.named_modules()
        if enabled and isinstance(layer, DirectedLayer) and _has_directions(layer)
    }
    layers = [layer for layer in able.values() if id(layer.weight) not in shared]
    for layer in layers:
        parametrizations.weight_norm(layer, "weight", dim=0)
    try:
        yield tuple(name for name, layer in able.items() if layer not in layers)
    finally:
        for layer in layers:
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)


def _has_directions(layer: DirectedLayer) -> bool:
    """Return whether `layer` has plain weights that are trained, none of whose rows is zero."""
    weight = layer.weight
    return (
        type(weight) is nn.Parameter
        and weight.requires_grad
        and bool((torch.linalg.vector_norm(weight.detach().flatten(1), dim=1) > 0).all())
    )
