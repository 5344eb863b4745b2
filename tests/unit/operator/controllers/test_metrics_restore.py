"""After a restart the newest evidence of each model is shown, and nothing is counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from builders.evidence import make_evidence
from job_world import job_body, make_verdict
from prometheus_client import generate_latest

from fulcrum_operator.controllers.metrics_restore import Restorer
from fulcrum_operator.metrics import Metrics
from fulcrum_operator.settings import Settings
from fulcrum_pipelines.storage.store import Store


@pytest.fixture
def restorer(tmp_path: Path) -> Restorer:
    return Restorer(Store(str(tmp_path)), Metrics(Settings()), at_most=2)


def judged(model: str, run: str, day: int) -> dict[str, Any]:
    status = {"verdict": "Pass", "run": {"key": run}, "completionTime": f"2026-11-{day}T09:00:00Z"}
    body = job_body(status)
    body["metadata"]["labels"] = {"fulcrum.dev/model": model}
    return body


def put(restorer: Restorer, run: str) -> None:
    restorer.store.write_record(f"runs/{run}/evidence.json", make_evidence(run=run))
    restorer.store.write_record(f"runs/{run}/verdict.json", make_verdict("Pass"))


def shown(restorer: Restorer) -> str:
    return generate_latest(restorer.metrics.registry).decode()


def test_newest_of_each_model_is_shown(restorer: Restorer) -> None:
    for model, run, day in (("digits", "old", 10), ("digits", "new", 12), ("faces", "one", 11)):
        restorer.note(judged(model, run, day))
    put(restorer, "new")
    put(restorer, "one")
    restorer.restore()
    text = shown(restorer)
    assert 'fulcrum_model_speedup_ratio{batch="1",model="digits"}' in text
    assert 'model="faces"' in text
    assert 'fulcrum_verdicts_total{verdict="Pass"} 0.0' in text


def test_only_the_newest_models_are_read(restorer: Restorer) -> None:
    for day, model in ((10, "a"), (12, "b"), (11, "c")):
        restorer.note(judged(model, model, day))
        put(restorer, model)
    restorer.restore()
    text = shown(restorer)
    assert 'model="a"' not in text
    assert 'model="b"' in text
    assert 'model="c"' in text


def test_lost_evidence_is_no_error(restorer: Restorer) -> None:
    restorer.note(judged("digits", "lost", 10))
    restorer.store.write("runs/bad/evidence.json", b"garbage")
    restorer.note(judged("faces", "bad", 10))
    restorer.restore()
    assert 'model="digits"' not in shown(restorer)


def test_job_without_a_verdict_is_not_noted(restorer: Restorer) -> None:
    restorer.note(job_body({"phase": "Failed"}))
    restorer.restore()
    assert "fulcrum_model_speedup_ratio{" not in shown(restorer)
