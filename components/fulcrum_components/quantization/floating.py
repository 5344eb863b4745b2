"""Nodes that static quantization leaves in floating point, and why.

ONNX Runtime's quantizer takes every node of the operators that it is given. Of some the rounded
form is another function, and of some the values do not fit into 8 bits at any scale.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
import onnx

from fulcrum_components.graph import Array, GraphIndex
from fulcrum_components.quantization.calibration import is_mask

MASKED = "a mask passes through it, beside which 8 bits cannot hold the other values"
CLIPPED = "its bounds leave out 0, which a quantized Clip lets through"
NARROWING = "its input is an output of the model, which would get the range of what comes after it"
NORMALISING = "it belongs to a normalisation, softmax or smooth activation written out in parts"

MOVING = "it only moves values of an input to an output of the model, which must stay exact"

MOVES = frozenset(
    {"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Gather", "GatherND",
     "GatherElements", "Slice", "Split", "Concat", "Expand", "Tile", "Pad", "DepthToSpace",
     "SpaceToDepth", "Dropout", "Cast", "ReverseSequence", "Compress", "Where"}
)  # fmt: skip
"""Operators that compute nothing: each number that they give is one of those that they read."""

PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})

SMOOTH = frozenset(
    {"Sqrt", "Reciprocal", "Pow", "Exp", "Log", "Erf", "Tanh", "Softplus", "Softmax", "LogSoftmax",
     "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare"}
)  # fmt: skip
"""Operators that make a chain one function whose parts must not be rounded: a
variance is tiny beside its epsilon, and 1 / sqrt, exp and erf multiply the error of what they get.
A layer norm written out and quantized in its Mul and Add took an encoder from .973 to .058."""

ELEMENTWISE = SMOOTH | frozenset(
    {"Add", "Sub", "Mul", "Div", "Neg", "Abs", "Where", "Max", "Min", "Sigmoid", "Cast", "Expand",
     "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "Identity"}
)  # fmt: skip


def float_nodes(index: GraphIndex, masks: Collection[str]) -> dict[str, str]:
    """Return the nodes that stay in floating point, each with its reason.

    Args:
        index: The prepared graph, with names for all nodes.
        masks: Activations that hold a mask.
    """
    found: dict[str, str] = {}
    for node in index.model.graph.node:
        if _carries_mask(index, node, masks):
            found[node.name] = MASKED
        elif node.op_type == "Clip" and not _lets_zero_through(index, node):
            found[node.name] = CLIPPED
        elif node.op_type in ("Relu", "Clip") and node.input[0] in index.outputs:
            found[node.name] = NARROWING
    moving = {node.name: MOVING for node in moving_nodes(index)}
    normalising = {node.name: NORMALISING for node in _smooth_chains(index)}
    return normalising | found | moving


def moving_nodes(index: GraphIndex) -> list[onnx.NodeProto]:
    """Return the nodes that bring inputs to outputs of the model without any arithmetic.

    Lookups in a constant table are none of them: the table is a weight.
    """
    made: set[str] = {value.name for value in index.model.graph.input}
    moving: dict[str, onnx.NodeProto] = {}
    for node in index.model.graph.node:  # in the order in which they run
        names = [name for name in node.input if name]
        exact = all(name in made or index.is_constant(name) for name in names)
        table = node.op_type.startswith("Gather") and index.is_constant(node.input[0])
        if node.op_type in MOVES and exact and not table and any(name in made for name in names):
            made.update(node.output)
            moving.update(dict.fromkeys(node.output, node))
    pending = [name for name in moving if name in index.outputs]
    found: dict[str, onnx.NodeProto] = {}
    while pending:
        name = pending.pop()
        if name in moving and moving[name].name not in found:
            found[moving[name].name] = moving[name]
            pending += moving[name].input
    return list(found.values())


def _carries_mask(index: GraphIndex, node: onnx.NodeProto, masks: Collection[str]) -> bool:
    if any(name in masks for name in (*node.input, *node.output)):
        return True
    if node.op_type in PRODUCTS or node.op_type == "Clip":  # infinite bounds are no values
        return False
    return any(
        value.dtype.kind == "f" and _is_masked(value)
        for value in map(index.constant, node.input)
        if value is not None
    )


def _is_masked(value: Array) -> bool:
    magnitudes = np.abs(value)
    largest = float(magnitudes.max(initial=0))
    ordinary = float(magnitudes.max(initial=0, where=magnitudes < largest / 4))
    return is_mask(largest, ordinary)


def _lets_zero_through(index: GraphIndex, node: onnx.NodeProto) -> bool:
    """Return whether a Clip keeps 0, as every range of a quantized tensor does."""
    bounds = [index.constant(name) if name else None for name in node.input[1:3]]
    unknown = [name for name, value in zip(node.input[1:3], bounds) if name and value is None]  # noqa: B905
    low, high = (*bounds, None, None)[:2]
    return not unknown and bool((low is None or low <= 0) and (high is None or high >= 0))


def _smooth_chains(index: GraphIndex) -> Iterator[onnx.NodeProto]:
    """Yield the element-wise nodes that hang together with a smooth one."""
    pending = [node for node in index.model.graph.node if node.op_type in SMOOTH]
    seen = {id(node) for node in pending}
    while pending:
        node = pending.pop()
        yield node
        around = [index.producers.get(name) for name in node.input]
        for name in node.output:
            around += index.consumers.get(name, [])
        for other in around:
            if other is not None and other.op_type in ELEMENTWISE and id(other) not in seen:
                seen.add(id(other))
                pending.append(other)
