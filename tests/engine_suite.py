"""Tests that every engine and fake must pass: subclass `EngineSuite` with a fixture `engine`.

The engine's pipeline must behave like `stand_in`. Deadlines here are generous on purpose: an
engine on a busy machine is slow, not wrong.
"""

from __future__ import annotations

import asyncio

import pytest
from stand_in import stand_in_plan

from fulcrum_operator.engines.protocol import Engine, RunActiveError
from fulcrum_pipelines.states import RunHandle, RunState, RunStatus
from fulcrum_pipelines.storage.store import Store

END_TIMEOUT_S = 60.0
LOOK_S = 0.02


async def ended(engine: Engine, handle: RunHandle) -> RunStatus:
    """Wait for the end of a run and return its final status."""
    async with asyncio.timeout(END_TIMEOUT_S):
        while not (status := await engine.status(handle)).finished:
            await asyncio.sleep(LOOK_S)
    return status


async def started(store: Store, run: str) -> None:
    """Wait until the first stage of `run` says that it works."""
    async with asyncio.timeout(END_TIMEOUT_S):
        while store.stage_state(run, "evaluate") is None:
            await asyncio.sleep(LOOK_S)


class EngineSuite:
    """Tests that hold for all engines."""

    def test_success_needs_complete_evidence(self, engine: Engine) -> None:
        async def scenario() -> RunStatus:
            plan = stand_in_plan("succeed")
            return await ended(engine, await engine.submit(plan.run, plan))

        assert asyncio.run(scenario()) == RunStatus("Succeeded")

    @pytest.mark.parametrize(
        ("behaviour", "reason", "failure_class"),
        [
            pytest.param("fail", "StageFailed", "user", id="a stage says why it failed"),
            pytest.param("no-evidence", "NoEvidence", "infrastructure", id="exit 0 without result"),
            pytest.param("early-end", "NoEvidence", "infrastructure", id="some stages are missing"),
            pytest.param("other-plan", "NoEvidence", "infrastructure", id="evidence of other plan"),
        ],
    )
    def test_failure_is_read_from_the_store(
        self, engine: Engine, behaviour: str, reason: str, failure_class: str
    ) -> None:
        async def scenario() -> RunStatus:
            plan = stand_in_plan(behaviour)
            return await ended(engine, await engine.submit(plan.run, plan))

        status = asyncio.run(scenario())
        assert (status.state, status.reason, status.failure_class) == (
            "Failed",
            reason,
            failure_class,
        )
        assert status.message

    def test_one_key_starts_one_run(self, engine: Engine, store: Store) -> None:
        async def scenario() -> None:
            plan = stand_in_plan("hang")
            first = await engine.submit(plan.run, plan)
            others = await asyncio.gather(*(engine.submit(plan.run, plan) for _ in range(4)))
            assert set(others) == {first}
            assert await engine.find(plan.run) == (first,)
            await engine.cancel(first)

        asyncio.run(scenario())

    def test_finished_run_keeps_its_key(self, engine: Engine) -> None:
        async def scenario() -> None:
            plan = stand_in_plan("succeed")
            handle = await engine.submit(plan.run, plan)
            await ended(engine, handle)
            assert await engine.submit(plan.run, plan) == handle
            assert (await engine.status(handle)).state == "Succeeded"

        asyncio.run(scenario())

    def test_nothing_is_found_before_submission(self, engine: Engine) -> None:
        assert asyncio.run(engine.find("never-submitted-1")) == ()

    def test_all_runs_are_listed_until_they_are_forgotten(self, engine: Engine) -> None:
        async def scenario() -> None:
            assert await engine.runs() == ()
            plans = [stand_in_plan("succeed"), stand_in_plan("fail")]
            handles = [await engine.submit(plan.run, plan) for plan in plans]
            assert set(await engine.runs()) == set(handles)
            await ended(engine, handles[0])
            await engine.forget(handles[0])
            assert await engine.runs() == (handles[1],)
            await ended(engine, handles[1])

        asyncio.run(scenario())

    def test_unknown_run_is_unknown_not_failed(self, engine: Engine) -> None:
        async def scenario() -> RunState:
            handle = RunHandle("never-submitted-1", "1")
            await engine.cancel(handle)
            return (await engine.status(handle)).state

        assert asyncio.run(scenario()) == "Unknown"

    def test_cancel_stops_a_run_and_is_final(self, engine: Engine, store: Store) -> None:
        async def scenario() -> None:
            plan = stand_in_plan("hang")
            handle = await engine.submit(plan.run, plan)
            await started(store, plan.run)
            assert (await engine.status(handle)).state == "Running"
            await engine.cancel(handle)
            assert (await ended(engine, handle)).state == "Cancelled"
            await engine.cancel(handle)
            assert (await engine.status(handle)).state == "Cancelled"

        asyncio.run(scenario())

    def test_cancel_of_a_finished_run_changes_nothing(self, engine: Engine) -> None:
        async def scenario() -> RunState:
            plan = stand_in_plan("succeed")
            handle = await engine.submit(plan.run, plan)
            await ended(engine, handle)
            await engine.cancel(handle)
            return (await engine.status(handle)).state

        assert asyncio.run(scenario()) == "Succeeded"

    def test_forgotten_key_is_free_and_old_records_are_gone(
        self, engine: Engine, store: Store
    ) -> None:
        async def scenario() -> None:
            plan = stand_in_plan("succeed")
            handle = await engine.submit(plan.run, plan)
            await ended(engine, handle)
            store.write(f"runs/{plan.run}/verdict.json", b"of the first run")
            await engine.forget(handle)
            await engine.forget(handle)
            assert await engine.find(plan.run) == ()
            again = await engine.submit(plan.run, plan)
            assert store.read(f"runs/{plan.run}/verdict.json") is None
            assert (await ended(engine, again)).state == "Succeeded"

        asyncio.run(scenario())

    def test_running_run_is_not_forgotten(self, engine: Engine, store: Store) -> None:
        async def scenario() -> None:
            plan = stand_in_plan("hang")
            handle = await engine.submit(plan.run, plan)
            with pytest.raises(RunActiveError, match="still going"):
                await engine.forget(handle)
            assert await engine.find(plan.run) == (handle,)
            await engine.cancel(handle)

        asyncio.run(scenario())
