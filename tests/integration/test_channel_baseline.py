"""A candidate is compared with what a channel holds, not with the model that it was made from."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from one_process import engine_for
from onnx import TensorProto, helper, numpy_helper

from fulcrum_operator.controllers.embedded import Ended, run_job
from fulcrum_pipelines.contract import Plan, ResolvedSpec
from fulcrum_pipelines.evidence import EvaluateDetails, Evidence, ValidateDetails
from fulcrum_pipelines.storage.store import Store, file_digest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

FEATURES, CLASSES, EXAMPLES = 8, 3, 400
RANDOM = np.random.default_rng(3)
WEIGHT = RANDOM.normal(size=(CLASSES, FEATURES)).astype(np.float32)


def write_linear(path: Path, weight: np.ndarray, name: str = "x") -> Path:
    """Write a linear classifier as ONNX."""
    graph = helper.make_graph(
        [helper.make_node("Gemm", [name, "weight"], ["scores"], transB=1)],
        "linear",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", weight.shape[1]])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", CLASSES])],
        [numpy_helper.from_array(weight, "weight")],
    )
    opset = helper.make_opsetid("", 20)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=10), path)
    return path


def run(directory: Path, held: Path, **changes: Any) -> tuple[Ended, Evidence | None, str]:
    """Run a job whose channel holds the model `held`; return how it ended and what it found.

    Fields of its specification are replaced by `changes`, or left out for None.
    """
    x = RANDOM.normal(size=(EXAMPLES, FEATURES)).astype(np.float32)
    np.savez(directory / "test.npz", x=x, y=(x @ WEIGHT.T).argmax(axis=1))
    np.savez(directory / "calibration.npz", x=x[:100] + 0.01, y=np.zeros(100, np.int64))
    model = write_linear(directory / "model.onnx", WEIGHT)
    store = Store(f"file://{directory / 'store'}")
    digest = store.put(held, "candidate.onnx", "application/vnd.onnx").digest
    fields = {
        "model": {"uri": f"file://{model}"},
        "data": {
            "task": "classification",
            "calibration": {"uri": f"file://{directory / 'calibration.npz'}"},
            "test": {"uri": f"file://{directory / 'test.npz'}"},
        },
        "recipe": {"quantize": {"method": "static"}},
        "gates": [{"name": "better", "kind": "nonInferiority", "metric": "accuracy",
                   "margin": 0.01, "maxGain": 0.9}],
        "baseline": {"kind": "Channel"},
        "promotion": {"channel": "production"},
        "measure": {"batchSizes": [1], "pairs": 200},
        "baselineModel": digest,
    }  # fmt: skip
    fields = {name: value for name, value in (fields | changes).items() if value is not None}
    spec = ResolvedSpec.model_validate(fields)
    plan = Plan(name="linear", uid="0" * 12, spec=spec, fulcrum_version="test")
    ended = asyncio.run(run_job(engine_for(store), store, plan))
    return ended, store.evidence(ended.plan.run), digest


def test_candidate_is_compared_with_what_the_channel_holds(tmp_path: Path) -> None:
    weak = WEIGHT + RANDOM.normal(size=WEIGHT.shape).astype(np.float32)
    ended, evidence, digest = run(tmp_path, write_linear(tmp_path / "held.onnx", weak))
    assert ended.assessment is not None, ended.status.message
    assert evidence is not None
    evaluate, validate = evidence.stage("evaluate"), evidence.stage("validate")
    assert evaluate is not None
    assert validate is not None
    assert isinstance(evaluate.details, EvaluateDetails)
    assert isinstance(validate.details, ValidateDetails)
    assert validate.details.baseline_model == digest
    accuracy = next(each for each in evaluate.details.metrics if each.name == "accuracy")
    assert accuracy.value is not None
    assert accuracy.value < 0.95  # of what the channel holds; the model itself is right by making
    verdict = ended.assessment.verdict
    assert verdict.anomalies == ()
    assert verdict.outcome == "Pass"


def test_candidate_from_elsewhere_is_compared_with_what_the_channel_holds(tmp_path: Path) -> None:
    """The manifest names no other model."""
    weak = WEIGHT + RANDOM.normal(size=WEIGHT.shape).astype(np.float32)
    new = write_linear(tmp_path / "new.onnx", WEIGHT)
    candidate = {"uri": f"file://{new}"}
    held = write_linear(tmp_path / "held.onnx", weak)
    ended, evidence, digest = run(tmp_path, held, model=None, recipe=None, candidate=candidate)
    assert ended.assessment is not None, ended.status.message
    assert evidence is not None
    evaluate, convert, validate = evidence.stages
    assert evaluate.inputs["model"] == evaluate.inputs["baseline"] == digest
    assert convert.inputs["candidate"] == file_digest(new)
    assert isinstance(validate.details, ValidateDetails)
    assert validate.details.baseline_model == digest
    assert validate.details.candidate_model == file_digest(new)
    assert ended.assessment.verdict.outcome == "Pass"


def test_candidate_of_another_shape_than_what_the_channel_holds(tmp_path: Path) -> None:
    new = write_linear(tmp_path / "new.onnx", WEIGHT, name="features")
    held = write_linear(tmp_path / "held.onnx", WEIGHT)
    candidate = {"uri": f"file://{new}"}
    ended, evidence, _ = run(tmp_path, held, model=None, recipe=None, candidate=candidate)
    assert evidence is None
    assert ended.status.failures == {"user": 1}
    message = ended.status.message or ""
    assert "spec.candidate: the candidate is features float32[?, 8]" in message
    assert "the channel's model x float32[?, 8]" in message


def test_model_of_another_shape_cannot_be_the_baseline(tmp_path: Path) -> None:
    held = write_linear(tmp_path / "held.onnx", WEIGHT, name="features")
    ended, evidence, _ = run(tmp_path, held)
    assert evidence is None
    assert ended.status.failures == {"user": 1}
    assert "spec.baseline" in (ended.status.message or "")
    assert "features float32[?, 8]" in (ended.status.message or "")
