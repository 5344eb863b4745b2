"""Cross-layer equalisation: the same function with weight ranges that per-tensor int8 can hold.

Markus Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV
2019, section 4.1. ReLU commutes with positive factors, so channel i of one layer may be divided by
s_i and the weights of the next layer that read it multiplied by s_i; s_i = sqrt(r1_i / r2_i) makes
the ranges r1 and r2 of the channel equal on both sides.

Only if the tensor between two layers has one reader: at a skip connection another path would
see the scaled values, so residual blocks are equalised inside and left alone at their ends.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import onnx

from fulcrum_components.graph import Array, GraphIndex, attribute
from fulcrum_components.quantization.layers import Layer, weighted_layers
from fulcrum_pipelines.evidence import EqualizedPair

HOMOGENEOUS = frozenset(
    {"Relu", "LeakyRelu", "PRelu", "Identity", "Dropout", "MaxPool", "AveragePool",
     "GlobalAveragePool", "Flatten"}
)  # fmt: skip
"""f(s x) = s f(x) for s > 0, channel by channel. Clip (ReLU6) and Sigmoid are not."""

MAX_SWEEPS = 40
CONVERGED = 1e-3  # relative change of a factor; chains of many layers need several sweeps


@dataclass(frozen=True)
class LayerPair:
    """Two layers with nothing but homogeneous operators between them."""

    first: Layer
    second: Layer

    def __str__(self) -> str:
        """Return for instance `conv1 -> conv2`."""
        return f"{self.first.node.name} -> {self.second.node.name}"


def equalize(model: onnx.ModelProto, exclude: Collection[str] = ()) -> tuple[EqualizedPair, ...]:
    """Equalise all pairs in place, until nothing changes any more.

    Args:
        model: fp32 graph with batch norm folded.
        exclude: Nodes not to touch.

    Returns:
        The pairs that were equalised, with the spread of their ranges before and after.
    """
    index = GraphIndex(model)
    pairs = tuple(
        pair
        for pair in find_pairs(index)
        if not {pair.first.node.name, pair.second.node.name} & set(exclude)
    )
    before = [_ranges(index, pair) for pair in pairs]
    for _ in range(MAX_SWEEPS):
        changes = [_equalize_pair(index, pair) for pair in pairs]
        if max(changes, default=0.0) < CONVERGED:
            break
    return tuple(
        _record(pair, ranges, _ranges(index, pair))
        for pair, ranges in zip(pairs, before, strict=True)
    )


def _record(
    pair: LayerPair, before: tuple[Array, Array], after: tuple[Array, Array]
) -> EqualizedPair:
    return EqualizedPair(
        first=pair.first.node.name,
        second=pair.second.node.name,
        channels=len(before[0]),
        first_spread_before=_spread(before[0]),
        first_spread_after=_spread(after[0]),
        second_spread_before=_spread(before[1]),
        second_spread_after=_spread(after[1]),
    )


def _spread(ranges: Array) -> float:
    """Return widest / narrowest; dead channels have no range, and a scale loses nothing of them."""
    alive = ranges[ranges > 0].astype(np.float64)
    return float(alive.max() / alive.min()) if alive.size else 1.0


def _ranges(index: GraphIndex, pair: LayerPair) -> tuple[Array, Array]:
    """Return the ranges of what the first writes and of what the second reads, each (channels,)."""
    first = np.abs(_output_view(index, pair.first)).max(axis=1)
    second = np.abs(_input_view(index, pair.second)).max(axis=1)
    return first, second


def find_pairs(index: GraphIndex) -> list[LayerPair]:
    """List the pairs of Conv and Gemm layers that can be equalised."""
    layers = {
        layer.node.name: layer
        for layer in weighted_layers(index)
        if layer.node.op_type in ("Conv", "Gemm") and _scalable(index, layer.node)
    }
    pairs = []
    for layer in layers.values():
        node = index.only_consumer(layer.node.output[0])
        while node is not None and _passes_factors(index, node):
            node = index.only_consumer(node.output[0])
        second = layers.get(node.name) if node is not None else None
        if second is not None and _channels_match(index, layer, second):
            pairs.append(LayerPair(layer, second))
    return pairs


def _passes_factors(index: GraphIndex, node: onnx.NodeProto) -> bool:
    """Return whether a factor of a channel goes through `node` unchanged."""
    if node.op_type in HOMOGENEOUS:
        return True
    if node.op_type == "ReduceMean":
        axes = index.constant(node.input[1]) if len(node.input) > 1 else attribute(node, "axes", ())
        return axes is not None and {int(axis) for axis in axes} in ({2, 3}, {-1, -2})
    # (batch, channels, 1, 1) made flat
    before = index.producers.get(node.input[0]) if node.input else None
    pooled = before is not None and before.op_type in ("GlobalAveragePool", "ReduceMean")
    return pooled and node.op_type in ("Reshape", "Squeeze")


def _scalable(index: GraphIndex, node: onnx.NodeProto) -> bool:
    """Return whether weight and bias are constants that only this node reads."""
    return all(
        index.is_constant(name) and len(index.consumers[name]) == 1
        for name in node.input[1:]
        if name
    )


def _channels_match(index: GraphIndex, first: Layer, second: Layer) -> bool:
    """Return whether `second` reads one channel per channel that `first` writes.

    It does not after Flatten of an image, since a channel becomes many features.
    """
    return len(_output_view(index, first)) == len(_input_view(index, second))


def _weight(index: GraphIndex, layer: Layer) -> Array:
    weight = index.constant(layer.weight)
    assert weight is not None  # weighted_layers yields constants only
    return weight


def _output_view(index: GraphIndex, layer: Layer) -> Array:
    """Return the weights as (output channels, rest)."""
    weight = np.moveaxis(_weight(index, layer), layer.channel_axes[0], 0)
    return weight.reshape(len(weight), -1)


def _input_view(index: GraphIndex, layer: Layer) -> Array:
    """Return the weights as (input channels, rest); grouped convolutions number them group-wise."""
    weight = _weight(index, layer)
    if layer.node.op_type == "Gemm":
        return np.moveaxis(weight, 1 - layer.channel_axes[0], 0)
    groups = attribute(layer.node, "group", 1)
    outputs, per_group = weight.shape[:2]
    grouped = weight.reshape(groups, outputs // groups, per_group, -1)
    return grouped.transpose(0, 2, 1, 3).reshape(groups * per_group, -1)


def _equalize_pair(index: GraphIndex, pair: LayerPair) -> float:
    """Equalise one pair; return the largest change, as |log s|."""
    first_range, second_range = _ranges(index, pair)
    usable = (first_range > 0) & (second_range > 0)
    factors = np.ones_like(first_range)
    factors[usable] = np.sqrt(first_range[usable] / second_range[usable])
    _divide_outputs(index, pair.first, factors)
    _multiply_inputs(index, pair.second, factors)
    return float(np.abs(np.log(factors)).max(initial=0.0))


def _divide_outputs(index: GraphIndex, layer: Layer, factors: Array) -> None:
    weight = _weight(index, layer)
    shape = [1] * weight.ndim
    shape[layer.channel_axes[0]] = -1
    index.set_constant(layer.weight, weight / factors.reshape(shape))
    if len(layer.node.input) > 2 and layer.node.input[2]:
        bias = index.constant(layer.node.input[2])
        assert bias is not None  # _scalable has checked
        index.set_constant(layer.node.input[2], bias / factors)


def _multiply_inputs(index: GraphIndex, layer: Layer, factors: Array) -> None:
    weight = _weight(index, layer)
    if layer.node.op_type == "Gemm":
        shape = (-1, 1) if layer.channel_axes[0] == 1 else (1, -1)
        index.set_constant(layer.weight, weight * factors.reshape(shape))
        return
    groups = attribute(layer.node, "group", 1)
    outputs, per_group = weight.shape[:2]
    grouped = weight.reshape(groups, outputs // groups, per_group, -1)
    scaled = grouped * factors.reshape(groups, 1, per_group, 1)
    index.set_constant(layer.weight, scaled.reshape(weight.shape))
