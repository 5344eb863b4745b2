"""Find by experiment from which channel of a layer each input channel of a later layer comes.

A traced graph shows that layers are connected, and guesses the order in which channels arrive. Code
between them may permute, flip, roll, shuffle or stack them. So channels are made absent in as many
runs as a channel's number has bits, and the runs in which an input is absent spell that number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from fulcrum_components.modes import copies, evaluating
from fulcrum_components.pruning.absent import absent_where_nan
from fulcrum_components.pruning.boundaries import tensors_in
from fulcrum_components.pruning.masking import Hole, TensorBatch, masked

Origins = Mapping[str, NDArray[np.int64]]
"""For each layer the channel that each of its inputs comes from, -1 for none of them."""


def input_origins(
    module: nn.Module,
    holes: Callable[[Sequence[int]], Sequence[Hole]],
    channels: int,
    layers: Sequence[str],
    batch: TensorBatch,
) -> Origins:
    """Return for each of `layers` the channel that each of its input channels comes from.

    A layer is left out if that is not one channel: if its inputs are mixed already, or it is
    called several times with different orders.

    Args:
        module: The module; it is left as it was.
        holes: Returns what to mask for the channels given.
        channels: Number of channels looked for.
        layers: Names of the layers to look at.
        batch: Real examples.
    """
    codes: dict[str, NDArray[np.int64]] = {}
    mixed: set[str] = set()
    for bit in range(channels.bit_length()):
        chosen = [channel for channel in range(channels) if (channel + 1) >> bit & 1]
        for name, calls in _absent_inputs(masked(module, holes(chosen)), layers, batch).items():
            whole = calls[0]
            if whole is None or any(c is None or not torch.equal(c, whole) for c in calls):
                mixed.add(name)
                continue
            bits = whole.cpu().numpy().astype(np.int64) << bit
            codes[name] = codes.get(name, 0) + bits
    return {
        name: code - 1
        for name, code in codes.items()
        if name not in mixed and code.max() <= channels
    }


def _absent_inputs(
    module: nn.Module, layers: Sequence[str], batch: TensorBatch
) -> dict[str, list[Tensor | None]]:
    """Return for each call of each layer which input channels are absent; None if only partly.

    The examples decide nothing here but the shapes.
    """
    found: dict[str, list[Tensor | None]] = {}

    def remember(name: str) -> Any:
        def hook(layer: nn.Module, inputs: Any, keywords: Any) -> None:
            value = tensors_in((inputs, keywords))[0]
            found.setdefault(name, []).append(_absent_channels(layer, value.isnan()))

        return hook

    handles = [
        module.get_submodule(name).register_forward_pre_hook(remember(name), with_kwargs=True)
        for name in layers
    ]
    try:
        with evaluating(module), absent_where_nan():
            module(*copies(batch))
    finally:
        for handle in handles:
            handle.remove()
    return found


def _absent_channels(layer: nn.Module, absent: Tensor) -> Tensor | None:
    axis = -1
    if isinstance(layer, _ConvNd):
        axis = -len(layer.kernel_size) - 1
    elif not isinstance(layer, nn.Linear | nn.LayerNorm | nn.MultiheadAttention):
        axis = 1
    rows = absent.movedim(axis, 0).flatten(1)
    whole = rows.all(1)
    return whole if torch.equal(whole, rows.any(1)) else None
