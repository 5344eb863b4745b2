"""The layers of a graph that have constant weights, for all operators."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx

from fulcrum_components.graph import GraphIndex, attribute

CHANNEL_AXIS = {"Conv": 0, "ConvTranspose": 1, "MatMul": 1}


@dataclass(frozen=True)
class Layer:
    """A node and the position of its weights.

    Attributes:
        node: The node.
        weight: Name of the weight's initializer.
        channel_axes: Axes of the weight that number the output channels (for recurrent layers
            direction and gate row); one scale for each is what "per channel" means.
    """

    node: onnx.NodeProto
    weight: str
    channel_axes: tuple[int, ...]


def weighted_layers(index: GraphIndex) -> Iterator[Layer]:
    """Yield layers in graph order; a recurrent node gives two, for inputs and for its state."""
    for node in index.model.graph.node:
        if node.op_type in ("LSTM", "GRU", "RNN"):
            found = [Layer(node, weight, (0, 1)) for weight in node.input[1:3]]
        else:
            found = _single(node)
        for layer in found:
            value = index.constant(layer.weight)
            if (
                value is not None
                and value.dtype.kind == "f"
                and value.ndim > max(layer.channel_axes)
            ):
                yield layer


def _single(node: onnx.NodeProto) -> list[Layer]:
    if node.op_type == "Gemm":
        return [Layer(node, node.input[1], (0 if attribute(node, "transB", 0) else 1,))]
    if node.op_type in CHANNEL_AXIS:
        return [Layer(node, node.input[1], (CHANNEL_AXIS[node.op_type],))]
    if node.op_type == "Gather" and attribute(node, "axis", 0) == 0:  # an embedding: its rows
        return [Layer(node, node.input[0], (0,))]
    return []
