"""A model's code makes the channel's model look worse than it is; the gate does not believe it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import onnx
import pytest
from model_files import FEATURES, LAYERS_CODE, onnx_model, weights, write_bundle

from fulcrum_operator.embedded import Watcher, run_job
from fulcrum_operator.engines.process import ProcessEngine
from fulcrum_pipelines.contract import Plan, ResolvedSpec
from fulcrum_pipelines.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

NOBODY = Watcher(lambda plan, going: None, lambda plan: None, lambda plan, status: None)
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


def test_the_channels_model_is_measured_where_no_model_code_runs(tmp_path: Path) -> None:
    store = Store(f"file://{tmp_path / 'store'}")
    onnx.save(onnx_model(), tmp_path / "held.onnx")
    held = store.put(tmp_path / "held.onnx", "model.onnx", "application/vnd.onnx").digest
    write_bundle(tmp_path / "model", model_py=FORGING, layers_py=LAYERS_CODE)
    x = np.random.default_rng(0).normal(size=(400, FEATURES)).astype(np.float32)
    values = {name: tensor.numpy() for name, tensor in weights().items()}
    y = (x @ values["linear.weight"].T + values["linear.bias"]).argmax(axis=1)
    np.savez(tmp_path / "test.npz", x=x, y=y)
    fields = {
        "model": {"uri": f"file://{tmp_path / 'model'}"},
        "data": {"task": "classification", "test": {"uri": f"file://{tmp_path / 'test.npz'}"}},
        "recipe": {"quantize": {"method": "dynamic"}},
        "gates": [
            {"name": "as-good", "kind": "nonInferiority", "metric": "accuracy", "margin": 0.02}
        ],
        "baseline": {"kind": "Channel"},
        "promotion": {"channel": "production"},
        "measure": {"batchSizes": [1], "pairs": 200},
        "baselineModel": held,
    }
    spec = ResolvedSpec.model_validate(fields)
    plan = Plan(name="forging", uid="0" * 12, spec=spec, fulcrum_version="test")
    plan, status = asyncio.run(run_job(ProcessEngine(store, tmp_path / "work"), plan, NOBODY))
    assert status.state == "Succeeded", status
    evidence = store.evidence(plan.run)
    assert evidence is not None
    found = {}
    for name, field in (("evaluate", "metrics"), ("validate", "metrics_baseline")):
        stage = evidence.stage(name)
        assert stage is not None
        metrics = getattr(stage.details, field)
        found[name] = next(m.value for m in metrics if m.name == "accuracy" and m.slice == "all")
    assert found["evaluate"] < 0.6  # as forged
    assert found["validate"] == 1.0  # as it is
