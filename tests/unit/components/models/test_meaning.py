"""Infer the meaning of the first output of a file without a declaration, for all graph ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from fulcrum_components.models.loading import load_model
from fulcrum_pipelines.errors import UserError

N = helper.make_node
CONSTANTS = {
    "one": np.float32(1),
    "half": np.float32(0.5),
    "zero": np.float32(0),
    "ten": np.float32(10),
    "epsilon": np.float32(1e-6),
    "axis": np.array([1]),
    "index": np.array(1),
    "flat": np.array([-1]),
    "square": np.array([0, 2, 2]),
    "rows": np.array([0, 4]),
}


@dataclass(frozen=True)
class Ending:
    """The nodes after the logits `z`, of shape (N, 1) or (N, 4), up to `o`."""

    name: str
    columns: int
    nodes: tuple[onnx.NodeProto, ...]
    meaning: str
    shape: tuple[int, ...] | None = None  # of the output without the batch; default (columns,)


SIGMOID = N("Sigmoid", ["z"], ["s"])
SOFTMAX = N("Softmax", ["z"], ["s"], axis=1)
EXP = N("Exp", ["z"], ["e"])
ENDINGS = (
    Ending("logits", 4, (N("Identity", ["z"], ["o"]),), "logits"),
    Ending("swish", 4, (SIGMOID, N("Mul", ["z", "s"], ["o"])), "logits"),
    Ending("gated after", 4, (SIGMOID, N("MatMul", ["s", "eye"], ["o"])), "logits"),
    Ending("softmax", 4, (N("Softmax", ["z"], ["o"]),), "probabilities"),
    Ending("squeeze", 1, (SIGMOID, N("Squeeze", ["s", "axis"], ["o"])), "probabilities", ()),
    Ending("identity", 1, (SIGMOID, N("Identity", ["s"], ["o"])), "probabilities"),
    Ending("reshape", 1, (SIGMOID, N("Reshape", ["s", "flat"], ["o"])), "probabilities", ()),
    Ending("flatten", 4, (SOFTMAX, N("Flatten", ["s"], ["o"])), "probabilities"),
    Ending(
        "cast twice",
        4,
        (SOFTMAX, N("Cast", ["s"], ["d"], to=TensorProto.DOUBLE), N("Cast", ["d"], ["o"], to=1)),
        "probabilities",
    ),
    Ending(
        "there and back",
        4,
        (SOFTMAX, N("Reshape", ["s", "square"], ["q"]), N("Reshape", ["q", "rows"], ["o"])),
        "probabilities",
    ),
    Ending("dropout", 4, (SOFTMAX, N("Dropout", ["s"], ["o"])), "probabilities"),
    Ending("clip", 4, (SOFTMAX, N("Clip", ["s", "epsilon", "one"], ["o"])), "probabilities"),
    Ending("clip of a number", 1, (N("Clip", ["z", "zero", "one"], ["o"]),), "probabilities"),
    Ending("clip of logits", 4, (N("Clip", ["z", "zero", "ten"], ["o"]),), "logits"),
    Ending(
        "one column", 4, (SOFTMAX, N("Gather", ["s", "index"], ["o"], axis=1)), "probabilities", ()
    ),
    Ending(
        "both classes",
        1,
        (SIGMOID, N("Sub", ["one", "s"], ["t"]), N("Concat", ["t", "s"], ["o"], axis=1)),
        "probabilities",
        (2,),
    ),
    Ending(
        "mean of two",
        4,
        (
            SOFTMAX,
            N("Neg", ["z"], ["n"]),
            N("Softmax", ["n"], ["t"]),
            N("Add", ["s", "t"], ["u"]),
            N("Mul", ["u", "half"], ["o"]),
        ),
        "probabilities",
    ),
    Ending("hard sigmoid", 1, (N("HardSigmoid", ["z"], ["o"]),), "probabilities"),
    Ending(
        "sigmoid by division",
        1,
        (
            N("Neg", ["z"], ["n"]),
            N("Exp", ["n"], ["e"]),
            N("Add", ["e", "one"], ["b"]),
            N("Div", ["one", "b"], ["o"]),
        ),
        "probabilities",
    ),
    Ending(
        "sigmoid by reciprocal",
        1,
        (
            N("Neg", ["z"], ["n"]),
            N("Exp", ["n"], ["e"]),
            N("Add", ["one", "e"], ["b"]),
            N("Reciprocal", ["b"], ["o"]),
        ),
        "probabilities",
    ),
    Ending(
        "softmax by division",
        4,
        (EXP, N("ReduceSum", ["e", "axis"], ["t"]), N("Div", ["e", "t"], ["o"])),
        "probabilities",
    ),
    Ending(
        "softmax with an epsilon",
        4,
        (
            EXP,
            N("ReduceSum", ["e", "axis"], ["t"]),
            N("Add", ["t", "epsilon"], ["u"]),
            N("Div", ["e", "u"], ["o"]),
        ),
        "probabilities",
    ),
    Ending("log-softmax", 4, (N("LogSoftmax", ["z"], ["o"], axis=1),), "logits"),
    Ending("log of softmax", 4, (SOFTMAX, N("Log", ["s"], ["o"])), "logits"),
    Ending(
        "exp of log-softmax",
        4,
        (N("LogSoftmax", ["z"], ["s"], axis=1), N("Exp", ["s"], ["o"])),
        "probabilities",
    ),
)


def write(path: Path, ending: Ending, kind: int = TensorProto.FLOAT) -> Path:
    """Write a linear layer and the ending as ONNX."""
    shape = (ending.columns,) if ending.shape is None else ending.shape
    arrays = {
        name: np.asarray(value, np.float32 if np.asarray(value).dtype.kind == "f" else np.int64)
        for name, value in CONSTANTS.items()
    }
    weights = np.random.default_rng(0).normal(size=(3, ending.columns)).astype(np.float32)
    used = {name for node in ending.nodes for name in node.input}
    arrays = {name: value for name, value in arrays.items() if name in used}
    arrays |= {"w": weights} | ({"eye": np.eye(4, dtype=np.float32)} if "eye" in used else {})
    graph = helper.make_graph(
        [N("MatMul", ["x", "w"], ["z"]), *ending.nodes],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])],
        [helper.make_tensor_value_info("o", kind, ["N", *shape])],
        [numpy_helper.from_array(value, name) for name, value in arrays.items()],
    )
    opset = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), str(path))
    return path


def meaning_of(path: Path, **options: Any) -> str:
    model = load_model(str(path), cache_dir=path.parent / "cache", task="classification", **options)
    return model.signature.meaning


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: ending.name)
def test_onnx_graph_shows_the_meaning(ending: Ending, tmp_path: Path) -> None:
    assert meaning_of(write(tmp_path / "m.onnx", ending)) == ending.meaning


def test_log_of_one_probability_is_refused(tmp_path: Path) -> None:
    ending = Ending("", 1, (SIGMOID, N("Log", ["s"], ["o"])), "")
    with pytest.raises(UserError, match="logarithm of one probability"):
        meaning_of(write(tmp_path / "m.onnx", ending))


def test_class_labels_as_first_output_are_refused(tmp_path: Path) -> None:
    ending = Ending("", 4, (N("ArgMax", ["z"], ["o"], axis=1, keepdims=0),), "", ())
    path = write(tmp_path / "m.onnx", ending, TensorProto.INT64)
    with pytest.raises(UserError, match=r"'o' is int64\[batch\], so it holds class labels"):
        meaning_of(path)


def test_manifest_says_what_the_graph_does_not(tmp_path: Path) -> None:
    ending = Ending("", 1, (N("Tanh", ["z"], ["t"]), N("Abs", ["t"], ["o"])), "")
    path = write(tmp_path / "m.onnx", ending)
    assert meaning_of(path) == "logits"
    assert meaning_of(path, meaning="probabilities") == "probabilities"


HEADS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "logits": (lambda z: z, "logits"),
    "swish": (functional.silu, "logits"),
    "one number": (lambda z: z[:, 0], "logits"),
    "squeeze": (lambda z: torch.sigmoid(z[:, :1]).squeeze(1), "probabilities"),
    "reshape": (lambda z: z.softmax(1).view(-1, 2, 2).reshape(-1, 4), "probabilities"),
    "cast and clone": (lambda z: z.softmax(1).double().float().clone(), "probabilities"),
    "transpose": (lambda z: z.t().softmax(0).t().contiguous(), "probabilities"),
    "clamp": (lambda z: z.softmax(1).clamp(1e-6, 1 - 1e-6), "probabilities"),
    "one column": (lambda z: z.softmax(1)[:, 1], "probabilities"),
    "1 - p": (
        lambda z: torch.cat([1 - z[:, :1].sigmoid(), z[:, :1].sigmoid()], 1),
        "probabilities",
    ),
    "division": (lambda z: 1 / (1 + torch.exp(-z[:, :1])), "probabilities"),
    "mean": (lambda z: torch.stack([z.softmax(1), (-z).softmax(1)]).mean(0), "probabilities"),
    "log-softmax": (lambda z: functional.log_softmax(z, 1), "logits"),
    "exp of it": (lambda z: functional.log_softmax(z, 1).exp(), "probabilities"),
    "dropout": (lambda z: functional.dropout(z.softmax(1), 0.5, False), "probabilities"),
}


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("decomposed", [False, True])
def test_exported_program_shows_the_meaning(name: str, decomposed: bool, tmp_path: Path) -> None:
    head, meaning = HEADS[name]

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            return head(self.layer(x))

    batch = torch.export.Dim("batch")
    program = torch.export.export(Net().eval(), (torch.randn(2, 3),), dynamic_shapes=({0: batch},))
    torch.export.save(program.run_decompositions() if decomposed else program, tmp_path / "m.pt2")
    assert meaning_of(tmp_path / "m.pt2") == meaning
