"""Workers that take objects from the queue and let the reconciler of their kind look at them.

A reconcile that fails is tried again, later each time, and for as long as the object is there: the
bound is the rate, since giving up would leave an object in a wrong state.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from fulcrum_operator.kubernetes.errors import ApiError, NotLeader
from fulcrum_operator.kubernetes.object_cache import Key
from fulcrum_operator.metrics import Metrics
from fulcrum_operator.runtime.work_queue import WorkQueue
from fulcrum_operator.settings import Reconcile
from fulcrum_pipelines.errors import FulcrumError

Item = tuple[str, Key]
"""Plural of the kind, and key."""

Reconciler = Callable[[Key], Awaitable[float | None]]
"""Reconciles the object at a key; returns in how many seconds to look again, None for not."""

log = logging.getLogger(__name__)


@dataclass
class Dispatcher:
    """Runs reconciles.

    Attributes:
        settings: How many at a time, and how long pauses are.
        metrics: Counts each reconcile.
        leads: Whether this process may act; a standby drops items, and gets all again later.
        reconcilers: What to do, by plural.
        troubled: Called with an error that readers of its object should see.
    """

    settings: Reconcile
    metrics: Metrics
    leads: Callable[[], bool]
    reconcilers: Mapping[str, Reconciler]
    troubled: Callable[[Item, FulcrumError], Awaitable[None]]
    queue: WorkQueue[Item] = field(default_factory=lambda: WorkQueue(time.monotonic))
    _failures: dict[Item, int] = field(default_factory=dict)
    _started_s: dict[Item, float] = field(default_factory=dict)
    _ending: bool = False

    def add(self, plural: str, key: Key, after_s: float = 0.0) -> None:
        """Let an object have its turn."""
        self.queue.add((plural, key), after_s)

    def longest_s(self) -> float:
        """Return how long the oldest reconcile has been running; 0 without one."""
        now = time.monotonic()
        return max((now - started for started in self._started_s.values()), default=0.0)

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(self.settings.workers):
                group.create_task(self._work(), name=f"reconcile-{number}")

    async def drain(self, timeout_s: float) -> None:
        """Begin no reconcile any more, and wait for those that are going, at most so long."""
        self._ending = True
        until_s = time.monotonic() + timeout_s
        while self._started_s and time.monotonic() < until_s:
            await asyncio.sleep(0.02)

    async def _work(self) -> None:
        while True:
            item = await self.queue.get()
            try:
                if self.leads() and not self._ending:
                    await self._look(item)
                else:  # a new leader gets all that is there, and this one with new pauses
                    self._failures.pop(item, None)
            finally:
                self.queue.done(item)

    async def _look(self, item: Item) -> None:
        plural, key = item
        started_s = self._started_s[item] = time.monotonic()
        error: Exception | None = None
        try:
            after_s = await self.reconcilers[plural](key)
            self._failures.pop(item, None)
            if after_s is not None:
                self.queue.add(item, after_s)
        except NotLeader as caught:
            self._failures.pop(item, None)
            log.info("%s %s/%s: %s", plural, *key, caught)
        except FulcrumError as caught:
            if _goes_away(caught):
                self._failures.pop(item, None)
                log.info("%s %s/%s: %s", plural, *key, caught)
            else:
                error = caught
                log.warning("%s %s/%s: %s", plural, *key, caught)
                await self.troubled(item, caught)
        except Exception as caught:  # a defect of ours must not end the worker
            error = caught
            log.exception("%s %s/%s: a defect of the operator", plural, *key)
        finally:
            self._started_s.pop(item, None)
        if error is not None:
            self.queue.add(item, self._pause_s(item))
        self.metrics.reconciled(plural, time.monotonic() - started_s, error)

    def _pause_s(self, item: Item) -> float:
        failures = self._failures[item] = self._failures.get(item, 0) + 1
        pause = self.settings.first_backoff_s * 2.0 ** min(failures - 1, 20)
        return float(min(pause, self.settings.longest_backoff_s))


def _goes_away(error: FulcrumError) -> bool:
    """Return whether the object's namespace is on its way out: its deletion is what comes next."""
    return isinstance(error, ApiError) and error.namespace_is_terminating
