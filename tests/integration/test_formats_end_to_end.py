"""Models that come as one file, from `fulcrum init` to a verdict."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import yaml
from one_process import fulcrum_run
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from fulcrum_operator.scaffolding import scaffold
from fulcrum_pipelines.manifests import check_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

FEATURES, CLASSES = 16, 4
RANDOM = np.random.default_rng(7)
WEIGHT = RANDOM.normal(size=(CLASSES, FEATURES)).astype(np.float32)
GATE = {"name": "accuracy", "kind": "nonInferiority", "metric": "accuracy", "margin": 0.1}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Data of which `WEIGHT` gets some wrong."""
    for part, count in (("train", 256), ("validation", 256), ("test", 600)):
        x = RANDOM.normal(size=(count, FEATURES)).astype(np.float32)
        noise = RANDOM.normal(size=(count, CLASSES))
        np.savez(tmp_path / f"{part}.npz", x=x, y=(x @ WEIGHT.T + noise).argmax(axis=1))
    return tmp_path


def write_program(path: Path) -> Path:
    """Export a network with one hidden layer that computes `WEIGHT`."""
    module = nn.Sequential(nn.Linear(FEATURES, 2 * CLASSES), nn.ReLU(), nn.Dropout(0.1))
    module.append(nn.Linear(2 * CLASSES, CLASSES))
    identity = torch.eye(CLASSES)
    weight = torch.from_numpy(WEIGHT)
    tensors = {
        "0.weight": torch.cat([weight, -weight]),
        "0.bias": torch.zeros(2 * CLASSES),
        "3.weight": torch.cat([identity, -identity], dim=1),
        "3.bias": torch.zeros(CLASSES),
    }
    module.load_state_dict(tensors)
    dynamic = ({0: torch.export.Dim("batch")},)
    example = (torch.zeros(2, FEATURES),)
    torch.export.save(torch.export.export(module.eval(), example, dynamic_shapes=dynamic), path)
    return path


def write_onnx(path: Path) -> Path:
    """Write the linear classifier `WEIGHT`."""
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["features", "weight"], ["scores"], transB=1)],
        "linear",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", FEATURES])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", CLASSES])],
        [numpy_helper.from_array(WEIGHT, "weight")],
    )
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), path)
    return path


def initialised(model: Path, input_name: str) -> tuple[Path, dict[str, Any]]:
    """Return the manifest of `fulcrum init` and its content, with inputs mapped by name."""
    manifest = scaffold(model, model.parent, force=False).files[-1]
    assert check_file(manifest) == []
    assert f"#   {input_name}: float32[batch, {FEATURES}]" in manifest.read_text()
    job = yaml.safe_load(manifest.read_text())
    for part in ("train", "validation", "test"):
        job["spec"]["data"][part]["inputs"] = {input_name: "x"}
    return manifest, job


def run(manifest: Path, job: dict[str, Any], **changes: Any) -> tuple[dict[str, Any], str]:
    """Run `job` with some of its specification changed; return the result and what was said."""
    measure = {"batchSizes": [1], "pairs": 200}
    job["spec"] |= {"gates": [GATE], "measure": measure, "backoffLimit": 0, **changes}
    manifest.write_text(yaml.safe_dump(job))
    assert check_file(manifest) == []
    ended = fulcrum_run(manifest)
    assert ended.exit_code == 0, ended.said
    return ended.result, ended.said


def nodes_of(path: str) -> set[str]:
    """Return the kinds of operations in an ONNX file."""
    return {node.op_type for node in onnx.load(path).graph.node}


def test_exported_program_is_pruned_trained_and_put_into_integers(directory: Path) -> None:
    manifest, job = initialised(write_program(directory / "model.pt2"), "input")
    recipe = {
        "prune": {"unstructured": {"sparsity": 0.25}},
        "finetune": {"epochs": 2},
        "quantize": {"method": "static"},
    }
    result, said = run(manifest, job, recipe=recipe)
    assert result["outcome"] == "Pass", said
    assert [stage["stage"] for stage in result["stages"]] == [
        "evaluate",
        "prune",
        "finetune",
        "quantize",
        "validate",
    ]
    removed = re.search(r"unstructured: ([\d.]+)% of all weights", said)
    assert removed is not None, said
    assert 15 < float(removed[1]) <= 25  # biases and the output layer stay
    assert "QuantizeLinear" in nodes_of(result["candidate"]["path"])


def test_exported_program_is_truncated(directory: Path) -> None:
    manifest, job = initialised(write_program(directory / "model.pt2"), "input")
    recipe = {"prune": {"truncate": {"threshold": 0.2}}}
    result, said = run(manifest, job, recipe=recipe)
    assert result["outcome"] == "Pass", said
    assert [stage["stage"] for stage in result["stages"]] == ["evaluate", "prune", "validate"]


def test_onnx_file_is_put_into_integers(directory: Path) -> None:
    manifest, job = initialised(write_onnx(directory / "model.onnx"), "features")
    result, said = run(manifest, job, recipe={"quantize": {"method": "static"}})
    assert result["outcome"] == "Pass", said
    assert [stage["stage"] for stage in result["stages"]] == ["evaluate", "quantize", "validate"]
    assert "QuantizeLinear" in nodes_of(result["candidate"]["path"])
