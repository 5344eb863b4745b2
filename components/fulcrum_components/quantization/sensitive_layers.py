"""Which layers suffer most from being quantized."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fulcrum_components.graph import Array, GraphIndex, open_session, run_session
from fulcrum_components.quantization.building import Builder, Candidate
from fulcrum_components.quantization.calibration.observer import input_batches
from fulcrum_components.quantization.layers import weighted_layers

MAX_BATCHES = 8
MAX_LAYERS = 48  # each costs one quantized model; the first ones of a deeper net come first

QUANTIZED = {
    "static": ("Conv", "Gemm", "MatMul"),
    "dynamic": ("Gemm", "MatMul", "LSTM", "Gather"),
}


def by_sensitivity(builder: Builder, candidate: Candidate) -> list[str]:
    """Rank layers by how much the outputs err when only that layer is quantized.

    Args:
        builder: Has the graph and the data.
        candidate: How to quantize, static or dynamic.

    Returns:
        Names of nodes with weights, the most sensitive first; none without calibration data.
    """
    ops = QUANTIZED[candidate.kind]
    layers = [
        layer.node.name
        for layer in weighted_layers(GraphIndex(builder.model))
        if layer.node.op_type in ops and layer.node.name not in builder.excluded
    ]
    names = list(dict.fromkeys(layers))[:MAX_LAYERS]  # a recurrent node has two weights
    if builder.data is None or len(names) < 2:
        return []
    batches = [inputs for inputs, _ in zip(input_batches(builder.data), range(MAX_BATCHES))]  # noqa: B905
    session = open_session(builder.prepared)
    expected = [run_session(session, inputs) for inputs in batches]
    errors = {}
    for name in names:
        others = tuple(other for other in names if other != name)
        alone = replace(candidate, sensitive=others, products_only=True)
        errors[name] = _error(builder, alone, batches, expected)
    return sorted(names, key=lambda name: -errors[name])


def _error(
    builder: Builder,
    candidate: Candidate,
    batches: list[dict[str, Array]],
    expected: list[list[Array]],
) -> float:
    """Return the mean squared error over all outputs, each in units of its variance."""
    path = builder.write(candidate, builder.work_dir / "sensitivity.onnx")
    session = open_session(path)
    total = 0.0
    for inputs, wanted in zip(batches, expected, strict=True):
        for before, after in zip(wanted, run_session(session, inputs), strict=True):
            if before.dtype.kind == "f":
                variance = float(np.var(before))
                total += float(np.mean((after - before) ** 2)) / (variance or 1.0)
    path.unlink()
    return total if np.isfinite(total) else float("inf")
