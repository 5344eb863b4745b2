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

from fulcrum_components.graph import GraphIndex, constants
from fulcrum_components.quantization.layers import weighted_layers
from fulcrum_components.quantization.read_back import number_of_weights
from fulcrum_components.quantization.rounding import Rounding
from fulcrum_components.quantization.tables import find_tied_tables, store_once

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

    A weight that several nodes share is rounded and counted once, also where one reads it
    transposed, and not at all if one of its readers is excluded.
    """
    tied = find_tied_tables(model)
    index = GraphIndex(model)
    held = {
        name
        for name, readers in index.consumers.items()
        if any(reader.name in exclude for reader in readers)
    }
    for each in tied:
        if held & {each.table, each.weight}:
            held |= {each.table, each.weight}
    saved: dict[str, int] = {}
    nodes: dict[str, None] = {}  # a set in the order of the graph
    for layer in weighted_layers(index):
        if layer.weight in held:
            continue
        nodes[layer.node.name] = None
        if layer.weight in saved:
            continue
        weight = index.constant(layer.weight)
        assert weight is not None  # weighted_layers yields constants only
        rounded, scales = rounding.apply(weight, layer.channel_axes)
        index.set_constant(layer.weight, rounded)
        packed = math.ceil(weight.size * bits / 8) + scales * SCALE_BYTES
        saved[layer.weight] = weight.nbytes - packed
    store_once(model, tied)
    sizes = {tensor.name: math.prod(tensor.dims) for tensor in constants(model.graph)}
    kept = [name for name in saved if name in sizes]
    share = sum(sizes[name] for name in kept) / max(1, number_of_weights(model))
    accounted = model.ByteSize() - sum(saved[name] for name in kept)
    return WeightOnly(tuple(nodes), accounted, share)
