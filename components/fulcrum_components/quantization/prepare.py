"""The fp32 graph in the form that quantizers understand.

Constants are folded, batch norm is fused, and products have one form.
"""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto
from onnxruntime.quantization.shape_inference import quant_pre_process

from fulcrum_components.graph import (
    clean_graph,
    name_nodes,
    read_graph,
    upgrade_opset,
    write_graph,
)
from fulcrum_components.quantization.canonical import make_canonical
from fulcrum_components.quiet import quiet
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.texts import reason

QUANTIZED_OPS = frozenset(
    {"QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "MatMulInteger"}
)


def prepare(source: Path, output: Path) -> onnx.ModelProto:
    """Clean, fuse and shape-infer `source`, write it to `output` and return it.

    Raises:
        UserError: The file is not usable ONNX, is quantized already, or has no float32 weights.
    """
    model = read_graph(source)
    used = QUANTIZED_OPS & {node.op_type for node in model.graph.node}
    if used:
        message = f"is quantized already (it has {', '.join(sorted(used))}); give the fp32 model"
        raise UserError(message, where=str(source))
    _refuse_half_precision(model)
    cleaned = clean_graph(upgrade_opset(model))
    name_nodes(cleaned)
    write_graph(cleaned, output)
    try:
        _pre_process(output)
    except Exception as error:  # symbolic inference raises all errors of its operators' handlers
        message = f"cannot be prepared for quantization ({reason(error)})"
        raise UserError(message, where=str(source)) from error
    prepared = onnx.load(str(output))
    _fix_constants(prepared)
    name_nodes(prepared)
    make_canonical(prepared)
    write_graph(prepared, output)
    return prepared


def _refuse_half_precision(model: onnx.ModelProto) -> None:
    """Refuse a model whose products are in half precision, for which there are no int8 kernels."""
    types = [tensor.data_type for tensor in model.graph.initializer if len(tensor.dims) > 1]
    half = {TensorProto.FLOAT16: "float16", TensorProto.BFLOAT16: "bfloat16"}
    found = [half[each] for each in types if each in half]
    if found and TensorProto.FLOAT not in types:
        message = (
            f"the weights are {found[0]}, for which ONNX Runtime has no int8 kernels; give the "
            "model in float32 (in PyTorch: module.float(), and no casts to half in forward)"
        )
        raise UserError(message, where="spec.model")


def _fix_constants(model: onnx.ModelProto) -> None:
    """Take constants out of the inputs, in place; old files list them there as defaults."""
    constants = {tensor.name for tensor in model.graph.initializer}
    fed = [value for value in model.graph.input if value.name not in constants]
    del model.graph.input[:]
    model.graph.input.extend(fed)


def _pre_process(path: Path) -> None:
    """Run ONNX Runtime's preparation in place.

    Its symbolic shape inference fails on loops (EmbeddingBag); the plain one suffices then.
    """
    with quiet():
        try:
            quant_pre_process(str(path), str(path))
        except Exception:
            quant_pre_process(str(path), str(path), skip_symbolic_shape=True)
