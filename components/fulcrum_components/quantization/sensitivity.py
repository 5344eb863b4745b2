"""Which layers suffer most from being quantized."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fulcrum_components.graph import Array, GraphIndex, open_session, run_session
from fulcrum_components.quantization.building import Builder
from fulcrum_components.quantization.calibration import Method
from fulcrum_components.quantization.calibration.observer import input_batches
from fulcrum_components.quantization.integer import build_static
from fulcrum_components.quantization.layers import weighted_layers

MAX_BATCHES = 8
MAX_LAYERS = 48  # each costs one quantized model; the first ones of a deeper net come first


def by_sensitivity(builder: Builder, calibration: Method) -> list[str]:
    """Rank layers by the output's mean squared error when only that layer is quantized.

    Args:
        builder: Has the graph and the data.
        calibration: How ranges of activations are found.

    Returns:
        Names of nodes with weights, the most sensitive first.
    """
    names = [
        layer.node.name
        for layer in weighted_layers(GraphIndex(builder.model))
        if layer.node.op_type in ("Conv", "Gemm", "MatMul")
        and layer.node.name not in builder.excluded
    ][:MAX_LAYERS]
    batches = _some_batches(builder)
    session = open_session(builder.prepared)
    expected = [run_session(session, inputs)[0] for inputs in batches]
    errors = {name: _error(builder, calibration, name, names, batches, expected) for name in names}
    return sorted(names, key=lambda name: -errors[name])


def _some_batches(builder: Builder) -> list[dict[str, Array]]:
    assert builder.data is not None  # static candidates exist only with calibration data
    return [inputs for inputs, _ in zip(input_batches(builder.data), range(MAX_BATCHES))]  # noqa: B905


def _error(
    builder: Builder,
    calibration: Method,
    name: str,
    names: list[str],
    batches: list[dict[str, Array]],
    expected: list[Array],
) -> float:
    path = builder.work_dir / "sensitivity.onnx"
    others = tuple(other for other in names if other != name)
    options = replace(builder.integer, exclude=(*builder.excluded, *others, *builder.held_in_float))
    ranges = builder.calibration(calibration)
    build_static(builder.model, path, ranges, options, ops=("Conv", "Gemm", "MatMul"))
    session = open_session(path)
    total = 0.0
    for inputs, wanted in zip(batches, expected, strict=True):
        total += float(np.mean((run_session(session, inputs)[0] - wanted) ** 2))
    path.unlink()
    return total if np.isfinite(total) else float("inf")
