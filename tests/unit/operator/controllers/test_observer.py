"""Observe what a job's phase needs; unreadable objects do not block the decision."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from fake_engine import FakeEngine
from job_world import UID, job_body
from stand_in import stand_in_plan, work

from fulcrum_operator.controllers.job_memory import JobMemory
from fulcrum_operator.controllers.observer import Observer
from fulcrum_operator.controllers.resolver import Templates
from fulcrum_operator.engines.slots import EngineDesk, Slots
from fulcrum_operator.kubernetes.errors import NotFound
from fulcrum_operator.kubernetes.object_cache import Objects
from fulcrum_operator.lifecycle.observation import Observed, Report, read_job
from fulcrum_operator.resources.names import MODEL_CHANNEL, MODEL_PROMOTION
from fulcrum_pipelines.contract import canonical_json, digest_of, to_json
from fulcrum_pipelines.errors import InfrastructureError
from fulcrum_pipelines.gates.assessment import Assessment, NoAssessment
from fulcrum_pipelines.states import RunHandle, RunStatus
from fulcrum_pipelines.storage.store import Store, stage_path, state_path

PLAN = stand_in_plan("succeed").model_copy(update={"uid": UID})


class Snapshots:
    """An API server that has one ConfigMap, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.owner = UID

    async def get(self, kind: Any, name: str, namespace: str = "") -> dict[str, Any]:
        self.asked += 1
        if name != f"succeed-{UID[:8]}":
            raise NotFound("no such thing")
        spec = PLAN.spec.model_dump(mode="json", by_alias=True, exclude_none=True)
        return {
            "metadata": {"ownerReferences": [{"uid": self.owner}]},
            "data": {"spec.json": canonical_json(spec).decode(), "sources.json": "{}"},
        }


class Silent(FakeEngine):
    """An engine that does not answer."""

    async def find(self, key: str) -> tuple[RunHandle, ...]:
        raise InfrastructureError("connection refused", where="engine")


@pytest.fixture
def observer(tmp_path: Path) -> Observer:
    store = Store(str(tmp_path))
    engines = {"process": EngineDesk(FakeEngine(store, work), Slots(1))}
    return Observer(
        kube=Snapshots(),  # type: ignore[arg-type]  # all that is asked of it
        store=store,
        engines=engines,
        memory=JobMemory(engines, lambda key: None),
        templates=Templates({}),
        promotions=Objects(MODEL_PROMOTION),
        channels=Objects(MODEL_CHANNEL),
        source_root="file:///sources",
    )


def body(**status: Any) -> dict[str, Any]:
    made = job_body(status)
    made["metadata"]["name"] = "succeed"
    return made


def running() -> dict[str, Any]:
    run = {"key": PLAN.run, "plan": digest_of(to_json(PLAN)), "engine": "process", "reference": "1"}
    made = body(attempt=1, run=run, snapshot={"name": "s", "digest": "d"})
    made["metadata"]["finalizers"] = ["fulcrum.dev/run"]
    return made


def see(observer: Observer, job: dict[str, Any]) -> Observed:
    return asyncio.run(observer.observe(read_job(job)))


def submit(observer: Observer) -> Store:
    asyncio.run(observer.engines["process"].engine.submit(PLAN.run, PLAN))
    return observer.store


def test_finished_job_costs_nothing(observer: Observer) -> None:
    seen = see(observer, body(completionTime="2026-11-25T09:00:00Z", attempt=1))
    assert seen == Observed(seen.job)
    assert observer.kube.asked == 0  # type: ignore[attr-defined]


def test_run_that_ended_well_is_judged(observer: Observer) -> None:
    submit(observer)
    seen = see(observer, running())
    assert seen.run == RunStatus("Succeeded")
    assert isinstance(seen.assessment, Assessment)
    assert [state.stage for state in seen.stages] == list(PLAN.stages)
    assert seen.headlines["validate"]["examples"]


def test_snapshot_is_read_once(observer: Observer) -> None:
    submit(observer)
    for _ in range(3):
        see(observer, running())
    assert observer.kube.asked == 1  # type: ignore[attr-defined]


def test_snapshot_of_a_namesake_is_not_believed(observer: Observer) -> None:
    submit(observer)
    observer.kube.owner = "another"  # type: ignore[attr-defined]
    seen = see(observer, running())
    assert seen.snapshot is None
    assert seen.assessment is None


@pytest.mark.parametrize(
    "path",
    [state_path(PLAN.run, "validate"), stage_path(PLAN.run, "validate")],
    ids=["progress", "a stage's own record"],
)
def test_unreadable_progress_does_not_keep_a_job_from_its_verdict(
    observer: Observer, path: str
) -> None:
    submit(observer).write(path, b'{"of": "a newer version"}')
    observer.engines["process"].engine.status = succeeded  # type: ignore[method-assign]
    assert isinstance(see(observer, running()).assessment, Assessment)


async def succeeded(handle: RunHandle) -> RunStatus:
    return RunStatus("Succeeded")


def test_unreadable_evidence_is_reported(observer: Observer) -> None:
    submit(observer).write(f"runs/{PLAN.run}/evidence.json", b"{}")
    observer.engines["process"].engine.status = succeeded  # type: ignore[method-assign]
    assert isinstance(see(observer, running()).assessment, NoAssessment)


def judged(observer: Observer, **changes: Any) -> dict[str, Any]:
    """Return a job whose verdict is written."""
    submit(observer)
    job = running()
    found = see(observer, job).assessment
    assert isinstance(found, Assessment)
    evidence = {"uri": found.evidence_uri, "digest": found.evidence_digest}
    job["status"] |= {"verdict": found.verdict.outcome, "evidence": evidence, **changes}
    return job


def test_job_with_a_verdict_gets_its_report(observer: Observer) -> None:
    address = observer.store.locate(f"runs/{PLAN.run}/report.html")
    assert see(observer, judged(observer)).report == Report(address)
    assert Path(address).exists()


@pytest.mark.parametrize("what", ["reported", "suspended", "ending", "deleted"])
def test_no_report_is_made_without_need(observer: Observer, what: str) -> None:
    job = judged(observer)
    end = {"phase": "Rejected", "reason": "R", "message": "m", "time": "2026-11-25T09:00:00Z"}
    match what:
        case "reported":
            job["status"]["report"] = "s3://bucket/report.html"
        case "suspended":
            job["spec"]["suspend"] = True
        case "ending":
            job["status"]["outcome"] = end
        case "deleted":
            job["metadata"]["deletionTimestamp"] = end["time"]
    assert see(observer, job).report is None
    assert observer.store.read(f"runs/{PLAN.run}/report.html") is None


def test_unresponsive_engine_is_reported(observer: Observer, tmp_path: Path) -> None:
    desk = EngineDesk(Silent(observer.store, work), Slots(1))
    observer.engines = {"process": desk}
    seen = see(observer, running())
    assert "connection refused" in seen.engine_error
    assert seen.runs == ()


def test_unconfigured_engine_is_reported(observer: Observer) -> None:
    observer.engines = {}
    assert "no engine process" in see(observer, running()).engine_error


def test_deleted_job_is_only_asked_for_its_run(observer: Observer) -> None:
    submit(observer)
    job = running()
    job["metadata"]["deletionTimestamp"] = "2026-11-25T09:00:00Z"
    seen = see(observer, job)
    assert len(seen.runs) == 1
    assert seen.snapshot is None
    assert observer.kube.asked == 0  # type: ignore[attr-defined]
