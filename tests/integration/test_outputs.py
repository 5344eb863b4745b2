"""A model with four outputs, by the command line: what is kept passes, what is lost blocks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

FEATURES, CLASSES, PARTS = 16, 4, 2
RANDOM = np.random.default_rng(7)
WEIGHTS = {
    "hidden": RANDOM.normal(size=(32, FEATURES)).astype(np.float32) / 4,
    "scores_weight": RANDOM.normal(size=(CLASSES, 32)).astype(np.float32) / 4,
    "head_weight": RANDOM.normal(size=(PARTS, 32)).astype(np.float32) / 4,
}


def write_model(path: Path) -> Path:
    """Write a classifier that gives a feature, labels and a second head besides its scores."""
    nodes = [
        ("Gemm", ["x", "hidden"], "feature", {"transB": 1}),
        ("Relu", ["feature"], "rectified", {}),
        ("Gemm", ["rectified", "scores_weight"], "scores", {"transB": 1}),
        ("Gemm", ["rectified", "head_weight"], "head", {"transB": 1}),
        ("ArgMax", ["scores"], "label", {"axis": 1, "keepdims": 0}),
        ("Transpose", ["rectified"], "turned", {"perm": [1, 0]}),
    ]
    outputs = [
        ("scores", TensorProto.FLOAT, ["n", CLASSES]),
        ("feature", TensorProto.FLOAT, ["n", 32]),
        ("label", TensorProto.INT64, ["n"]),
        ("head", TensorProto.FLOAT, ["n", PARTS]),
        ("turned", TensorProto.FLOAT, [32, "n"]),
    ]
    graph = helper.make_graph(
        [helper.make_node(kind, inputs, [out], **more) for kind, inputs, out, more in nodes],
        "outputs",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", FEATURES])],
        [helper.make_tensor_value_info(*output) for output in outputs],
        [numpy_helper.from_array(value, name) for name, value in WEIGHTS.items()],
    )
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), path)
    return path


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The model, and data of which it gets some wrong."""
    write_model(tmp_path / "model.onnx")
    x = RANDOM.normal(size=(600, FEATURES)).astype(np.float32)
    hidden = np.maximum(x @ WEIGHTS["hidden"].T, 0)
    noise = RANDOM.normal(size=(600, CLASSES)) / 8
    scores, head = (hidden @ WEIGHTS[name].T for name in ("scores_weight", "head_weight"))
    labels = {"y": (scores + noise).argmax(axis=1), "part": head.argmax(axis=1)}
    np.savez(tmp_path / "test.npz", x=x, **labels)
    return tmp_path


def run(directory: Path, bits: int, **data: Any) -> tuple[int, dict[str, Any], str]:
    """Run a job that rounds all weights to `bits`; return exit code, result and what was said.

    The gate on scores passes, however bad they become, so that the other outputs decide.
    """
    gate = {"name": "scores", "kind": "nonInferiority", "metric": "accuracy", "margin": 0.99}
    spec = {
        "model": {"uri": "model.onnx"},
        "data": {"task": "classification", "test": {"uri": "test.npz"}, **data},
        "recipe": {"quantize": {"method": "weightOnly", "bits": bits}},
        "gates": [gate],
        "measure": {"batchSizes": [1], "pairs": 200},
        "allowWeakBaseline": True,
        "backoffLimit": 0,
    }
    job = {"apiVersion": "fulcrum.dev/v1alpha1", "kind": "CompressionJob"}
    (directory / "job.yaml").write_text(
        yaml.safe_dump({**job, "metadata": {"name": "outputs"}, "spec": spec})
    )
    command = [sys.executable, "-m", "fulcrum_operator.cli.main", "run", "--output", "json"]
    ended = subprocess.run(
        [*command, "job.yaml", "--store", str(directory / "store")],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in ended.stdout + ended.stderr
    return ended.returncode, json.loads(ended.stdout or "{}"), ended.stderr


def test_outputs_of_all_kinds_are_kept(directory: Path) -> None:
    code, result, said = run(directory, 8, targets={"head": "part"}, ignoredOutputs=["turned"])

    assert (code, result["outcome"]) == (0, "Pass"), said
    assert [gate["name"] for gate in result["verdict"]["gates"]] == ["scores", "other-outputs"]
    evidence = json.loads(Path(result["evidence"]).read_text())
    details = evidence["stages"][-1]["details"]
    assert details["output_names"] == ["scores", "feature", "label", "head", "turned"]
    records = {each["output"]: each for each in details["fidelity"]}
    assert set(records) == {"feature", "label", "head"}
    assert 0 < records["feature"]["relative_error"] < 0.02
    assert records["label"]["relative_error"] is None
    assert records["label"]["agreement"] > 0.98
    accuracy = next(c for c in records["head"]["comparisons"] if c["metric"] == "accuracy")
    assert accuracy["baseline"] == 1
    assert accuracy["interval"] is not None
    assert "data.ignoredOutputs" in Path(result["report"]).read_text()


def test_lost_outputs_block_although_no_gate_names_them(directory: Path) -> None:
    code, result, said = run(directory, 2)

    assert (code, result["outcome"]) == (3, "Fail"), said
    by_name = {gate["name"]: gate for gate in result["verdict"]["gates"]}
    assert by_name["scores"]["verdict"] == "Pass"
    assert "of output 'feature'" in by_name["other-outputs"]["reason"]


def test_unknown_output_is_refused_with_those_there_are(directory: Path) -> None:
    code, _, said = run(directory, 8, ignoredOutputs=["turn"])

    assert code != 0
    assert "no output 'turn' (did you mean 'turned'?)" in said
    assert "feature, label, head, turned" in said
