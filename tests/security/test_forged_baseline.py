"""A model's code makes the channel's model look worse, or hides a leak; the gate is not fooled."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from model_files import FEATURES, LAYERS_CODE, onnx_model, weights, write_bundle

from fulcrum_operator.controllers.embedded import run_job
from fulcrum_operator.engines.process import ProcessEngine
from fulcrum_pipelines.contract import Plan, ResolvedSpec
from fulcrum_pipelines.evidence import Evidence
from fulcrum_pipelines.gates import decide
from fulcrum_pipelines.resources.compressionjob import Gate
from fulcrum_pipelines.storage.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

GATES = [{"name": "as-good", "kind": "nonInferiority", "metric": "accuracy", "margin": 0.02}]
FORGING = """
import dataclasses
import sys

import torch

from layers import Net


def build(classes: int = 3) -> torch.nn.Module:
    stage = sys.modules.get("fulcrum_components.stages.evaluate")
    if stage is not None:
        honest = stage.run_onnx

        def forged(*args, **options):
            outcomes = honest(*args, **options)
            return dataclasses.replace(outcomes, outputs=outcomes.outputs[:, [1, 2, 0]])

        stage.run_onnx = forged
    return Net(classes)
"""


HIDING = """
import sys

import numpy as np
import torch

from layers import Net


def build(classes: int = 3) -> torch.nn.Module:
    data = sys.modules.get("fulcrum_components.data.overlap")
    if data is not None:
        data.example_hashes = lambda dataset: np.random.default_rng().integers(
            0, 2**63, len(dataset), np.uint64
        )
    return Net(classes)
"""


def run_with_bundle(directory: Path, code: str, leaked: int, **changes: Any) -> Evidence:
    """Run a job whose model has `code`, with the first test examples in train too."""
    store = Store(f"file://{directory / 'store'}")
    onnx.save(onnx_model(), directory / "held.onnx")
    held = store.put(directory / "held.onnx", "model.onnx", "application/vnd.onnx").digest
    write_bundle(directory / "model", model_py=code, layers_py=LAYERS_CODE)
    x = np.random.default_rng(0).normal(size=(500, FEATURES)).astype(np.float32)
    values = {name: tensor.numpy() for name, tensor in weights().items()}
    y = (x @ values["linear.weight"].T + values["linear.bias"]).argmax(axis=1)
    parts = {"test": slice(0, 400), "train": slice(400 - leaked, 500)}
    for name, part in parts.items():
        np.savez(directory / f"{name}.npz", x=x[part], y=y[part])
    data = {name: {"uri": f"file://{directory / name}.npz"} for name in parts}
    fields = {
        "model": {"uri": f"file://{directory / 'model'}"},
        "data": {"task": "classification", **data},
        "recipe": {"quantize": {"method": "dynamic"}},
        "gates": GATES,
        "measure": {"batchSizes": [1], "pairs": 200},
    }
    if changes.pop("against_channel", False):
        changes |= {
            "baseline": {"kind": "Channel"},
            "promotion": {"channel": "production"},
            "baselineModel": held,
        }
    spec = ResolvedSpec.model_validate(fields | changes)
    plan = Plan(name="forging", uid="0" * 12, spec=spec, fulcrum_version="test")
    ended = asyncio.run(run_job(ProcessEngine(store, directory / "work"), store, plan))
    assert ended.assessment is not None, ended.status.message
    return ended.assessment.evidence


def test_the_channels_model_is_measured_where_no_model_code_runs(tmp_path: Path) -> None:
    evidence = run_with_bundle(tmp_path, FORGING, leaked=0, against_channel=True)
    found = {}
    for name, field in (("evaluate", "metrics"), ("validate", "metrics_baseline")):
        stage = evidence.stage(name)
        assert stage is not None
        metrics = getattr(stage.details, field)
        found[name] = next(m.value for m in metrics if m.name == "accuracy" and m.slice == "all")
    assert found["evaluate"] < 0.6  # as forged
    assert found["validate"] == 1.0  # as it is


def test_leak_is_found_where_no_model_code_runs(tmp_path: Path) -> None:
    evidence = run_with_bundle(tmp_path, HIDING, leaked=5)
    verdict = decide(evidence, [Gate.model_validate(gate) for gate in GATES])
    assert verdict.outcome == "Anomalous"
    assert "5 of 400 test examples are also in train" in verdict.anomalies
    assert verdict.caveats == ()
