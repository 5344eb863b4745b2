"""ONNX Runtime's own int8 quantizers, driven with our ranges."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from onnx import helper
from onnxruntime.quantization import (
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.calibrate import TensorsData, save_tensors_data

from fulcrum_components.graph import GraphIndex, attribute, sort_nodes, write_graph
from fulcrum_components.quantization.calibration import Calibration
from fulcrum_components.quantization.floating import moving_nodes
from fulcrum_components.quantization.rewriting import (
    keep_biases_of_dead_channels,
    keep_moved_values_exact,
    remove_needless_roundings,
)
from fulcrum_components.quiet import quiet
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.texts import reason

IntegerType = Literal["uint8", "int8"]

STATIC_OPS = (
    "Conv", "Gemm", "MatMul",
    "Add", "Mul", "Relu", "Clip", "LeakyRelu", "Sigmoid", "Softmax",
    "MaxPool", "AveragePool", "GlobalAveragePool",
    "Concat", "Split", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten",
    "Gather", "Pad", "Resize", "Where",
)  # fmt: skip
"""Operators for which ONNX Runtime's CPU provider has an int8 kernel or moves bytes only."""

PRODUCT_OPS = ("Conv", "Gemm", "MatMul", "Relu", "Clip")
"""Products, and the activations that are fused with them: without these a product would be rounded
over a range of which half is thrown away."""

DYNAMIC_OPS = ("MatMul", "LSTM", "Attention", "Gather", "EmbedLayerNormalization")
"""Conv is left out: ConvInteger is several times slower than the fp32 convolution (0.17 x)."""


@dataclass(frozen=True)
class IntegerOptions:
    """How weights and activations are represented."""

    weights: IntegerType = "int8"
    activations: IntegerType = "uint8"
    per_channel: bool = True
    reduce_range: bool = False
    exclude: tuple[str, ...] = ()
    """Node names that stay in floating point."""


def build_static(
    prepared: onnx.ModelProto,
    output: Path,
    calibration: Calibration,
    options: IntegerOptions,
    *,
    ops: Collection[str] = STATIC_OPS,
) -> None:
    """Write a QDQ graph: activations' ranges are fixed by `calibration`.

    Args:
        prepared: fp32 graph from `prepare`; it is not changed.
        output: File to write.
        calibration: Ranges of all activations but those in `options.exclude`.
        options: How to represent values.
        ops: Operators to quantize.

    Raises:
        UserError: ONNX Runtime's quantizer fails on this graph.
    """
    model = onnx.ModelProto()
    model.CopyFrom(prepared)
    keep_biases_of_dead_channels(model, calibration.ranges, options.per_channel)
    ranges_path = output.with_suffix(".ranges.json")
    _save_ranges(calibration, ranges_path)
    try:
        with quiet():
            quantize_static(
                model,
                str(output),
                None,
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(ops),
                per_channel=options.per_channel,
                reduce_range=options.reduce_range,
                activation_type=_TYPES[options.activations],
                weight_type=_TYPES[options.weights],
                nodes_to_exclude=list(options.exclude),
                calibrate_method=CalibrationMethod.MinMax,
                calibration_cache_path=str(ranges_path),
                extra_options={"TensorQuantOverrides": _per_tensor(model)},
            )
    except Exception as error:  # the quantizer raises ValueError, RuntimeError, KeyError, ...
        message = f"ONNX Runtime cannot quantize this graph statically ({reason(error)})"
        raise UserError(message, where="spec.recipe.quantize") from error
    finally:
        ranges_path.unlink(missing_ok=True)
    quantized = onnx.load(str(output))
    _hold_in_float(quantized, options.exclude)
    moving = [node.name for node in moving_nodes(GraphIndex(prepared))]
    keep_moved_values_exact(quantized, moving)
    remove_needless_roundings(quantized, model, lambda node: _is_taken(node, ops, options))
    finish(quantized, output)


