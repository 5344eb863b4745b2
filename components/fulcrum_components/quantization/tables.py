"""Embedding tables that a product reads transposed, as tied outputs do: held once in a file.

Folding constants gives the product a separate copy, and ONNX Runtime's quantizers round both. Of
a language model the table is often most of the file, so the copy would take back what was gained.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from fulcrum_components.graph import Array, GraphIndex
from fulcrum_components.quantization.layers import weighted_layers


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
    lookups: dict[str, list[str]] = {}
    weights: dict[str, Array | None] = {}
    for layer in weighted_layers(index):
        if layer.node.op_type == "Gather":
            lookups.setdefault(layer.weight, []).append(layer.node.name)
        elif layer.node.op_type in ("MatMul", "Gemm"):
            weights[layer.weight] = index.constant(layer.weight)
    found: list[TiedTable] = []
    for name, readers in lookups.items():
        table = index.constant(name)
        if table is None or len(readers) < len(index.consumers[name]) or name in index.outputs:
            continue
        copies = (each for each, weight in weights.items() if _is_transposed(weight, table))
        if copy := next(copies, None):
            found.append(TiedTable(name, copy, tuple(readers)))
    return tuple(found)


def _is_transposed(weight: Array | None, table: Array) -> bool:
    if weight is None or table.ndim != 2 or weight.dtype != table.dtype:
        return False
    return np.array_equal(weight.T, table)


def store_once(model: onnx.ModelProto, tied: Collection[TiedTable]) -> None:
    """Let lookups read what the products read, in place; a copy that differs stays.

    ONNX Runtime folds the transposition when it loads the file. Where the product's weights are
    integers, the rows that were looked up are dequantized as they are.
    """
    for each in tied:
        index = GraphIndex(model)
        lookups = [node for node in index.consumers[each.table] if node.name in each.lookups]
        table = index.constant(each.table)
        if table is None or not lookups:
            continue
        if _is_transposed(index.constant(each.weight), table):
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
    assert scale is not None  # it is stored beside the integers
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
