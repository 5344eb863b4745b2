"""Which part of ONNX Runtime computes outcomes: the CPU, or CUDA for models in floating point.

CUDA has no kernels for 8-bit integers and computes quantized models in floating point, without the
saturation that older CPUs have: it could pass a model that is bad on the CPUs that serve it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
import onnxruntime as ort

from fulcrum_components.sessions import CUDA_PROVIDER


def why_cpu(device: str, models: Sequence[Path], *, has_gpu: bool) -> str:
    """Return why the CPU computes the outcomes of all of `models`; empty if CUDA does.

    One provider computes all of them, since they are compared.

    Args:
        device: `spec.recipe.device`.
        models: ONNX files.
        has_gpu: Whether this process may use a GPU; ONNX Runtime lists CUDA without one too.
    """
    if device == "cpu":
        return "recipe.device is cpu"
    if not has_gpu:
        return "this process has no GPU"
    if CUDA_PROVIDER not in ort.get_available_providers():
        return "onnxruntime has no CUDA provider; onnxruntime-gpu has it"
    return "a model has operations on integers" if any(map(_is_quantized, models)) else ""


def _is_quantized(path: Path) -> bool:
    """Return whether an operation of the graph or of its functions makes or takes integers."""
    model = onnx.load(str(path), load_external_data=False)
    nodes = [*model.graph.node, *(node for each in model.functions for node in each.node)]
    return any(
        "Quantize" in n.op_type or "Integer" in n.op_type or "QLinear" in n.op_type for n in nodes
    )