def _is_taken(node: onnx.NodeProto, ops: Collection[str], options: IntegerOptions) -> bool:
    return node.op_type in ops and node.name not in options.exclude


def _per_tensor(model: onnx.ModelProto) -> dict[str, list[dict[str, object]]]:
    """Return the quantizer's overrides that give one scale to constants that several nodes share.

    It would take the channels of the last of them for all, which is another axis where one reads
    the table transposed, and no axis at all where another looks rows up.
    """
    index = GraphIndex(model)
    return {
        tensor.name: [{}]
        for tensor in model.graph.initializer
        if len(_ways_of_reading(index.consumers[tensor.name], tensor.name)) > 1
    }


def _ways_of_reading(readers: Iterable[onnx.NodeProto], weight: str) -> set[int | None]:
    """Return whether products read it transposed, None for others; biases do not count."""
    return {
        attribute(node, "transB", 0) if node.op_type in ("Conv", "Gemm", "MatMul") else None
        for node in readers
        if weight in node.input[:2]
    }


def build_dynamic(
    prepared: Path,
    output: Path,
    options: IntegerOptions,
    *,
    ops: Collection[str] = DYNAMIC_OPS,
) -> None:
    """Write a graph whose activations are quantized with ranges found at run time.

    Raises:
        UserError: ONNX Runtime's quantizer fails on this graph.
    """
    try:
        with quiet():
            quantize_dynamic(
                str(prepared),
                str(output),
                op_types_to_quantize=list(ops),
                per_channel=options.per_channel,
                reduce_range=options.reduce_range,
                weight_type=_TYPES[options.weights],
                nodes_to_exclude=[*options.exclude, *map(_name_as_matmul, options.exclude)],
            )
    except Exception as error:  # the quantizer raises ValueError, RuntimeError, KeyError, ...
        message = f"ONNX Runtime cannot quantize this graph dynamically ({reason(error)})"
        raise UserError(message, where="spec.recipe.quantize") from error
    finish(onnx.load(str(output)), output)


def _name_as_matmul(name: str) -> str:
    """Return what the dynamic quantizer calls the product that it makes of Gemm `name`."""
    return f"{name}_MatMul"


def finish(model: onnx.ModelProto, output: Path) -> None:
    """Write a graph to which nodes were added at the end as valid ONNX."""
    sort_nodes(model)
    write_graph(model, output)


def _hold_in_float(model: onnx.ModelProto, names: Collection[str]) -> None:
    """Keep ONNX Runtime from quantizing nodes that the quantizer left alone; in place.

    Its WeightBiasQuantization pass takes any convolution or Gemm between a dequantize and a
    quantize node, with at most Relu and Clip behind it, and rounds its weights per tensor. A
    LeakyRelu of slope 1, which is the identity, behind the node is enough to be passed over; it
    is fused into the node's kernel. ConvTranspose has no int8 kernel, so it would lose only.
    """
    outputs = {value.name for value in model.graph.output}
    for node in list(model.graph.node):
        held = node.name in names and node.op_type in ("Conv", "Gemm")
        if node.output[0] not in outputs and (held or node.op_type == "ConvTranspose"):
            name, inner = node.output[0], f"{node.output[0]}__float"
            node.output[0] = inner
            model.graph.node.append(
                helper.make_node(
                    "LeakyRelu", [inner], [name], name=f"{node.name}__float", alpha=1.0
                )
            )


_TYPES = {"int8": QuantType.QInt8, "uint8": QuantType.QUInt8}


def _save_ranges(calibration: Calibration, path: Path) -> None:
    """Write ranges in the format of `calibration_cache_path`, the quantizer's door for them."""
    data = {
        name: (np.array(limits.low, np.float32), np.array(limits.high, np.float32))
        for name, limits in calibration.ranges.items()
    }
    with quiet():
        save_tensors_data(TensorsData(CalibrationMethod.MinMax, data), path)
