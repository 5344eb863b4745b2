"""`fulcrum run` of a job that passes, but for the harm that is done to its results in the store."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_engine import FakeEngine
from harms import Harm
from stand_in import work
from typer.testing import CliRunner, Result

from fulcrum_operator.cli import local_run
from fulcrum_operator.cli.main import app
from fulcrum_operator.controllers.embedded import LIMITS
from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.storage.store import Store

QUICK = replace(LIMITS, poll_s=0.01, first_backoff_s=0.01)


class Harmful(FakeEngine):
    """Stands in for the engine `process`; does `harm` to attempts up to `harmed` that ended."""

    harm: Harm
    harmed: int

    def __init__(self, store: Store, work_root: Path, *, use_cache: bool) -> None:
        super().__init__(store, self._work_and_harm)

    def _work_and_harm(self, store: Store, plan: Plan) -> bool:
        is_over = work(store, plan)
        if plan.attempt <= self.harmed:
            type(self).harm(store, plan)
        return is_over

    def log_path(self, key: str) -> Path:
        """Return where nothing is logged."""
        return Path("run.log")


def fulcrum_run(
    monkeypatch: pytest.MonkeyPatch, store: Store, folder: Path, harm: Harm, harmed: int,
    output: str = "text", **spec: Any,
) -> Result:  # fmt: skip
    """Run a job that passes, but for the harm that is done to its results."""
    for name in ("model.onnx", "data.npz"):
        (folder / name).write_bytes(b"the engine does not read it")
    source = {"uri": "data.npz"}
    job = {
        "apiVersion": "fulcrum.dev/v1alpha1",
        "kind": "CompressionJob",
        "metadata": {"name": "succeed"},
        "spec": {
            "model": {"uri": "model.onnx"},
            "data": {"task": "classification", "calibration": source, "test": source},
            "recipe": {"quantize": {"method": "static"}},
            "gates": [{"name": "as-good", "kind": "nonInferiority", "metric": "accuracy",
                       "margin": 0.01}],
            **spec,
        },
    }  # fmt: skip
    manifest = folder / "job.yaml"
    manifest.write_text(yaml.safe_dump(job))
    engine = type("Engine", (Harmful,), {"harm": staticmethod(harm), "harmed": harmed})
    monkeypatch.setattr(local_run, "ProcessEngine", engine)
    monkeypatch.setattr(local_run, "run_plan", partial(local_run.run_plan, limits=QUICK))
    monkeypatch.chdir(folder)
    arguments = ["run", str(manifest), "--store", store.url, "--output", output, "--quiet"]
    return CliRunner().invoke(app, arguments)
