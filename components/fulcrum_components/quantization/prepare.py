"""The fp32 graph in the form that quantizers understand: constants folded, batch norm fused."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnxruntime.quantization.shape_inference import quant_pre_process

from fulcrum_components.graph import (
    clean_graph,
    name_nodes,
    read_graph,
    upgrade_opset,
    write_graph,
)
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
    cleaned = clean_graph(upgrade_opset(model))
    name_nodes(cleaned)
    write_graph(cleaned, output)
    try:
        _pre_process(output)
    except Exception as error:  # symbolic inference raises whatever its operators' handlers raise
        message = f"cannot be prepared for quantization ({reason(error)})"
        raise UserError(message, where=str(source)) from error
    prepared = onnx.load(str(output))
    name_nodes(prepared)
    onnx.save(prepared, str(output))
    return prepared


def _pre_process(path: Path) -> None:
    """Run ONNX Runtime's preparation in place.

    Its symbolic shape inference fails on loops (EmbeddingBag); the plain one suffices then.
    """
    with quiet():
        try:
            quant_pre_process(str(path), str(path))
        except Exception:
            quant_pre_process(str(path), str(path), skip_symbolic_shape=True)
