"""Only runs that no job wants are stopped, and only when that was seen twice."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from fake_engine import FakeEngine
from job_world import UID, job_body
from stand_in import stand_in_plan, work

from fulcrum_operator.controllers.orphan_sweep import Sweeper, leftovers
from fulcrum_operator.engines.slots import EngineDesk, Slots
from fulcrum_operator.kubernetes.object_cache import Objects, keep_job
from fulcrum_operator.resources.names import COMPRESSION_JOB
from fulcrum_pipelines.states import RunHandle, RunStatus
from fulcrum_pipelines.storage.store import Store

KEY = f"mnist-{UID[:12]}"
RUNNING = {"run": {"key": f"{KEY}-2"}, "attempt": 2}
SUSPENDED = {"attempt": 2}
FINISHED = {"attempt": 2, "completionTime": "2026-11-25T09:00:00Z"}


class Counting(FakeEngine):
    """Counts how often it is asked how a run goes."""

    asked = 0

    async def status(self, handle: RunHandle) -> RunStatus:
        self.asked += 1
        return await super().status(handle)


@pytest.mark.parametrize(
    ("attempt", "status", "found"),
    [
        pytest.param(2, RUNNING, None, id="the run that status names"),
        pytest.param(3, RUNNING, None, id="a later one, which status may not name yet"),
        pytest.param(1, RUNNING, False, id="an earlier one"),
        pytest.param(2, SUSPENDED, False, id="one that must stop"),
        pytest.param(2, FINISHED, False, id="one of a job that is over"),
        pytest.param(2, None, True, id="one whose job is gone"),
    ],
)
def test_what_is_left_over(attempt: int, status: dict[str, Any] | None, found: bool | None) -> None:
    handle = RunHandle(f"{KEY}-{attempt}", "1")
    jobs = [] if status is None else [job_body(status)]
    assert leftovers([handle], jobs) == ({} if found is None else {handle: found})


def test_strange_keys_are_left_alone() -> None:
    assert leftovers([RunHandle("of-another-program", "1")], []) == {}


def test_run_without_a_job_is_stopped_at_the_second_sweep_and_forgotten(tmp_path: Path) -> None:
    async def scenario() -> None:
        engine = FakeEngine(Store(str(tmp_path)), work)
        plan = stand_in_plan("hang").model_copy(update={"uid": UID})
        await engine.submit(plan.run, plan)
        jobs = Objects(COMPRESSION_JOB, keep_job)
        sweeper = Sweeper(jobs, {"process": EngineDesk(engine, Slots())})
        await sweeper.sweep()
        assert engine.cancelled == []
        await sweeper.sweep()
        assert await engine.runs() == ()

    asyncio.run(scenario())


def test_run_that_ended_is_asked_once_while_its_job_is_there(tmp_path: Path) -> None:
    async def scenario() -> None:
        engine = Counting(Store(str(tmp_path)), work)
        plan = stand_in_plan("succeed").model_copy(update={"uid": UID})
        await engine.submit(plan.run, plan)
        jobs = Objects(COMPRESSION_JOB, keep_job)
        jobs.learn(job_body(FINISHED))
        sweeper = Sweeper(jobs, {"process": EngineDesk(engine, Slots())})
        for _ in range(2):
            await sweeper.sweep()
        asked = engine.asked
        for _ in range(5):
            await sweeper.sweep()
        assert engine.asked == asked
        assert len(await engine.runs()) == 1

    asyncio.run(scenario())


def test_run_whose_job_appears_between_two_sweeps_goes_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        engine = FakeEngine(Store(str(tmp_path)), work)
        plan = stand_in_plan("hang").model_copy(update={"uid": UID})
        await engine.submit(plan.run, plan)
        jobs = Objects(COMPRESSION_JOB, keep_job)
        sweeper = Sweeper(jobs, {"process": EngineDesk(engine, Slots())})
        await sweeper.sweep()
        jobs.learn(job_body({"run": {"key": plan.run}, "attempt": 1}))
        await sweeper.sweep()
        assert engine.cancelled == []
        assert len(await engine.runs()) == 1

    asyncio.run(scenario())
