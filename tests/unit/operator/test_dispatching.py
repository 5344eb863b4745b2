"""Objects have their turns while this process leads, and none begins when it is to end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from prometheus_client import generate_latest

from fulcrum_operator.dispatching import Dispatcher, Item
from fulcrum_operator.kubernetes.errors import NotLeader, Unavailable
from fulcrum_operator.metrics import Metrics
from fulcrum_operator.objects import Key
from fulcrum_operator.settings import Reconcile, Settings
from fulcrum_pipelines.errors import FulcrumError

JOBS = "compressionjobs"
QUICK = Reconcile(workers=2, first_backoff_s=0.01, longest_backoff_s=0.02)


@dataclass
class Setting:
    """A dispatcher whose looks are what a test says."""

    look: Callable[[Key], Awaitable[float | None]]
    leads: bool = True
    looked: list[str] = field(default_factory=list)
    troubled: list[str] = field(default_factory=list)
    metrics: Metrics = field(default_factory=lambda: Metrics(Settings()))

    def __post_init__(self) -> None:
        """Put it together."""

        async def look(key: Key) -> float | None:
            self.looked.append(key[1])
            return await self.look(key)

        async def troubled(item: Item, error: FulcrumError) -> None:
            self.troubled.append(str(error))

        self.dispatcher = Dispatcher(
            QUICK, self.metrics, lambda: self.leads, {JOBS: look}, troubled
        )

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do `work` while the dispatcher runs."""
        task = asyncio.create_task(self.dispatcher.run())
        try:
            async with asyncio.timeout(10):
                await work()
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def errors(self, error: str) -> float:
        """Return how many reconciles ended with that error."""
        labels = {"kind": JOBS, "error": error}
        found = self.metrics.registry.get_sample_value("fulcrum_reconcile_errors_total", labels)
        return found or 0.0

    async def until_looked(self, times: int) -> None:
        """Wait for so many looks."""
        while len(self.looked) < times:
            await asyncio.sleep(0.001)


async def nothing(_: Key) -> float | None:
    return None


@dataclass(frozen=True)
class Failure:
    """An error of a look, and what is made of it."""

    error: Exception
    counted: str
    told: bool
    again: bool = True


FAILURES = (
    Failure(Unavailable("no answer"), "Unavailable", told=True),
    Failure(KeyError("a defect"), "KeyError", told=False),
    Failure(NotLeader("it is closed"), "NotLeader", told=False, again=False),
)


@pytest.mark.parametrize("case", FAILURES, ids=lambda case: case.counted)
def test_look_that_fails(case: Failure) -> None:
    async def fail(_: Key) -> float | None:
        raise case.error

    async def work() -> None:
        here.dispatcher.add(JOBS, ("demo", "a"))
        await here.until_looked(2 if case.again else 1)
        await asyncio.sleep(0.05)

    here = Setting(fail)
    asyncio.run(here.run(work))
    assert (len(here.looked) > 1) == case.again
    assert (here.errors(case.counted) > 0) == case.again
    assert bool(here.troubled) == case.told
    assert b"fulcrum_reconcile_duration_seconds" in generate_latest(here.metrics.registry)


def test_standby_lets_objects_go() -> None:
    async def work() -> None:
        here.dispatcher.add(JOBS, ("demo", "a"))
        while len(here.dispatcher.queue):
            await asyncio.sleep(0.001)
        here.leads = True
        here.dispatcher.add(JOBS, ("demo", "b"))
        await here.until_looked(1)

    here = Setting(nothing, leads=False)
    asyncio.run(here.run(work))
    assert here.looked == ["b"]


def test_end_waits_for_what_is_going_and_begins_nothing() -> None:
    async def slow(_: Key) -> float | None:
        await asyncio.sleep(0.1)
        ended.append(True)
        return 0.0

    async def work() -> None:
        here.dispatcher.add(JOBS, ("demo", "a"))
        await here.until_looked(1)
        assert here.dispatcher.longest_s() > 0
        here.dispatcher.add(JOBS, ("demo", "b"), after_s=0.05)
        await here.dispatcher.drain(5.0)
        assert ended == [True]
        await asyncio.sleep(0.1)

    ended: list[bool] = []
    here = Setting(slow)
    asyncio.run(here.run(work))
    assert here.looked == ["a"]


def test_end_waits_no_longer_than_it_may() -> None:
    async def forever(_: Key) -> float | None:
        await asyncio.Event().wait()
        return None

    async def work() -> None:
        here.dispatcher.add(JOBS, ("demo", "a"))
        await here.until_looked(1)
        await here.dispatcher.drain(0.1)

    here = Setting(forever)
    asyncio.run(here.run(work))
    assert here.looked == ["a"]
