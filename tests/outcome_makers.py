"""Outcomes of imagined models, and small ONNX files, for tests of evaluation and latency."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fulcrum_components.data import Dataset, from_arrays
from fulcrum_components.evaluation import Outcomes
from fulcrum_components.models.signature import Signature, TensorSpec
from fulcrum_pipelines.catalog import Meaning

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class PairOfModels:
    """Outcomes of a baseline and of a candidate on the same examples."""

    baseline: Outcomes
    candidate: Outcomes


def softmax(logits: Array) -> Array:
    """Return probabilities of logits (n, c)."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: Array = exponentials / exponentials.sum(axis=1, keepdims=True)
    return result


def classifiers(
    n: int, classes: int = 4, seed: int | tuple[int, ...] = 0, noise: float = 0.5
) -> PairOfModels:
    """Return a baseline, and a noisier and more confident candidate."""
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, classes, n)
    logits = generator.normal(size=(n, classes)) + 1.5 * np.eye(classes)[targets]
    moved = 1.6 * (logits + noise * generator.normal(size=(n, classes)))
    return PairOfModels(
        Outcomes(softmax(1.3 * logits).astype(np.float32), targets),
        Outcomes(softmax(moved).astype(np.float32), targets),
    )


def regressors(n: int, seed: int | tuple[int, ...] = 0, noise: float = 0.3) -> PairOfModels:
    """Return a baseline with skewed errors, and a noisier candidate."""
    generator = np.random.default_rng(seed)
    targets = 10 + 3 * generator.normal(size=n)
    answers = targets + generator.normal(size=n) * generator.exponential(size=n)
    moved = answers + noise * generator.normal(size=n)
    return PairOfModels(
        Outcomes(answers.astype(np.float32), targets), Outcomes(moved.astype(np.float32), targets)
    )


def labelled(targets: list[int], answers: list[int], classes: int) -> Outcomes:
    """Return outcomes that give 0.9 to the class in `answers`."""
    rest = 0.1 / (classes - 1)
    outputs = np.full((len(answers), classes), rest, dtype=np.float32)
    outputs[np.arange(len(answers)), answers] = 0.9
    return Outcomes(outputs, np.array(targets, dtype=np.int64))


def write_mlp(path: Path, width: int, *, batch: int | str = "batch", inputs: int = 64) -> Path:
    """Write a two-layer network `x` (batch, inputs) to `y` (batch, 10), and return its path."""
    generator = np.random.default_rng(0)
    weights = {
        "w0": generator.normal(size=(inputs, width)).astype(np.float32),
        "w1": generator.normal(size=(width, 10)).astype(np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("MatMul", ["active", "w1"], ["y"]),
    ]
    return save_graph(path, nodes, (batch, inputs), (batch, 10), weights)


def write_identity(path: Path, width: int, op: str = "Identity") -> Path:
    """Write a model whose output is `op` of its input (batch, width), and return its path."""
    node = helper.make_node(op, ["x"], ["y"])
    return save_graph(path, [node], ("batch", width), ("batch", width), {})


def save_graph(
    path: Path,
    nodes: list[onnx.NodeProto],
    taken: tuple[int | str, ...],
    given: tuple[int | str, ...],
    weights: dict[str, Array],
) -> Path:
    """Write `nodes` from float32 `x` to float32 `y` as an ONNX file, and return its path."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, taken)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, given)],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    opset = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    return path


def dataset_of(
    x: Array,
    targets: Array | None,
    meaning: Meaning = "logits",
    columns: dict[str, Array] | None = None,
) -> Dataset:
    """Return a data set that feeds `x` (n, width) to models of `write_mlp`."""
    width = 10 if meaning != "value" else 1
    signature = Signature(
        (TensorSpec("x", ("batch", x.shape[1]), "float32"),),
        (TensorSpec("y", ("batch", width), "float32"),),
        meaning,
    )
    task = "regression" if meaning == "value" else "classification"
    return from_arrays({"x": x}, targets, signature, task, columns=columns)
