"""Infinities that are meant are kept, those of a broken training and all NaN are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from fulcrum_components.models.finite import check_graph, check_module, check_program
from fulcrum_pipelines.errors import UserError

INF, NAN = float("inf"), float("nan")
PATH = Path("model")


class Held(nn.Module):
    """A linear layer whose module adds one of its tensors to the input."""

    def __init__(self, value: float, kind: str) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 2)
        tensor = torch.zeros(4)
        tensor[1] = value
        if kind == "buffer":
            self.register_buffer("own", tensor)
        elif kind == "constant":
            self.own = tensor
        else:
            self.own = nn.Parameter(tensor, requires_grad=kind == "trained")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return scores, (n, 2)."""
        return self.linear(torch.maximum(x, self.own))


def spoiled(module: nn.Module, name: str, value: float) -> nn.Module:
    """Return `module` with one element of its tensor `name` set to `value`."""
    with torch.no_grad():
        module.state_dict()[name].view(-1)[0] = value
    return module


@pytest.mark.parametrize("value", [INF, -INF])
@pytest.mark.parametrize(
    ("module", "refused"),
    [
        (lambda v: Held(v, "buffer"), ""),
        (lambda v: Held(v, "frozen"), ""),
        (lambda v: Held(v, "trained"), "own"),
        (lambda v: spoiled(Held(0, "buffer"), "linear.weight", v), "linear.weight"),
        (lambda v: spoiled(Held(0, "buffer"), "linear.bias", v), "linear.bias"),
        (lambda v: spoiled(nn.Conv1d(1, 1, 3), "weight", v), "weight"),
        (lambda v: spoiled(nn.Embedding(3, 2), "weight", v), "weight"),
        (lambda v: spoiled(nn.LSTM(2, 2), "weight_hh_l0", v), "weight_hh_l0"),
        (lambda v: spoiled(nn.BatchNorm1d(2), "running_var", v), "running_var"),
        (lambda v: spoiled(nn.LayerNorm(2).requires_grad_(False), "weight", v), "weight"),
    ],
)
def test_infinities_of_modules(module: object, refused: str, value: float) -> None:
    made = module(value)  # type: ignore[operator]
    if not refused:
        check_module(made, PATH)
        return
    with pytest.raises(UserError, match=f"not finite: infinity in {refused};.* into a buffer"):
        check_module(made, PATH)


@pytest.mark.parametrize(
    ("module", "refused"),
    [
        (Held(-INF, "buffer"), ""),
        (Held(-INF, "constant"), ""),
        (Held(-INF, "frozen"), ""),
        (Held(-INF, "trained"), "infinity in own"),
        (Held(NAN, "buffer"), "NaN in own"),
        (Held(NAN, "constant"), "NaN in own"),
        (spoiled(Held(0, "buffer"), "linear.weight", INF), "infinity in linear.weight"),
        (
            spoiled(nn.Sequential(nn.BatchNorm1d(4)), "0.running_mean", INF),
            "infinity in 0.running_mean",
        ),
    ],
)
def test_exported_programs(module: nn.Module, refused: str) -> None:
    program = torch.export.export(module.eval(), (torch.zeros(2, 4),))
    if not refused:
        check_program(program, PATH)
        return
    with pytest.raises(UserError, match=f"not finite: {refused};"):
        check_program(program, PATH)


def graph(*nodes: onnx.NodeProto, value: float) -> onnx.ModelProto:
    """Return a graph whose initializer `c` of shape (4, 4) holds `value` once."""
    array = np.zeros((4, 4), np.float32)
    array[1, 2] = value
    made = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, "c")],
    )
    return helper.make_model(made)


NODE = helper.make_node
GRAPHS = [
    ("maximum", [NODE("Max", ["x", "c"], ["y"])], False),
    ("mask", [NODE("Add", ["x", "c"], ["y"])], False),
    ("choice", [NODE("Where", ["x", "c", "x"], ["y"])], False),
    ("table of masks", [NODE("Gather", ["c", "x"], ["y"])], False),
    ("product", [NODE("MatMul", ["x", "c"], ["y"])], True),
    ("convolution", [NODE("Conv", ["x", "c"], ["y"])], True),
    ("layer", [NODE("Gemm", ["x", "c"], ["y"])], True),
    ("transposed", [NODE("Transpose", ["c"], ["t"]), NODE("MatMul", ["x", "t"], ["y"])], True),
    (
        "reshaped twice",
        [
            NODE("Cast", ["c"], ["a"]),
            NODE("Reshape", ["a", "s"], ["b"]),
            NODE("Gemm", ["x", "b"], ["y"]),
        ],
        True,
    ),
]


@pytest.mark.parametrize(("name", "nodes", "refused"), GRAPHS, ids=lambda item: str(item)[:20])
def test_infinities_of_graphs(name: str, nodes: list[onnx.NodeProto], refused: bool) -> None:
    model = graph(*nodes, value=-INF)
    if not refused:
        check_graph(model, PATH)
        return
    with pytest.raises(UserError, match="not finite: infinity in c;"):
        check_graph(model, PATH)


@pytest.mark.parametrize(("name", "nodes", "refused"), GRAPHS, ids=lambda item: str(item)[:20])
def test_nan_of_graphs_is_always_refused(
    name: str, nodes: list[onnx.NodeProto], refused: bool
) -> None:
    with pytest.raises(UserError, match="not finite: NaN in c;"):
        check_graph(graph(*nodes, value=NAN), PATH)


def test_constants_of_nodes_and_of_subgraphs_count() -> None:
    held = numpy_helper.from_array(np.array([NAN], np.float32), "held")
    inner = helper.make_graph([NODE("Constant", [], ["k"], value=held)], "then", [], [])
    model = graph(NODE("If", ["x"], ["y"], then_branch=inner, else_branch=inner), value=0.0)
    with pytest.raises(UserError, match="NaN in held"):
        check_graph(model, PATH)
