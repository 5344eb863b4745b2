"""Takes back the shift of mean outputs that rounding the weights causes.

Nagel et al., ICCV 2019, section 4.2: a layer with rounded weights W + ε gives E[(W + ε) x] instead
of E[W x], so E[ε x] is subtracted from its bias. It is computed empirically: beside each layer the
graph gets a twin with weights ε on the same fp32 input, and its mean per channel over the
calibration data is the shift, borders of padded convolutions included. One pass serves all layers,
and only the twins' outputs of one batch are held.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import numpy_helper

from fulcrum_components.graph import Array, GraphIndex, attribute, open_session, run_session
from fulcrum_components.quantization.calibration.observer import input_batches, with_outputs
from fulcrum_components.quantization.layers import Layer, weighted_layers
from fulcrum_components.quantization.rounding import Rounding

if TYPE_CHECKING:
    from fulcrum_components.data import Dataset


def correct_biases(
    model: onnx.ModelProto, rounding: Rounding, data: Dataset, exclude: Collection[str] = ()
) -> tuple[str, ...]:
    """Correct the biases in place.

    Args:
        model: fp32 graph.
        rounding: How the weights will be rounded.
        data: Calibration data.
        exclude: Nodes that stay in floating point.

    Returns:
        Names of the layers whose bias changed: Conv, Gemm, and MatMul with a bias added.
    """
    index = GraphIndex(model)
    layers = [
        layer
        for layer in weighted_layers(index)
        if layer.node.name not in exclude and _has_bias_slot(index, layer.node)
    ]
    if not layers:
        return ()
    for layer, shift in zip(
        layers, _mean_shifts(model, index, layers, rounding, data), strict=True
    ):
        _subtract(index, layer.node, shift)
    return tuple(layer.node.name for layer in layers)


def _has_bias_slot(index: GraphIndex, node: onnx.NodeProto) -> bool:
    if node.op_type == "Conv" or (node.op_type == "Gemm" and attribute(node, "beta", 1.0) == 1.0):
        return len(node.input) < 3 or index.is_constant(node.input[2])
    return node.op_type == "MatMul" and _added_bias(index, node) is not None


def _added_bias(index: GraphIndex, node: onnx.NodeProto) -> tuple[onnx.NodeProto, int] | None:
    """Return the Add that gives a MatMul its bias, and which of its inputs that is."""
    add = index.only_consumer(node.output[0])
    if add is None or add.op_type != "Add":
        return None
    for position, name in enumerate(add.input):
        value = index.constant(name)
        if value is not None and value.ndim == 1:
            return add, position
    return None


def _mean_shifts(
    model: onnx.ModelProto,
    index: GraphIndex,
    layers: list[Layer],
    rounding: Rounding,
    data: Dataset,
) -> list[Array]:
    twins = onnx.ModelProto()
    twins.CopyFrom(model)
    names = [f"{layer.node.name}__fulcrum_shift" for layer in layers]
    for layer, name in zip(layers, names, strict=True):
        weight = index.constant(layer.weight)
        assert weight is not None  # weighted_layers yields constants only
        rounded, _ = rounding.apply(weight, layer.channel_axes)
        error_name = f"{name}_weight"
        twins.graph.initializer.append(numpy_helper.from_array(rounded - weight, error_name))
        twin = twins.graph.node.add()
        twin.CopyFrom(layer.node)
        twin.name = name
        del twin.input[2:]
        twin.input[1] = error_name
        twin.output[0] = name
    session = open_session(with_outputs(twins, names))
    sums: list[Array] = [np.zeros(1) for _ in layers]
    counts = [0] * len(layers)
    for inputs in input_batches(data):
        for number, value in enumerate(run_session(session, inputs, names)):
            rows = _channels_last(layers[number].node, value)
            sums[number] = sums[number] + rows.sum(axis=0, dtype=np.float64)
            counts[number] += len(rows)
    return [total / max(count, 1) for total, count in zip(sums, counts, strict=True)]


def _channels_last(node: onnx.NodeProto, value: Array) -> Array:
    """Reshape a layer's output to (positions, channels)."""
    ordered = np.moveaxis(value, 1, -1) if node.op_type == "Conv" else value
    return ordered.reshape(-1, ordered.shape[-1])


def _subtract(index: GraphIndex, node: onnx.NodeProto, shift: Array) -> None:
    """Give the layer a separate bias that is less by `shift`."""
    slot = _added_bias(index, node) if node.op_type == "MatMul" else (node, 2)
    assert slot is not None  # _has_bias_slot has checked
    owner, position = slot
    old = index.constant(owner.input[position]) if len(owner.input) > position else None
    bias = -shift if old is None else old - shift
    name = f"{node.name}__bias"
    index.add_constant(name, bias.astype(np.float32))
    if len(owner.input) > position:
        owner.input[position] = name
    else:
        owner.input.append(name)
