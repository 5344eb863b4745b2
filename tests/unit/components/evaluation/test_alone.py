"""Whether an example's answer depends on the others in its batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from onnx_graphs import Arrays, GraphBuilder

from fulcrum_components.evaluation import alone_error

X = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)


def plain(graph: GraphBuilder) -> str:
    return graph.node("Softmax", [graph.gemm("x", "z", 6, 3)], "o", axis=1)


def softmax_over_batch(graph: GraphBuilder) -> str:
    return graph.node("Softmax", [graph.gemm("x", "z", 6, 3)], "o", axis=0)


def centred(graph: GraphBuilder) -> str:
    z = graph.gemm("x", "z", 6, 3)
    axes = graph.constant("axes", np.array([0], np.int64))
    mean = graph.node("ReduceMean", [z, axes], "mean")
    return graph.node("Sub", [z, mean], "o")


def batch_norm(graph: GraphBuilder) -> str:
    sizes = {"scale": 1.0, "bias": 0.0, "running_mean": 0.0, "running_variance": 1.0}
    values = [graph.constant(name, np.full(3, value, np.float32)) for name, value in sizes.items()]
    return graph.node(
        "BatchNormalization", [graph.gemm("x", "z", 6, 3), *values], "o", training_mode=0
    )


def dynamic_integers(graph: GraphBuilder) -> str:
    parts = ["whole", "scale", "zero"]
    graph.nodes.append(helper.make_node("DynamicQuantizeLinear", ["x"], parts))
    back = graph.node("DequantizeLinear", parts, "back")
    return graph.gemm(back, "z", 6, 3)


@pytest.mark.parametrize(
    ("build", "low", "high"),
    [
        pytest.param(plain, 0.0, 1e-6, id="plain"),
        pytest.param(batch_norm, 0.0, 1e-6, id="batch-norm"),
        pytest.param(dynamic_integers, 1e-4, 0.05, id="dynamic-integers"),
        pytest.param(softmax_over_batch, 0.5, 10.0, id="softmax-over-batch"),
        pytest.param(centred, 0.9, 1.1, id="centred"),
    ],
)
def test_answers_among_copies(
    build: Callable[[GraphBuilder], str], low: float, high: float, tmp_path: Path
) -> None:
    graph = GraphBuilder()
    path = graph.save(tmp_path / "m.onnx", (6,), build(graph), 3)
    error = alone_error(path, Arrays(x=X))
    assert error is not None
    assert low <= error <= high


def test_one_example_says_nothing(tmp_path: Path) -> None:
    graph = GraphBuilder()
    path = graph.save(tmp_path / "m.onnx", (6,), centred(graph), 3)
    assert alone_error(path, Arrays(x=X[:1])) is None
    assert alone_error(path, Arrays(x=np.ones((9, 6), np.float32))) is None
