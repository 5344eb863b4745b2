"""A job's report is that of `fulcrum run`, and no fault in making it goes further than a reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from stand_in import stand_in_plan, work
from stored_runs import assess_run

from fulcrum_operator.controllers import report_writer
from fulcrum_operator.controllers.publisher import publish
from fulcrum_operator.controllers.report_writer import has_no_report, report
from fulcrum_operator.lifecycle.observation import NoReport, Report
from fulcrum_operator.resources.compressionjob import CompressionJobStatus
from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.report.files import fetch_report
from fulcrum_pipelines.storage.store import Store, object_path

BEHAVIOURS = ("succeed", "worse", "undecided")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def judged(store: Store, plan: Plan) -> CompressionJobStatus:
    """Let a job run and be judged, and return its status."""
    digest = store.put_record(plan)
    work(store, plan)
    found = assess_run(store, plan)
    return CompressionJobStatus.model_validate(
        {
            "attempt": 1,
            "run": {"key": plan.run, "plan": digest, "engine": "process"},
            "verdict": found.verdict.outcome,
            "evidence": {"uri": found.evidence_uri, "digest": found.evidence_digest},
        }
    )


def page_path(plan: Plan) -> str:
    return f"runs/{plan.run}/report.html"


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_report_is_the_page_that_fulcrum_run_writes(store: Store, behaviour: str) -> None:
    plan = stand_in_plan(behaviour)
    status = judged(store, plan)
    for _ in range(2):  # as after a crash before its address was recorded
        assert report(store, status) == Report(store.locate(page_path(plan)))
    page = store.read(page_path(plan))
    store.delete(page_path(plan))
    assert fetch_report(store, plan.run) == page
    assert store.read(page_path(plan)) is None
    publish(store, plan, assess_run(store, plan))
    assert store.read(page_path(plan)) == page


@dataclass(frozen=True)
class Fault:
    """A fault while the report is made, and the expected message."""

    name: str
    spoil: Callable[[Store, Plan, pytest.MonkeyPatch], object]
    message: str
    retryable: bool = False


def block(store: Store, path: str) -> None:
    """Put a folder where a file is read or written, which fails for root too."""
    target = Path(store.locate(path))
    target.unlink(missing_ok=True)
    target.mkdir()


def break_drawing(store: Store, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> str:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(report_writer, "store_report", fail)


def evidence_path(plan: Plan) -> str:
    return f"runs/{plan.run}/evidence.json"


def of_other_run(store: Store, plan: Plan, _: pytest.MonkeyPatch) -> None:
    other = stand_in_plan("worse")
    work(store, other)
    found = store.read(evidence_path(other))
    assert found is not None
    store.write(evidence_path(plan), found)


FAULTS = (
    Fault("store cannot be written", lambda store, plan, _: block(store, page_path(plan)),
          "cannot write", retryable=True),
    Fault("store cannot be read", lambda store, plan, _: block(store, evidence_path(plan)),
          "cannot read", retryable=True),
    Fault("evidence gone", lambda store, plan, _: store.delete(evidence_path(plan)), "is missing"),
    Fault("evidence damaged", lambda store, plan, _: store.write(evidence_path(plan), b"{"),
          "not valid evidence"),
    Fault("evidence replaced", of_other_run, "it now says Fail"),
    Fault("plan gone",
          lambda store, plan, _: store.delete(object_path(store.put_record(plan))), "is missing"),
    Fault("evidence too large",
          lambda store, plan, patch: patch.setattr(report_writer, "MOST_EVIDENCE_BYTES", 100),
          "over the limit"),
    Fault("defect", break_drawing, "ZeroDivisionError"),
)  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fault_is_a_reason_and_no_error(
    store: Store, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = stand_in_plan("succeed")
    status = judged(store, plan)
    fault.spoil(store, plan, monkeypatch)
    found = report(store, status)
    assert isinstance(found, NoReport)
    assert fault.message in found.message
    assert found.retryable == fault.retryable


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        ({}, False),
        ({"verdict": "Pass"}, True),
        ({"verdict": "Pass", "report": "s3://b/report.html"}, False),
        ({"verdict": "Pass", "conditions": ["Evaluated"]}, True),
        ({"verdict": "Pass", "conditions": ["Evaluated", "Reported"]}, False),
    ],
)
def test_report_is_made_once_after_the_verdict(status: dict[str, object], wanted: bool) -> None:
    names = status.get("conditions", ())
    assert isinstance(names, (list, tuple))
    common = {"status": "False", "reason": "R", "message": "", "lastTransitionTime": "now"}
    conditions = [{"type": name, **common} for name in names]
    made = CompressionJobStatus.model_validate({**status, "conditions": conditions})
    assert has_no_report(made) == wanted
