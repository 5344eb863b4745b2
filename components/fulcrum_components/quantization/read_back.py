"""The share of all weights that a file holds in fewer bits, and graphs with nothing to quantize."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from math import prod

import onnx
from onnx import TensorProto

from fulcrum_components.graph import GraphIndex, constants
from fulcrum_components.quantization.layers import weighted_layers

FLOATS = frozenset(
    {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}
)
SMALL = frozenset({TensorProto.INT8, TensorProto.UINT8, TensorProto.INT4, TensorProto.UINT4})

PRODUCTS = {"static": ("Conv", "Gemm", "MatMul"), "dynamic": ("Gemm", "MatMul", "LSTM")}
MAX_NAMED = 3


def weight_share(model: onnx.ModelProto) -> float:
    """Return the share of all weights of a file that are integers of 8 bits or fewer.

    Biases are 32-bit integers, and no gain; scales and zero points are no weights.
    """
    counts = _counts(model)
    return counts[True] / counts.total() if counts[True] else 0.0


def number_of_weights(model: onnx.ModelProto) -> int:
    """Return how many numbers a file's constants hold."""
    return _counts(model).total()


def _counts(model: onnx.ModelProto) -> Counter[bool]:
    """Count weights, by whether they are small integers."""
    tensors = {tensor.name: tensor for tensor in constants(model.graph)}
    stems = {name.removesuffix("_zero_point") for name in tensors if name.endswith("_zero_point")}
    added = {f"{stem}_{part}" for stem in stems for part in ("scale", "zero_point")}
    counts = Counter[bool]()
    for name, tensor in tensors.items():
        small = tensor.data_type in SMALL
        bias = tensor.data_type == TensorProto.INT32 and name.endswith("_quantized")
        if name not in added and (small or bias or tensor.data_type in FLOATS):
            counts[small] += prod(tensor.dims)
    return counts


def nothing_to_quantize(model: onnx.ModelProto, method: str) -> str | None:
    """Say why a graph has nothing for a method; None if it has."""
    index = GraphIndex(model)
    has = Counter(node.op_type for node in model.graph.node)
    looked_up = any(layer.node.op_type == "Gather" for layer in weighted_layers(index))
    if method == "weightOnly":
        enough = any(weighted_layers(index))
    else:
        wanted = PRODUCTS.get(method, ("Conv", "Gemm", "MatMul", "LSTM"))
        enough = any(op in has for op in wanted) or (looked_up and method != "auto")
    if enough:
        return None
    message = f"no MatMul, Gemm or Conv to quantize: the graph has {_named(has)}"
    if inside := sorted(set(_products_inside(model.graph))):
        message += f"; {', '.join(inside)} inside the body of an If, Loop or Scan stays as it is"
    if method == "dynamic" and "Conv" in has:
        message += "; method static quantizes Conv"
    elif method == "static" and "LSTM" in has:
        message += "; method dynamic quantizes LSTM"
    return message


def _named(has: Counter[str]) -> str:
    names = [name for name, _ in has.most_common(MAX_NAMED)]
    return ", ".join(names) + (" and others" if len(has) > MAX_NAMED else "")


def _products_inside(graph: onnx.GraphProto, *, inside: bool = False) -> Iterator[str]:
    for node in graph.node:
        if inside and node.op_type in ("Conv", "Gemm", "MatMul", "LSTM"):
            yield node.op_type
        for entry in node.attribute:
            if entry.type == onnx.AttributeProto.GRAPH:
                yield from _products_inside(entry.g, inside=True)
