"""kopf's tasks end when one of them does, and in time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest

from fulcrum_operator.kopf_internals import WATCH_TASK
from fulcrum_operator.runtime.kopf_runner import run_together


async def forever() -> None:
    await asyncio.Event().wait()


async def fail() -> None:
    raise RuntimeError("a watch broke")


def run(*works: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run works as kopf's tasks are."""

    async def main() -> None:
        async with asyncio.timeout(5):
            await run_together([asyncio.create_task(work()) for work in works], grace_s=0.1)

    asyncio.run(main())


def test_error_ends_the_others_and_is_raised() -> None:
    ended: list[str] = []

    async def orderly() -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(0.01)
            ended.append("orderly")

    with pytest.raises(RuntimeError, match="a watch broke"):
        run(fail, orderly)
    assert ended == ["orderly"]


def test_watchers_whose_owner_failed_are_ended_too() -> None:
    async def own() -> None:
        watchers.append(asyncio.create_task(forever(), name=f"{WATCH_TASK}compressionjobs"))
        await fail()

    async def main() -> None:
        other = asyncio.create_task(forever(), name="a scraper")
        with pytest.raises(RuntimeError):
            await run_together([asyncio.create_task(own())], grace_s=0.1)
        assert watchers[0].cancelled()
        assert not other.done()
        other.cancel()

    watchers: list[asyncio.Task[None]] = []
    asyncio.run(main())


def test_task_that_does_not_end_is_not_waited_for() -> None:
    async def stubborn() -> None:
        until_s = time.monotonic() + 0.5
        while time.monotonic() < until_s:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(until_s - time.monotonic())

    async def end() -> None:
        await asyncio.sleep(0)

    async def main() -> None:
        tasks = [asyncio.create_task(work()) for work in (stubborn, end)]
        started_s = time.monotonic()
        await run_together(tasks, grace_s=0.1)
        assert time.monotonic() - started_s < 0.5

    asyncio.run(main())
