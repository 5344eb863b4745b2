"""The queue of objects to reconcile, with due times, between watches and reconciles.

kopf calls a handler for every event of an object; a reconcile wants to be called once for any
number of them, again after a delay, and never twice at a time for one object. Keys wait here, not
events: what counts is how an object is when its turn comes, so nothing is lost when events are.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
NEWS_BEFORE_LATER = 4
"""A thousand runs that are asked how they go must not hold up a job that has just come, and news
without end must not keep them from being asked: of so many turns one is for a later turn."""


class WorkQueue(Generic[K]):
    """Keys that wait, each at most once, in the order in which they came; news come first.

    A key that is added while it is worked on waits again once that is done. A key that waits for
    a later time and is added for an earlier one gets the earlier.

    Args:
        clock: Seconds on a monotonic clock.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ready: deque[K] = deque()
        self._due_now: deque[K] = deque()  # whose later turn has come; news may overtake them
        self._waiting: dict[K, bool] = {}  # in the first of the two
        self._turns = itertools.count(1)
        self._working: set[K] = set()
        self._again: set[K] = set()  # added while they were worked on
        self._due: dict[K, float] = {}
        self._later: list[tuple[float, int, K]] = []
        self._order = itertools.count()
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        """Return how many keys are ready now."""
        return len(self._waiting)

    def add(self, key: K, after_s: float = 0.0) -> None:
        """Let `key` be worked on in `after_s` seconds, at once by default."""
        if after_s <= 0.0:
            self._due.pop(key, None)
            self._make_ready(key)
            return
        due = self._clock() + after_s
        if key in self._waiting or key in self._again or self._due.get(key, due + 1.0) <= due:
            return
        self._due[key] = due
        heapq.heappush(self._later, (due, next(self._order), key))
        self._changed.set()

    async def get(self) -> K:
        """Return the next key, once there is one; `done` must follow."""
        while True:
            self._promote()
            if self._waiting:
                return self._take()
            await self._wait()

    def done(self, key: K) -> None:
        """Say that the work on `key` has ended."""
        self._working.discard(key)
        if key in self._again:
            self._again.discard(key)
            self._make_ready(key)

    def _take(self) -> K:
        """Return the next of the news, or of those that were due where it is their turn."""
        later_first = next(self._turns) % NEWS_BEFORE_LATER == 0
        while True:
            news = not self._due_now if later_first else bool(self._ready)
            key = (self._ready if news else self._due_now).popleft()
            if self._waiting.get(key) == news:  # otherwise news have put it into the other line
                del self._waiting[key]
                self._working.add(key)
                return key

    def _make_ready(self, key: K, *, news: bool = True) -> None:
        if key in self._working:
            self._again.add(key)
        elif key not in self._waiting or (news and not self._waiting[key]):
            self._waiting[key] = news
            (self._ready if news else self._due_now).append(key)
            self._changed.set()

    def _promote(self) -> None:
        """Make those ready whose time has come; entries that an earlier time replaced are stale."""
        now = self._clock()
        while self._later and self._later[0][0] <= now:
            due, _, key = heapq.heappop(self._later)
            if self._due.get(key) == due:
                del self._due[key]
                self._make_ready(key, news=False)

    async def _wait(self) -> None:
        self._changed.clear()
        timeout = max(self._later[0][0] - self._clock(), 0.001) if self._later else None
        try:
            async with asyncio.timeout(timeout):
                await self._changed.wait()
        except TimeoutError:
            return
