"""Describe a model file as JSON for a process that has neither torch nor onnx."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, save
from safetensors.numpy import save_file

from fulcrum_components.models import describe


def make_onnx(path: Path) -> Path:
    """Write a model that adds 1 to its input."""
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "one"], ["score"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N", 3])],
        [helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])],
    )
    opsets = [helper.make_opsetid("", 20)]
    save(helper.make_model(graph, opset_imports=opsets, ir_version=10), str(path))
    return path


def test_onnx_gives_its_signature(tmp_path: Path) -> None:
    assert describe.describe(make_onnx(tmp_path / "model.onnx")) == {
        "inputs": [{"name": "x", "shape": ["batch", 3], "dtype": "float32"}],
        "outputs": [{"name": "score", "shape": ["batch", 3], "dtype": "float32"}],
        "meaning": "logits",
    }


def test_weights_give_their_tensors(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"a.weight": np.zeros((2, 3), np.float16)}, path)
    expected = {"tensors": [{"name": "a.weight", "shape": [2, 3], "dtype": "float16"}]}
    assert describe.describe(path) == expected


def test_command_prints_json_or_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["describe", str(make_onnx(tmp_path / "model.onnx"))])
    assert describe.main() == 0
    assert json.loads(capsys.readouterr().out)["inputs"][0]["name"] == "x"
    (tmp_path / "broken.onnx").write_bytes(b"nonsense")
    monkeypatch.setattr("sys.argv", ["describe", str(tmp_path / "broken.onnx")])
    assert describe.main() == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
