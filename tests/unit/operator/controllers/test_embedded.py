"""Test jobs without a cluster: joining, interruption, and cleaning up at the end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from fake_engine import FakeEngine
from harms import candidate_of
from stand_in import stand_in_plan, work

from fulcrum_operator.controllers.embedded import Ended, Watcher, run_job
from fulcrum_operator.lifecycle import Limits
from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.errors import InfrastructureError
from fulcrum_pipelines.states import RunHandle, RunStatus
from fulcrum_pipelines.storage.store import Store

QUICK = Limits(version="test", poll_s=0.01, first_backoff_s=0.01)


@dataclass
class Seen:
    """The events that a watcher received."""

    events: list[str] = field(default_factory=list)

    def watcher(self) -> Watcher:
        """Return the watcher that writes here."""
        return Watcher(
            started=lambda plan, joined: self.events.append(
                f"{'join' if joined else 'start'} {plan.attempt}"
            ),
            noted=self.events.append,
        )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(str(tmp_path / "store"))


def run(engine: FakeEngine, plan: Plan, limits: Limits = QUICK) -> tuple[Ended, list[str]]:
    """Run `plan` and return its end and what was seen."""
    seen = Seen()
    ended = asyncio.run(run_job(engine, engine.store, plan, seen.watcher(), limits))
    return ended, seen.events


def test_attempts_are_announced_and_have_separate_keys(store: Store) -> None:
    engine = FakeEngine(store, work)
    ended, events = run(engine, stand_in_plan("flaky"))
    assert ended.assessment is not None
    assert ended.plan.attempt == 2
    assert len(set(engine.submitted)) == 2
    assert events[0::2] == ["start 1", "start 2"]
    assert events[1].startswith("attempt 1 failed and is tried again: stage evaluate failed")


def test_finished_run_is_run_again(store: Store) -> None:
    engine = FakeEngine(store, work)
    plan = stand_in_plan("succeed")
    for _ in range(2):
        assert run(engine, plan)[0].assessment is not None
    assert engine.submitted == [plan.run, plan.run]


@pytest.mark.parametrize("attempt", [1, 2])
def test_attempt_that_is_going_is_joined(store: Store, attempt: int) -> None:
    engine = FakeEngine(store, work)
    plan = stand_in_plan("again")
    going = plan.model_copy(update={"attempt": attempt})

    async def scenario() -> Ended:
        await engine.submit(going.run, going)
        job = asyncio.ensure_future(run_job(engine, store, plan, seen.watcher(), QUICK))
        await asyncio.sleep(0.05)
        engine.go_on(going.run)
        return await job

    seen = Seen()
    ended = asyncio.run(scenario())
    assert ended.plan == going
    assert ended.assessment is not None
    assert seen.events == [f"join {attempt}"]
    assert engine.submitted == [going.run]


def test_failures_before_the_joined_attempt_count(store: Store) -> None:
    plan = stand_in_plan("broken", backoffLimit=1)
    second = plan.model_copy(update={"attempt": 2})
    engine = FakeEngine(store, lambda store, plan: plan.attempt == 1 and work(store, plan))

    async def scenario() -> Ended:
        await engine.submit(plan.run, plan)
        handle = await engine.submit(second.run, second)
        job = asyncio.ensure_future(run_job(engine, store, plan, limits=QUICK))
        await asyncio.sleep(0.05)
        await engine.cancel(handle)
        return await job

    ended = asyncio.run(scenario())
    assert ended.status.failures == {"infrastructure": 2}
    assert engine.submitted == [plan.run, second.run]


def test_cancelled_task_cancels_the_run(store: Store) -> None:
    engine = FakeEngine(store, work)
    plan = stand_in_plan("hang")

    async def scenario() -> None:
        job = asyncio.ensure_future(run_job(engine, store, plan, limits=QUICK))
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
        job = asyncio.ensure_future(run_job(engine, store, plan, limits=QUICK))
        await asyncio.sleep(0.05)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job

    asyncio.run(scenario())
    assert engine.submitted == engine.cancelled == [plan.run]


class Deaf(FakeEngine):
    """Answers once about the first attempt, which goes on."""

    answers = 1

    async def status(self, handle: RunHandle) -> RunStatus:
        """Fail, or answer."""
        if handle.key.endswith("-1") and handle.key not in self.cancelled:
            self.answers -= 1
            if self.answers < 0:
                raise InfrastructureError("connection refused", where="engine")
        return await super().status(handle)


def test_lost_run_is_stopped_before_the_next_starts(store: Store) -> None:
    """On a cluster the operator sweeps it; here it would go on beside the next one."""
    engine = Deaf(store, lambda store, plan: plan.attempt == 2 and work(store, plan))
    ended, _ = run(engine, stand_in_plan("succeed"), replace(QUICK, engine_silence_s=0.01))
    assert ended.assessment is not None
    first, _ = engine.submitted
    assert engine.cancelled == [first]


def test_engine_that_takes_no_run_ends_it(store: Store) -> None:
    class Full(FakeEngine):
        async def submit(self, key: str, plan: Plan) -> RunHandle:
            raise InfrastructureError("no space left", where="engine")

    with pytest.raises(InfrastructureError, match="no space left"):
        run(Full(store, work), stand_in_plan("succeed"))


@pytest.mark.parametrize("returns", [True, False])
def test_results_wait_for_a_store_that_is_silent(store: Store, returns: bool) -> None:
    plan = stand_in_plan("succeed")
    limits = replace(QUICK, engine_silence_s=60.0 if returns else 0.05)
    hidden = Path(store.locate("hidden"))

    def hide(store: Store, plan: Plan) -> bool:
        work(store, plan)
        candidate = Path(store.locate(candidate_of(store, plan)))
        candidate.rename(hidden)
        candidate.mkdir()  # opening a directory fails, also for root
        return True

    def bring_back() -> None:
        candidate = Path(store.locate(candidate_of(store, plan)))
        candidate.rmdir()
        hidden.rename(candidate)

    async def scenario() -> Ended:
        job = asyncio.ensure_future(run_job(engine, store, plan, seen.watcher(), limits))
        while len(seen.events) < 2:
            await asyncio.sleep(0.01)
        bring_back()
        return await job

    seen = Seen()
    engine = FakeEngine(store, hide)
    if returns:
        assert asyncio.run(scenario()).assessment is not None
    else:
        with pytest.raises(InfrastructureError, match="cannot read"):
            asyncio.run(run_job(engine, store, plan, seen.watcher(), limits))
    start, note = seen.events
    assert start == "start 1"
    assert note.endswith("it is asked again")
    assert engine.submitted == [plan.run]
