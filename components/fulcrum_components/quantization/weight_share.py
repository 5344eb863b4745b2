"""The share of all weights that a file holds in fewer bits."""

from __future__ import annotations

from collections import Counter
from math import prod

import onnx
from onnx import TensorProto

from fulcrum_components.graph import constants

FLOATS = frozenset(
    {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}
)
SMALL = frozenset({TensorProto.INT8, TensorProto.UINT8, TensorProto.INT4, TensorProto.UINT4})


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
