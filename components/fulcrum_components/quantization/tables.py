"""Embedding tables that a product reads transposed, as tied outputs do: held once in a file.

Folding constants gives the product a copy of its own, and ONNX Runtime's quantizers round both. Of
a language model the table is often most of the file, so the copy would take back what was gained.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from fulcrum_components.graph import GraphIndex, attribute


@dataclass(frozen=True)
class TiedTable:
    """A table and its transposed copy.

    Attributes:
        table: Name of the initializer, (rows, width), that only lookups read.
        weight: Name of the copy, (width, rows), that a product reads.
        lookups: Names of the Gather nodes.
    """

    table: str
    weight: str
    lookups: tuple[str, ...]


def find_tied_tables(model: onnx.ModelProto) -> tuple[TiedTable, ...]:
    """Return the tables of a prepared graph that are there twice."""
    index = GraphIndex(model)
    weights = {
        node.input[1]: index.constant(node.input[1])
        for node in model.graph.node
        if node.op_type in ("MatMul", "Gemm")
    }
    found: list[TiedTable] = []
    for tensor in model.graph.initializer:
        readers = index.consumers[tensor.name]
        looked_up = [node for node in readers if is_lookup_of(node, tensor.name)]
        table = index.constant(tensor.name)
        if table is None or table.ndim != 2 or table.dtype.kind != "f" or not looked_up:
            continue
        if len(looked_up) < len(readers) or tensor.name in index.outputs:
            continue
        for name, weight in weights.items():
            if (
                weight is not None
                and weight.dtype == table.dtype
                and np.array_equal(weight.T, table)
            ):
                names = tuple(node.name for node in looked_up)
                found.append(TiedTable(tensor.name, name, names))
                break
    return tuple(found)


def is_lookup_of(node: onnx.NodeProto, table: str) -> bool:
    """Tell whether `node` looks up rows of the matrix `table`."""
    return node.op_type == "Gather" and node.input[0] == table and attribute(node, "axis", 0) == 0


def store_once(model: onnx.ModelProto, tied: Collection[TiedTable]) -> None:
    """Let lookups read what the products read, in place; a copy that differs stays.

    ONNX Runtime folds the transposition when it loads the file. Where the product's weights are
    integers, the rows that were looked up are dequantized as they are.
    """
    for each in tied:
        index = GraphIndex(model)
        lookups = [node for node in model.graph.node if is_lookup_of(node, each.table)]
        table, weight = index.constant(each.table), index.constant(each.weight)
        if table is None or not lookups:
            continue
        if weight is not None and np.array_equal(weight.T, table):
            rows = _transposed(model, each, each.weight)
            for node in lookups:
                node.input[0] = rows
        elif index.is_constant(f"{each.weight}_quantized"):
            rows = _transposed(model, each, f"{each.weight}_quantized")
            for node in lookups:
                _look_up_integers(index, node, rows, each.weight)
        else:
            continue
        kept = [tensor for tensor in model.graph.initializer if tensor.name != each.table]
        del model.graph.initializer[:]
        model.graph.initializer.extend(kept)


def _transposed(model: onnx.ModelProto, tied: TiedTable, source: str) -> str:
    name = f"{tied.table}__rows"
    node = helper.make_node("Transpose", [source], [name], name=name, perm=[1, 0])
    model.graph.node.insert(0, node)
    return name


def _look_up_integers(index: GraphIndex, node: onnx.NodeProto, rows: str, weight: str) -> None:
    """Dequantize what `node` looks up: (row - zero point) * scale, either one number or a row's."""
    result, stem = node.output[0], node.name
    scale, zero = index.constant(f"{weight}_scale"), index.constant(f"{weight}_zero_point")
    assert scale is not None  # it stands beside the integers
    made: list[onnx.NodeProto] = []

    def add(operator: str, inputs: list[str], name: str, **options: Any) -> str:
        made.append(helper.make_node(operator, inputs, [name], name=f"{name}__node", **options))
        return name

    def of_rows(name: str) -> str:
        """Return scale or zero point for the rows, with an axis for the width."""
        if scale.size == 1:
            return name
        looked_up = add("Gather", [name, node.input[1]], f"{stem}__{name}")
        return add("Unsqueeze", [looked_up, axis], f"{stem}__{name}__wide")

    axis = f"{stem}__last_axis"
    if scale.size > 1:
        index.add_constant(axis, np.array([-1]))
    node.input[0], node.output[0] = rows, f"{stem}__integers"
    value = add("Cast", [node.output[0]], f"{stem}__number", to=TensorProto.FLOAT)
    if zero is not None and zero.any():
        offset = of_rows(f"{weight}_zero_point")
        offset = add("Cast", [offset], f"{stem}__offset", to=TensorProto.FLOAT)
        value = add("Sub", [value, offset], f"{stem}__shifted")
    add("Mul", [value, of_rows(f"{weight}_scale")], result)
    index.model.graph.node.extend(made)
