"""Which part of ONNX Runtime computes outcomes: the CPU, or CUDA for models in floating point.

CUDA has no kernels for 8-bit integers and computes quantized models in floating point, without the
saturation that older CPUs have: it could pass a model that is bad on the CPUs that serve it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
import onnxruntime as ort

from fulcrum_components.sessions import CPU_PROVIDER, CUDA_PROVIDER


def choose_provider(device: str, models: Sequence[Path], *, has_gpu: bool) -> str:
    """Return the provider for the outcomes of all of `models`, which are compared.

    Args:
        device: `spec.recipe.device`; `cuda` too means the CPU where ONNX Runtime has no CUDA.
        models: ONNX files.
        has_gpu: Whether this process may use a GPU; ONNX Runtime lists CUDA without one too.
    """
    if device == "cpu" or not has_gpu:
        return CPU_PROVIDER
    if CUDA_PROVIDER not in ort.get_available_providers() or any(map(_is_quantized, models)):
        return CPU_PROVIDER
    return CUDA_PROVIDER


def _is_quantized(path: Path) -> bool:
    """Return whether an operation of the graph or of its functions makes or takes integers."""
    model = onnx.load(str(path), load_external_data=False)
    nodes = [*model.graph.node, *(node for each in model.functions for node in each.node)]
    return any(
        "Quantize" in n.op_type or "Integer" in n.op_type or "QLinear" in n.op_type for n in nodes
    )
