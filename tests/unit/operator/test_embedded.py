"""A job without an operator: attempts, deadline, joining, and an end that leaves nothing."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fake_engine import FakeEngine
from stand_in import stand_in_plan, work

from fulcrum_operator import embedded
from fulcrum_operator.embedded import Watcher, run_job
from fulcrum_operator.ports import RunHandle, RunStatus
from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.errors import InfrastructureError
from fulcrum_pipelines.store import Store


@dataclass
class Seen:
    """What a watcher was told."""

    events: list[str] = field(default_factory=list)

    def watcher(self) -> Watcher:
        """Return the watcher that writes here."""
        return Watcher(
            lambda plan, joined: self.events.append(
                f"{'join' if joined else 'start'} {plan.attempt}"
            ),
            lambda plan: None,
            lambda plan, status: self.events.append(f"retry after {status.reason}"),
        )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(str(tmp_path / "store"))


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "POLL_S", 0.01)
    monkeypatch.setattr(embedded, "FIRST_BACKOFF_S", 0.01)


def run(engine: FakeEngine, plan: Plan) -> tuple[Plan, RunStatus, list[str]]:
    """Run `plan` and return its last attempt, its end and what was seen."""
    seen = Seen()
    last, status = asyncio.run(run_job(engine, plan, seen.watcher()))
    return last, status, seen.events


def test_infrastructure_fault_is_tried_again_under_another_key(store: Store) -> None:
    def flaky(store: Store, plan: Plan) -> bool:
        return work(store, plan) if plan.attempt == 3 else True

    engine = FakeEngine(store, flaky)
    last, status, events = run(engine, stand_in_plan("succeed"))
    assert status.state == "Succeeded"
    assert last.attempt == 3
    assert len(set(engine.submitted)) == 3
    assert events == [
        "start 1",
        "retry after NoEvidence",
        "start 2",
        "retry after NoEvidence",
        "start 3",
    ]


def test_attempts_are_bounded(store: Store) -> None:
    engine = FakeEngine(store, work)
    last, status, _ = run(engine, stand_in_plan("no-evidence", backoffLimit=2))
    assert (status.state, last.attempt, len(engine.submitted)) == ("Failed", 3, 3)


def test_users_error_is_not_tried_again(store: Store) -> None:
    engine = FakeEngine(store, work)
    _, status, _ = run(engine, stand_in_plan("fail"))
    assert status.failure_class == "user"
    assert len(engine.submitted) == 1


def test_finished_run_is_run_again(store: Store) -> None:
    engine = FakeEngine(store, work)
    plan = stand_in_plan("succeed")
    for _ in range(2):
        assert run(engine, plan)[1].state == "Succeeded"
    assert engine.submitted == [plan.run, plan.run]


@pytest.mark.parametrize("attempt", [1, 2])
def test_attempt_that_is_going_is_joined(store: Store, attempt: int) -> None:
    engine = FakeEngine(store, work)
    plan = stand_in_plan("hang")
    going = plan.model_copy(update={"attempt": attempt})

    async def scenario() -> tuple[Plan, RunStatus]:
        handle = await engine.submit(going.run, going)
        job = asyncio.ensure_future(run_job(engine, plan, seen.watcher()))
        await asyncio.sleep(0.05)
        await engine.cancel(handle)
        return await job

    seen = Seen()
    last, status = asyncio.run(scenario())
    assert (last.attempt, status.state) == (attempt, "Cancelled")
    assert seen.events == [f"join {attempt}"]
    assert engine.submitted == [going.run]


def test_deadline_of_the_job_stops_it(store: Store) -> None:
    engine = FakeEngine(store, work)
    plan = stand_in_plan("hang", activeDeadlineSeconds=1)
    _, status, _ = run(engine, plan)
    assert (status.state, status.failure_class) == ("Failed", "deadline")
    assert "spec.activeDeadlineSeconds, 1 s" in status.message
    assert engine.cancelled == [plan.run]


def test_cancelled_task_cancels_the_run(store: Store) -> None:
    engine = FakeEngine(store, work)
    plan = stand_in_plan("hang")

    async def scenario() -> None:
        job = asyncio.ensure_future(run_job(engine, plan, Seen().watcher()))
        await asyncio.sleep(0.05)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job

    asyncio.run(scenario())
    assert engine.cancelled == [plan.run]


class SlowToStart(FakeEngine):
    """Takes its time to submit."""

    async def submit(self, key: str, plan: Plan) -> RunHandle:
        """Submit later."""
        await asyncio.sleep(0.1)
        return await super().submit(key, plan)


def test_run_that_is_being_submitted_is_cancelled_too(store: Store) -> None:
    engine = SlowToStart(store, work)
    plan = stand_in_plan("hang")

    async def scenario() -> None:
        job = asyncio.ensure_future(run_job(engine, plan, Seen().watcher()))
        await asyncio.sleep(0.05)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job

    asyncio.run(scenario())
    assert engine.submitted == engine.cancelled == [plan.run]


class Silent(FakeEngine):
    """Fails whenever it is asked, `failures` times."""

    failures = 0

    async def status(self, handle: RunHandle) -> RunStatus:
        """Fail, or answer."""
        if self.failures:
            self.failures -= 1
            raise InfrastructureError("connection refused", where="engine")
        return await super().status(handle)


def test_short_silence_is_waited_out(store: Store) -> None:
    engine = Silent(store, work)
    engine.failures = 3
    assert run(engine, stand_in_plan("succeed"))[1].state == "Succeeded"


def test_long_silence_ends_the_waiting(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "SILENCE_LIMIT_S", 0.05)
    engine = Silent(store, work)
    engine.failures = 1000
    _, status, _ = run(engine, stand_in_plan("succeed"))
    assert (status.state, status.reason) == ("Failed", "EngineSilent")
    assert "connection refused" in status.message
