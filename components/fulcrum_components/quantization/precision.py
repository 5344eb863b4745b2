"""In how many bits the operands of a node really arrive, read from the graph as it runs.

A recipe asks for 8 bits and ONNX Runtime decides: it may fuse a dequantize into an integer kernel,
leave it in front of a floating-point one, or find nothing to quantize at all.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from fulcrum_components.graph import Array, GraphIndex

RECURRENT = frozenset({"LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"})
SECOND_OPERAND = {"QLinearConv": 3, "QLinearMatMul": 3, "QGemm": 3}
"""Input of quantized operators that holds the weight; elsewhere it is input 1."""

_TRANSPARENT = frozenset(
    {"DequantizeLinear", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "ReorderInput"}
)
_SEVEN_BITS = {np.dtype(np.int8): 64, np.dtype(np.uint8): 128}
"""Largest magnitude that ONNX Runtime's quantizer writes where 7 bits are asked for."""


def sources(node: onnx.NodeProto, index: GraphIndex) -> list[str]:
    """Return where the operands of a multiplying node come from.

    Followed up through what moves values only and through dequantization, whose result has no more
    than the bits of its input.
    """
    second = SECOND_OPERAND.get(node.op_type, 1)
    positions = (0, 1, 2) if node.op_type in RECURRENT else (0, second)
    return [_source(node.input[position], index) for position in positions]


def _source(name: str, index: GraphIndex) -> str:
    while (maker := index.producers.get(name)) is not None and maker.op_type in _TRANSPARENT:
        name = maker.input[0]
    return name


def bits_of(value: Array, *, constant: bool) -> int:
    """Return the bits that values are held in; 7 where 8-bit weights leave the last one unused."""
    limit = _SEVEN_BITS.get(value.dtype) if constant else None
    if limit is not None and np.abs(value.astype(np.int16)).max(initial=0) <= limit:
        return 7
    return 8 * value.dtype.itemsize


def operand_bits(
    node: onnx.NodeProto, index: GraphIndex, bits: Mapping[str, int]
) -> tuple[int | None, int | None]:
    """Return the bits of a node's constant operands and of its activations, None without any.

    Args:
        node: A node that multiplies.
        index: The optimised graph.
        bits: By tensor, of everything that `sources` names.
    """
    weights: list[int] = []
    activations: list[int] = []
    for source in sources(node, index):
        (weights if index.is_constant(source) else activations).append(bits[source])
    if node.op_type.startswith("DynamicQuantize"):  # rounds its input itself, to uint8
        activations = [8]
    return max(weights, default=None), max(activations, default=None)


def is_lookup(node: onnx.NodeProto, index: GraphIndex) -> bool:
    """Return whether `node` picks rows of a constant matrix of numbers, as an embedding does."""
    if node.op_type != "Gather":
        return False
    table = index.constant(node.input[0])
    return table is not None and table.ndim > 1 and table.dtype not in (np.int32, np.int64, bool)
