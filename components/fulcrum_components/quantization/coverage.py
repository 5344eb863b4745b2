"""How much of a model's arithmetic really runs in integers, counted where it runs.

A quantized file says little: ONNX Runtime decides at load time which quantize / dequantize pairs it
can fuse into an integer kernel, and what it cannot fuse runs in floating point, slower than before.
So the graph that the session has optimised is counted, by multiply-accumulates, with the shapes
that one batch really has.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxruntime as ort

from fulcrum_components.graph import Array, GraphIndex, attribute, open_session, run_session
from fulcrum_components.quantization.calibration.observer import with_outputs
from fulcrum_components.quantization.precision import (
    SECOND_OPERAND,
    bits_of,
    is_lookup,
    operand_bits,
    sources,
)
from fulcrum_components.quiet import quiet

CONVOLUTIONS = {
    "Conv": False,
    "FusedConv": False,
    "NhwcFusedConv": False,
    "NhwcConv": False,
    "QLinearConv": True,
    "ConvInteger": True,
    "ConvTranspose": False,
}
"""Operator → whether it computes in integers."""

PRODUCTS = {
    "MatMul": False,
    "Gemm": False,
    "FusedMatMul": False,
    "FusedGemm": False,
    "FusedMatMulActivation": False,
    "QLinearMatMul": True,
    "QGemm": True,
    "MatMulInteger": True,
    "MatMulIntegerToFloat": True,
    "DynamicQuantizeMatMul": True,
}

RECURRENT = {"LSTM": False, "GRU": False, "RNN": False, "DynamicQuantizeLSTM": True}
GATES = {"LSTM": 4, "DynamicQuantizeLSTM": 4, "GRU": 3, "RNN": 1}

ATTENTION = {"Attention": False, "MultiHeadAttention": False, "QAttention": True}

IS_INTEGER = CONVOLUTIONS | PRODUCTS | RECURRENT | ATTENTION


@dataclass(frozen=True)
class CountedNode:
    """One node of the optimised graph that multiplies.

    Attributes:
        name: Name in the optimised graph, most often that of the original node.
        op_type: Operator in the optimised graph.
        macs: Multiply-accumulates for the whole batch.
        integer: Whether it runs in integers.
        tensors: Names of what it reads and writes, to find the original node again.
        weight_bits: Bits that its constant operands are held in; None if it has none.
        activation_bits: The same of its other operands.
        float_macs: Those of an integer node that are in floating point all the same.
    """

    name: str
    op_type: str
    macs: int
    integer: bool
    tensors: tuple[str, ...]
    weight_bits: int | None = None
    activation_bits: int | None = None
    float_macs: int = 0


@dataclass(frozen=True)
class Coverage:
    """The multiplying nodes of an optimised graph, and apart the lookups, which multiply nothing.

    A lookup is a Gather from a constant matrix: an embedding, often most of a model's weights.
    """

    nodes: tuple[CountedNode, ...]
    lookups: tuple[CountedNode, ...] = ()

    @property
    def share(self) -> float:
        """Share of multiply-accumulates in integers; 0 for a model without any."""
        total = sum(node.macs for node in self.nodes)
        integer = sum(node.macs - node.float_macs for node in self.nodes if node.integer)
        return integer / total if total else 0.0

    @property
    def integer_nodes(self) -> int:
        """Number of nodes that run in integers."""
        return sum(node.integer for node in self.nodes)


def measure_coverage(path: Path, inputs: Mapping[str, Array]) -> Coverage:
    """Count the multiply-accumulates of `path` as ONNX Runtime runs it on this machine.

    Blocked (NCHWc) convolutions count the channels that they are padded to, as those are computed.

    Args:
        path: ONNX file.
        inputs: One batch; only its shapes matter.
    """
    model = optimized_graph(path)
    index = GraphIndex(model)
    nodes = [node for node in model.graph.node if node.op_type in IS_INTEGER]
    shapes, bits = _values(model, index, nodes, inputs)
    return Coverage(
        tuple(
            CountedNode(
                node.name,
                node.op_type,
                _macs(node, shapes),
                IS_INTEGER[node.op_type],
                (*node.input, *node.output),
                *operand_bits(node, index, bits),
                _float_macs(node, shapes),
            )
            for node in nodes
        ),
        tuple(_lookup(node, index) for node in model.graph.node if is_lookup(node, index)),
    )


def _lookup(node: onnx.NodeProto, index: GraphIndex) -> CountedNode:
    table = index.constant(node.input[0])
    assert table is not None  # is_lookup has checked
    return CountedNode(
        node.name,
        node.op_type,
        0,
        table.dtype.kind != "f",
        (*node.input, *node.output),
        bits_of(table, constant=True),
    )


def optimized_graph(path: Path) -> onnx.ModelProto:
    """Return the graph as a session with all optimisations runs it."""
    with tempfile.TemporaryDirectory(prefix="fulcrum-") as directory:
        optimized = Path(directory) / "optimized.onnx"
        with quiet():
            open_session(path, optimized_path=optimized)
        return onnx.load(str(optimized))


def _values(
    model: onnx.ModelProto,
    index: GraphIndex,
    nodes: list[onnx.NodeProto],
    inputs: Mapping[str, Array],
) -> tuple[dict[str, tuple[int, ...]], dict[str, int]]:
    """Return shapes and bits of all that the nodes read and write, also where it comes from.

    They are found by running: ONNX's inference does not know ONNX Runtime's own operators.
    """
    names = [name for node in nodes for name in (*node.input, *node.output) if name]
    names += [name for node in nodes for name in sources(node, index)]
    wanted = [name for name in dict.fromkeys(names) if name in index.producers]
    values = dict(inputs)
    if wanted:
        level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = open_session(with_outputs(model, wanted), level=level)
        values |= zip(wanted, run_session(session, inputs, wanted), strict=True)
    constants = {name: index.constant(name) for name in dict.fromkeys(names)}
    values |= {name: value for name, value in constants.items() if value is not None}
    shapes = {name: tuple(value.shape) for name, value in values.items()}
    bits = {
        name: bits_of(value, constant=constants.get(name) is not None)
        for name, value in values.items()
    }
    return shapes, bits


def _macs(node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> int:
    operands = [shapes.get(name, ()) for name in node.input]
    result = shapes.get(node.output[0], ())
    if node.op_type in CONVOLUTIONS:
        return _convolution(node, operands, result)
    if node.op_type in PRODUCTS:
        transposed = bool(attribute(node, "transA", 0))
        depth = operands[0][-2 if transposed else -1] if operands[0] else 1
        return math.prod(result) * depth
    if node.op_type in RECURRENT:
        return _recurrent(node, operands)
    return _attention(operands)


def _convolution(
    node: onnx.NodeProto, operands: list[tuple[int, ...]], result: tuple[int, ...]
) -> int:
    """Every output needs one product a weight of its filter (of its input, if transposed)."""
    weight = operands[SECOND_OPERAND.get(node.op_type, 1)]
    if node.op_type == "ConvTranspose":
        return math.prod(operands[0]) * math.prod(weight[1:])
    return math.prod(result) * math.prod(weight[1:])


def _recurrent(node: onnx.NodeProto, operands: list[tuple[int, ...]]) -> int:
    """X is (time, batch, inputs); every step and direction multiplies W and R by the gates.

    W's layout differs between LSTM and DynamicQuantizeLSTM, so sizes come from X and hidden_size.
    """
    time, batch, inputs = operands[0]
    hidden = int(attribute(node, "hidden_size", 0))
    directions = 2 if attribute(node, "direction", b"forward") == b"bidirectional" else 1
    return time * batch * directions * GATES[node.op_type] * hidden * (inputs + hidden)


def _attention(operands: list[tuple[int, ...]]) -> int:
    """Projections (if their weights are inside) and both products of the attention itself."""
    batch, length, width = operands[0][:3]
    projections = math.prod(operands[1]) * batch * length if len(operands[1]) == 2 else 0
    return projections + 2 * batch * length * length * width


def _float_macs(node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """QAttention projects in integers; the attention itself it computes in floating point."""
    if node.op_type != "QAttention":
        return 0
    batch, length, width = shapes[node.input[0]][:3]
    return 2 * batch * length * length * width
