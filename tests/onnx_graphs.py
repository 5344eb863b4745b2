"""ONNX graphs made node by node: exporting from torch takes seconds, these take none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fulcrum_components.data import Batch


class Arrays:
    """A data set of inputs held in memory."""

    targets = None

    def __init__(self, **inputs: np.ndarray) -> None:
        self.inputs = inputs

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def batches(
        self, batch_size: int, *, shuffle_seed: int | None = None, columns: Sequence[str] = ()
    ) -> Iterator[Batch]:
        for start in range(0, len(self), batch_size):
            part = {name: rows[start : start + batch_size] for name, rows in self.inputs.items()}
            yield Batch(part, None, {})

    def subset(self, positions: np.ndarray) -> Arrays:
        return Arrays(**{name: rows[positions] for name, rows in self.inputs.items()})


class GraphBuilder:
    """Adds nodes with random weights; every method returns the name of what it made."""

    def __init__(self, seed: int = 0) -> None:
        self.generator = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def weight(self, name: str, *shape: int) -> str:
        fan_in = max(1, int(np.prod(shape[1:])))
        value = self.generator.normal(size=shape) * np.sqrt(2 / fan_in)
        return self.constant(name, value.astype(np.float32))

    def node(self, op_type: str, inputs: Sequence[str], name: str, **attributes: object) -> str:
        self.nodes.append(
            helper.make_node(op_type, inputs, [f"{name}_out"], name=name, **attributes)
        )
        return f"{name}_out"

    def conv(self, x: str, name: str, inputs: int, outputs: int, *, group: int = 1) -> str:
        weight = self.weight(f"{name}_w", outputs, inputs // group, 3, 3)
        bias = self.weight(f"{name}_b", outputs)
        return self.node("Conv", [x, weight, bias], name, pads=[1, 1, 1, 1], group=group)

    def gemm(self, x: str, name: str, inputs: int, outputs: int) -> str:
        weight = self.weight(f"{name}_w", outputs, inputs)
        return self.node("Gemm", [x, weight, self.weight(f"{name}_b", outputs)], name, transB=1)

    def relu(self, x: str, name: str) -> str:
        return self.node("Relu", [x], name)

    def pool(self, x: str, name: str) -> str:
        return self.node("Flatten", [self.node("GlobalAveragePool", [x], f"{name}_gap")], name)

    def model(self, shape: Sequence[int | str], output: str, width: int) -> onnx.ModelProto:
        """Close the graph: input `x` of `shape`, and `output` as (batch, width)."""
        graph = helper.make_graph(
            self.nodes,
            "test",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *shape])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", width])],
            self.constants,
        )
        opsets = [helper.make_opsetid("", 20)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        onnx.checker.check_model(model)
        return model

    def save(self, path: Path, shape: Sequence[int | str], output: str, width: int) -> Path:
        onnx.save(self.model(shape, output, width), str(path))
        return path


def residual_net(seed: int = 0) -> onnx.ModelProto:
    """A stem, one residual block (conv a, conv b) and a head, on 3 x 8 x 8 images."""
    g = GraphBuilder(seed)
    skip = g.relu(g.conv("x", "stem", 3, 16), "stem_relu")
    inside = g.conv(g.relu(g.conv(skip, "a", 16, 16), "a_relu"), "b", 16, 16)
    joined = g.relu(g.node("Add", [inside, skip], "join"), "join_relu")
    return g.model((3, 8, 8), g.gemm(g.pool(joined, "pool"), "head", 16, 5), 5)


def plain_net(seed: int = 0) -> onnx.ModelProto:
    """A chain without skips: conv1, depthwise, conv2, pool, fc1, fc2, with ReLU between."""
    g = GraphBuilder(seed)
    x = g.relu(g.conv("x", "conv1", 3, 16), "relu1")
    x = g.relu(g.conv(x, "depthwise", 16, 16, group=16), "relu2")
    x = g.relu(g.conv(x, "conv2", 16, 16), "relu3")
    x = g.relu(g.gemm(g.pool(x, "pool"), "fc1", 16, 16), "relu4")
    return g.model((3, 8, 8), g.gemm(x, "fc2", 16, 5), 5)


def images(count: int, seed: int = 1) -> np.ndarray:
    """Random images for both nets."""
    return np.random.default_rng(seed).normal(size=(count, 3, 8, 8)).astype(np.float32)
