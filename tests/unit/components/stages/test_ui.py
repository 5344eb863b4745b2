"""Files for Kubeflow's pages are safe to show, and never fail a stage that has a result."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders.details import make_evaluate, make_finetune, make_validate
from builders.evidence import make_stage
from builders.plans import make_plan
from kfp import dsl

from fulcrum_components.stages import component
from fulcrum_components.stages.ui import render_summary
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.evidence import ConfusionMatrix, Details, StageName
from fulcrum_pipelines.storage.store import Store, stage_path

PLAN = make_plan(recipe={"finetune": {"epochs": 1}})
SIZE = make_validate().size.model_copy(update={"baseline_bytes": 0})


def run(task: str, store: Store, folder: Path) -> None:
    """Run a task whose stages have their results, as a pod that is started again does."""
    made = [dsl.Model("m", "m"), dsl.Metrics("n", "n")]
    made += [dsl.ClassificationMetrics("c", "c"), dsl.HTML("h", "h")]
    for artifact in made:
        artifact.set_path(str(folder / artifact.name))
    component.run_stages(task, store.url, PLAN.run, store.put_record(PLAN), True, "id", *made)


@pytest.mark.parametrize(
    ("stage", "details"),
    [
        ("evaluate", make_evaluate(confusion=ConfusionMatrix(labels=("a", "b"), counts=((1,),)))),
        ("finetune", make_finetune(best_epoch=99)),
        ("validate", make_validate(size=SIZE)),
    ],
    ids=["ragged matrix", "no such epoch", "empty baseline"],
)
def test_what_cannot_be_shown_fails_no_stage(
    stage: StageName,
    details: Details,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(component, "hide_process", lambda: None)
    store = Store(str(tmp_path / "store"))
    digest = store.put_record(PLAN)
    for each in PLAN.stages:
        own = {"details": details} if each == stage else {}
        record = make_stage(each, run=PLAN.run, plan=digest, **own)
        store.write_record(stage_path(PLAN.run, each), record)
    run(stage, store, tmp_path)
    assert "the UI does not show all of it: " in capsys.readouterr().out
    state = store.stage_state(PLAN.run, stage)
    assert state is not None
    assert state.state == "Succeeded"


def test_task_that_the_plan_does_not_have_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(component, "hide_process", lambda: None)
    with pytest.raises(UserError, match="has no stage quantize; give the plan"):
        run("quantize", Store(str(tmp_path / "store")), tmp_path)


def test_words_of_users_code_are_only_words() -> None:
    warning = "<script>alert(1)</script> \u202eevil\x1b[2J"
    page = render_summary([make_stage("evaluate", warnings=(warning,))])
    assert "<script" not in page
    assert not {"\u202e", "\x1b"} & set(page)
    assert "&lt;script&gt;" in page
