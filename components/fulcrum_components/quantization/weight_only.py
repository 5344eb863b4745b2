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
from fulcrum_components.quantization.read_back import number_of_weights
from fulcrum_components.quantization.rounding import Rounding

SCALE_BYTES = 4


@dataclass(frozen=True)
class WeightOnly:
    """What was rounded.

    Attributes:
        layers: Names of the nodes with rounded weights.
        accounted_bytes: Size that the model would take with its weights packed.
        share: Of all numbers in the model's constants, that which was rounded.
    """

    layers: tuple[str, ...]
    accounted_bytes: int
    share: float


def round_weights(
    model: onnx.ModelProto, rounding: Rounding, bits: int, exclude: Collection[str] = ()
) -> WeightOnly:
    """Round the weights of all layers (and embeddings) in place; biases stay.

    A weight that several nodes share is rounded and counted once, and not at all if one of its
    readers is excluded.
    """
    index = GraphIndex(model)
    total_bytes = model.ByteSize()
    done: dict[str, int] = {}
    nodes: dict[str, None] = {}  # a set in the order of the graph
    for layer in weighted_layers(index):
        if any(reader.name in exclude for reader in index.consumers[layer.weight]):
            continue
        nodes[layer.node.name] = None
        if layer.weight in done:
            continue
        weight = index.constant(layer.weight)
        assert weight is not None  # weighted_layers yields constants only
        done[layer.weight] = weight.size
        rounded, scales = rounding.apply(weight, layer.channel_axes)
        index.set_constant(layer.weight, rounded)
        total_bytes += math.ceil(weight.size * bits / 8) + scales * SCALE_BYTES - weight.nbytes
    share = sum(done.values()) / max(1, number_of_weights(model))
    return WeightOnly(tuple(nodes), total_bytes, share)
