"""Rewriting around ONNX Runtime's static quantizer, so that rounding is all that it does.

Before it: channels without weights, whose bias it would round away. After it: roundings that serve
no kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, MutableSequence

import numpy as np
import onnx

from fulcrum_components.graph import Array, GraphIndex
from fulcrum_components.quantization.calibration import Range
from fulcrum_components.quantization.layers import weighted_layers

NEGLIGIBLE = 1e-4  # of the bias; an 8-bit activation rounds by 2e-3 of its range


FUSED = frozenset({"Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh", "Gelu"})
"""ONNX Runtime fuses them with a floating-point product before it looks for integer ones."""


def keep_biases_of_dead_channels(
    model: onnx.ModelProto, ranges: Mapping[str, Range], per_channel: bool
) -> None:
    """Give channels of zeros one weight that changes their sum by `NEGLIGIBLE` of the bias at most.

    The integers of a bias have the scale of the weights times that of the input. The quantizer
    sets the scale of zeros to 1, and rounds the bias to multiples of the input's scale.
    """
    index = GraphIndex(model)
    for layer in weighted_layers(index):
        node = layer.node
        limits = ranges.get(node.input[0])
        if node.op_type not in ("Conv", "Gemm") or len(node.input) < 3 or limits is None:
            continue
        bias, weight = index.constant(node.input[2]), index.constant(layer.weight)
        largest = max(abs(limits.low), abs(limits.high))
        if bias is None or weight is None or largest == 0:
            continue
        channels = np.moveaxis(weight.copy(), layer.channel_axes[0], 0)
        least = NEGLIGIBLE * np.abs(bias) / largest
        if not per_channel:
            least = np.where(np.abs(bias) == np.abs(bias).max(), least, 0)
        revived = _with_at_least(channels, least, per_channel)
        if revived is not None:
            index.set_constant(layer.weight, np.moveaxis(revived, 0, layer.channel_axes[0]))


def _with_at_least(channels: Array, least: Array, per_channel: bool) -> Array | None:
    """Raise the first weight of channels whose largest is below `least`; None if no channel is.

    Args:
        channels: Weights as (channels, ...).
        least: (channels,) least magnitudes.
        per_channel: Whether channels have separate scales.
    """
    rows = channels.reshape(len(channels), -1).copy()
    largest = np.abs(rows).max(axis=1)
    dead = largest < least if per_channel else (least > largest.max()) & (least > 0)
    if not dead.any():
        return None
    rows[dead, 0] = least[dead]
    return rows.reshape(channels.shape)


def remove_needless_roundings(
    model: onnx.ModelProto,
    prepared: onnx.ModelProto,
    is_quantized: Callable[[onnx.NodeProto], bool],
) -> None:
    """Leave products unrounded that only outputs and floating-point nodes read; in place.

    Their integer kernels can write floating point.

    Args:
        model: The quantizer's graph.
        prepared: The fp32 graph that it was made from.
        is_quantized: Returns whether a node of the fp32 graph was quantized.
    """
    index, original = GraphIndex(model), GraphIndex(prepared)
    for dequantize in list(model.graph.node):
        quantize = index.producers.get(dequantize.input[0]) if dequantize.input else None
        if dequantize.op_type != "DequantizeLinear" or quantize is None:
            continue
        readers = index.consumers[dequantize.output[0]]
        if _is_needless(index, original, quantize, readers, is_quantized):
            _take_out(index, quantize, dequantize)


def keep_moved_values_exact(model: onnx.ModelProto, moving: Collection[str]) -> None:
    """Let nodes that only move inputs to outputs read and write exact values; in place.

    The quantizer lets every reader of a rounded tensor read it rounded, and rounds an output that
    a quantized node reads too.

    Args:
        model: The quantizer's graph.
        moving: Names of those nodes.
    """
    index = GraphIndex(model)
    for node in [each for each in model.graph.node if each.name in moving]:
        for place, name in enumerate(node.output):
            if rounded := _rounded(index, name.removesuffix("_QuantizeLinear_Input")):
                _make_exact(index, node, place, rounded)
        for place, name in enumerate(node.input):
            rounding = _rounded(index, name)
            if rounding is not None:
                node.input[place] = rounding.input[0]


def _rounded(index: GraphIndex, name: str) -> onnx.NodeProto | None:
    """Return the node that rounds `name`, None if it is exact."""
    maker = index.producers.get(name)
    if maker is None or maker.op_type != "DequantizeLinear":
        return None
    return index.producers.get(maker.input[0])


def _make_exact(
    index: GraphIndex, node: onnx.NodeProto, place: int, rounding: onnx.NodeProto
) -> None:
    """Give an output of `node` its own name back; quantized readers get a new one."""
    raw = node.output[place]
    name = raw.removesuffix("_QuantizeLinear_Input")
    dequantize = index.producers[name]
    for reader in index.consumers[name]:
        _rename(reader.input, name, f"{name}__rounded")
    _rename(dequantize.output, name, f"{name}__rounded")
    node.output[place] = rounding.input[0] = name


def _is_needless(
    index: GraphIndex,
    original: GraphIndex,
    quantize: onnx.NodeProto,
    readers: list[onnx.NodeProto],
    is_quantized: Callable[[onnx.NodeProto], bool],
) -> bool:
    """Return whether no kernel needs a rounding; one that replaces a Relu has another producer."""
    raw = quantize.input[0]
    before = original.producers.get(raw.removesuffix("_QuantizeLinear_Input"))
    maker = index.producers.get(raw)
    return (
        maker is not None
        and before is not None
        and maker.op_type in ("Gemm", "MatMul")
        and maker.name == before.name
        and not any(is_quantized(reader) or reader.op_type in FUSED for reader in readers)
    )


def _take_out(index: GraphIndex, quantize: onnx.NodeProto, dequantize: onnx.NodeProto) -> None:
    raw, rounded = quantize.input[0], dequantize.output[0]
    if rounded in index.outputs:
        _rename(index.producers[raw].output, raw, rounded)
    else:
        for reader in index.consumers[rounded]:
            _rename(reader.input, rounded, raw)
    index.model.graph.node.remove(quantize)
    index.model.graph.node.remove(dequantize)


def _rename(names: MutableSequence[str], old: str, new: str) -> None:
    for place, name in enumerate(names):
        if name == old:
            names[place] = new
