"""Products in the one form that ONNX Runtime's quantizers are right about, without a new function.

Its per-channel quantizer crashes on a Gemm whose bias is not one number a column, forgets `beta`,
has no int8 kernel for `alpha`, and its dynamic kernel fails on a vector for a weight.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from fulcrum_components.graph import Array, GraphIndex, attribute


def make_canonical(model: onnx.ModelProto) -> None:
    """Rewrite products in place; all nodes have names, and keep them."""
    index = GraphIndex(model)
    for node in list(model.graph.node):
        if node.op_type == "Gemm":
            _part_from_table(index, node)
            _fold_alpha(index, node)
            _simplify_bias(index, node)
        elif node.op_type == "MatMul":
            _widen_vector(index, node)


def _part_from_table(index: GraphIndex, node: onnx.NodeProto) -> None:
    """Give a product that reads a table transposed its own copy, as folding gives to a MatMul.

    `tables` puts them together again, after the quantizer, which would take one of both readers'
    axes for its channels.
    """
    weight = index.constant(node.input[1])
    readers = [each.op_type for each in index.consumers[node.input[1]]]
    if weight is None or not attribute(node, "transB", 0) or "Gather" not in readers:
        return
    node.input[1] = _replacement(index, node, 1, np.ascontiguousarray(weight.T))
    _drop_attribute(node, "transB")


def _fold_alpha(index: GraphIndex, node: onnx.NodeProto) -> None:
    alpha, weight = attribute(node, "alpha", 1.0), index.constant(node.input[1])
    if alpha == 1 or weight is None:
        return
    node.input[1] = _replacement(index, node, 1, (alpha * weight).astype(weight.dtype))
    _drop_attribute(node, "alpha")


def _simplify_bias(index: GraphIndex, node: onnx.NodeProto) -> None:
    """Make the bias one number a column, or a separate addition if it has another shape."""
    if len(node.input) < 3 or not node.input[2]:
        return
    beta, bias = attribute(node, "beta", 1.0), index.constant(node.input[2])
    if bias is None:
        if beta == 1:
            _add_afterwards(index, node, node.input[2])
        return
    row = _as_row(bias, _columns(index, node))
    if beta == 0:
        del node.input[2:]
    elif row is None:
        scaled = (beta * bias).astype(bias.dtype)
        _add_afterwards(index, node, _replacement(index, node, 2, scaled))
    elif row.shape != bias.shape or beta != 1:
        node.input[2] = _replacement(index, node, 2, (beta * row).astype(bias.dtype))
    _drop_attribute(node, "beta")


def _columns(index: GraphIndex, node: onnx.NodeProto) -> int | None:
    weight = index.constant(node.input[1])
    if weight is None:
        return None
    return int(weight.shape[0 if attribute(node, "transB", 0) else 1])


def _as_row(bias: Array, columns: int | None) -> Array | None:
    """Return the bias as (columns,), None if rows differ or the number of columns is unknown."""
    if bias.ndim == 2 and bias.shape[0] > 1:
        return None
    if columns is None:
        return bias.reshape(-1) if bias.size > 1 else None
    return np.broadcast_to(bias.reshape(-1), (columns,))


def _add_afterwards(index: GraphIndex, node: onnx.NodeProto, bias: str) -> None:
    del node.input[2:]
    result, product = node.output[0], f"{node.output[0]}__product"
    node.output[0] = product
    added = helper.make_node("Add", [product, bias], [result], name=f"{node.name}__added")
    _insert_after(index, node, added)


def _widen_vector(index: GraphIndex, node: onnx.NodeProto) -> None:
    """Make a constant vector on the right a matrix of one column."""
    vector = index.constant(node.input[1])
    if vector is None or vector.ndim != 1:
        return
    node.input[1] = _replacement(index, node, 1, vector[:, None])
    result, column = node.output[0], f"{node.output[0]}__column"
    node.output[0] = column
    axis = f"{node.name}__last_axis"
    index.add_constant(axis, np.array([-1]))
    squeeze = helper.make_node("Squeeze", [column, axis], [result], name=f"{node.name}__squeezed")
    _insert_after(index, node, squeeze)


def _replacement(index: GraphIndex, node: onnx.NodeProto, position: int, value: Array) -> str:
    """Store `value` for an input of `node`: in place of the old, or beside it if others read it."""
    name = str(node.input[position])
    if len(index.consumers[name]) == 1 and name not in index.outputs:
        index.set_constant(name, value)
        return name
    own = f"{node.name}__{name}"
    index.add_constant(own, value)
    return own


def _insert_after(index: GraphIndex, node: onnx.NodeProto, other: onnx.NodeProto) -> None:
    nodes = index.model.graph.node
    place = next(place for place, each in enumerate(nodes) if each.name == node.name)
    nodes.insert(place + 1, other)


def _drop_attribute(node: onnx.NodeProto, name: str) -> None:
    kept = [entry for entry in node.attribute if entry.name != name]
    del node.attribute[:]
    node.attribute.extend(kept)
