"""Weights of b bits, simulated: what accuracy they would cost and what size they would have.

No CPU kernel multiplies 3-bit weights, so the file that is written computes in fp32 with rounded
weights: its outputs are those of a b-bit model, its speed and its size on disk are not. The size is
accounted for: packed bits, one float32 scale a channel, and everything else as it is.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import onnx

from fulcrum_components.graph import GraphIndex
from fulcrum_components.quantization.layers import weighted_layers
from fulcrum_components.quantization.rounding import Rounding

SCALE_BYTES = 4


@dataclass(frozen=True)
class WeightOnly:
    """What was rounded.

    Attributes:
        layers: Names of the nodes with rounded weights.
        accounted_bytes: Size that the model would take with its weights packed.
    """

    layers: tuple[str, ...]
    accounted_bytes: int


def round_weights(
    model: onnx.ModelProto, rounding: Rounding, bits: int, exclude: Collection[str] = ()
) -> WeightOnly:
    """Round the weights of all layers (and embeddings) in place; biases stay.

    A weight that several nodes share is rounded and counted once, and not at all if one of its
    readers is excluded.
    """
    index = GraphIndex(model)
    total_bytes = model.ByteSize()
    done: set[str] = set()
    nodes: dict[str, None] = {}  # a set in the order of the graph
    for layer in weighted_layers(index):
        if any(reader.name in exclude for reader in index.consumers[layer.weight]):
            continue
        nodes[layer.node.name] = None
        if layer.weight in done:
            continue
        done.add(layer.weight)
        weight = index.constant(layer.weight)
        assert weight is not None  # weighted_layers yields constants only
        rounded, scales = rounding.apply(weight, layer.channel_axes)
        index.set_constant(layer.weight, rounded)
        total_bytes += math.ceil(weight.size * bits / 8) + scales * SCALE_BYTES - weight.nbytes
    return WeightOnly(tuple(nodes), total_bytes)
