"""Stages that share a pod leave nothing that the next stage, or Fulcrum, runs."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from builders.evidence import make_stage
from builders.plans import make_plan
from kfp import dsl

from fulcrum_components.stages import component
from fulcrum_pipelines.compiled import stages_of_task
from fulcrum_pipelines.storage.store import Store, record_bytes, stage_path

PLANTED = "planted_by_a_model"


@pytest.mark.parametrize("task", ["compute", "whole", "evaluate", "validate"])
@pytest.mark.parametrize("started_with", ["-c", "-m"])
def test_modules_that_a_stage_plants_are_never_imported(
    task: str, started_with: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker can write to its home, its working directory, and where kfp put its own module."""
    folders = [tmp_path / name for name in ("kfp", "cwd", "home")]
    for folder in folders:
        folder.mkdir()
    (tmp_path / "kfp" / "ephemeral_component.py").touch()
    monkeypatch.chdir(tmp_path / "cwd")
    cwd = "" if started_with == "-c" else str(tmp_path / "cwd")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "kfp"), cwd, *sys.path])
    for name in ("HOME", "PYTHONSAFEPATH", "PYTHONNOUSERSITE"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    store, plan = Store(str(tmp_path / "store")), make_plan()
    digest = store.put_record(plan)
    stages = list(stages_of_task(plan, task))
    shared = len(stages) > 1
    for stage in plan.stages[: plan.stages.index(stages[0])]:
        record = make_stage(stage, run=plan.run, plan=digest, outputs=())
        store.write_record(stage_path(plan.run, stage), record)
    seen: list[dict[str, str]] = []

    def work(command: Any, _: Any, scratch: str, __: Any) -> tuple[int, list[str], bool]:
        seen.append({name: os.environ[name] for name in ("HOME", "PYTHONSAFEPATH")})
        for folder in folders:
            (folder / f"{PLANTED}.py").touch()
        importlib.invalidate_caches()
        record = make_stage(stages.pop(0), run=plan.run, plan=digest, outputs=())
        (Path(scratch) / "evidence.json").write_bytes(record_bytes(record))
        return 0, [], False

    monkeypatch.setattr(component, "hide_process", lambda: None)
    monkeypatch.setattr(component, "_supervise", work)
    made = [dsl.Model("m", "m"), dsl.Metrics("n", "n")]
    made += [dsl.ClassificationMetrics("c", "c"), dsl.HTML("h", "h")]
    for artifact in made:
        artifact.set_path(str(tmp_path / "ui" / artifact.name))
    component.run_stages(task, store.url, plan.run, digest, True, "an-id", *made)
    assert stages == []
    if shared:
        assert all(each == {"HOME": "/nonexistent", "PYTHONSAFEPATH": "1"} for each in seen)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(PLANTED)
