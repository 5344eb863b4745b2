"""One worker at a time handles each waiting object once, and nothing is lost."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fulcrum_operator.runtime.work_queue import WorkQueue


class Clock:
    """A clock that moves only when the test sets it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def taken(queue: WorkQueue[str]) -> list[str]:
    """Take all that is ready."""
    found = []
    while True:
        try:
            async with asyncio.timeout(0.01):
                found.append(await queue.get())
        except TimeoutError:
            return found


def test_a_key_waits_once() -> None:
    async def scenario() -> list[str]:
        queue: WorkQueue[str] = WorkQueue(Clock())
        for key in ("a", "b", "a", "a"):
            queue.add(key)
        return await taken(queue)

    assert asyncio.run(scenario()) == ["a", "b"]


def test_key_that_is_worked_on_comes_again_afterwards() -> None:
    async def scenario() -> None:
        queue: WorkQueue[str] = WorkQueue(Clock())
        queue.add("a")
        assert await queue.get() == "a"
        queue.add("a")
        assert await taken(queue) == []
        queue.done("a")
        assert await taken(queue) == ["a"]

    asyncio.run(scenario())


def test_later_turn_comes_when_its_time_has_come() -> None:
    async def scenario() -> None:
        clock = Clock()
        queue: WorkQueue[str] = WorkQueue(clock)
        queue.add("a", after_s=5.0)
        assert await taken(queue) == []
        clock.now = 5.0
        assert await taken(queue) == ["a"]
        queue.done("a")
        clock.now = 100.0
        assert await taken(queue) == []

    asyncio.run(scenario())


@pytest.mark.parametrize("order", [(9.0, 3.0), (3.0, 9.0)], ids=["earlier second", "earlier first"])
def test_of_two_later_turns_the_earlier_counts(order: tuple[float, float]) -> None:
    async def scenario() -> None:
        clock = Clock()
        queue: WorkQueue[str] = WorkQueue(clock)
        for after_s in order:
            queue.add("a", after_s)
        clock.now = 3.0
        assert await taken(queue) == ["a"]
        queue.done("a")
        clock.now = 20.0
        assert await taken(queue) == []

    asyncio.run(scenario())


def test_news_come_before_later_turns_which_still_come() -> None:
    async def scenario() -> list[str]:
        clock = Clock()
        queue: WorkQueue[str] = WorkQueue(clock)
        for key in ("old-1", "old-2", "both"):
            queue.add(key, after_s=1.0)
        clock.now = 1.0
        assert await queue.get() == "old-1"
        for key in ("both", "new-1", "new-2", "new-3"):
            queue.add(key)
        return await taken(queue)

    assert asyncio.run(scenario()) == ["both", "new-1", "old-2", "new-2", "new-3"]


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(("add", "later", "get", "done"))),
        max_size=60,
    )
)
def test_no_key_is_lost_and_none_is_with_two_workers(script: list[tuple[str, str]]) -> None:
    async def scenario() -> None:
        clock = Clock()
        queue: WorkQueue[str] = WorkQueue(clock)
        working: set[str] = set()
        wanted: set[str] = set()
        for key, what in script:
            clock.now += 1.0
            match what:
                case "add":
                    queue.add(key)
                    wanted.add(key)
                case "later":
                    queue.add(key, after_s=3.0)
                    wanted.add(key)
                case "get" if len(queue):
                    got = await queue.get()
                    assert got not in working
                    working.add(got)
                    wanted.discard(got)
                case "done" if key in working:
                    working.discard(key)
                    queue.done(key)
        for key in working:
            queue.done(key)
        clock.now += 10.0
        assert wanted <= set(await taken(queue))

    asyncio.run(scenario())
