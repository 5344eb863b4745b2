"""ONNX files whose first output is the input, and whose second is what a test says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fulcrum_components.data.opening import from_arrays
from fulcrum_components.models.signature import Signature, TensorSpec

WIDTH = 4
TYPES = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "bool": TensorProto.BOOL}
CONSTANTS = {
    "zero": np.float32(0),
    "ten": np.float32(10),
    "tenth": np.float32(0.1),
    "fill": np.float32(-1e9),
    "axis": np.array([1], np.int64),
    "hundred": np.float32(100),
}

Node = tuple[str, list[str], str] | tuple[str, list[str], str, dict[str, Any]]
"""Operator, inputs, output and attributes."""


def write(path: Path, nodes: list[Node], shape: list[Any], dtype: str = "float32") -> Path:
    """Write a graph that takes `x` and gives `logits` and what `nodes` make as `second`."""
    made = [helper.make_node("Identity", ["x"], ["logits"])]
    for operator, inputs, output, *attributes in nodes:
        made.append(helper.make_node(operator, inputs, [output], **dict(*attributes)))
    used = {name for node in made for name in node.input}
    graph = helper.make_graph(
        made,
        "two",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", WIDTH])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", WIDTH]),
            helper.make_tensor_value_info("second", TYPES[dtype], shape),
        ],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in CONSTANTS.items() if k in used],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), str(path))
    return path


def signature(shape: list[Any], dtype: str = "float32") -> Signature:
    """Return what such a file takes and gives."""
    rows = ("batch", WIDTH)
    return Signature(
        (TensorSpec("x", rows, "float32"),),
        (TensorSpec("logits", rows, "float32"), TensorSpec("second", tuple(shape), dtype)),
        "logits",
    )


def data(n: int = 200, **columns: Any) -> Any:
    """Return `n` standard normal examples, their largest value as label, and further columns."""
    x = np.random.default_rng(0).normal(size=(n, WIDTH)).astype(np.float32)
    return from_arrays(
        {"x": x}, x.argmax(1), signature(["batch"]), "classification", columns=columns
    )
