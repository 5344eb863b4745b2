"""An engine in memory, for tests of what uses engines; it passes the same suite as real ones."""

from __future__ import annotations

from collections.abc import Callable

from fulcrum_operator.engines.protocol import RunActiveError
from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.runner.results import ended_status
from fulcrum_pipelines.states import RunHandle, RunStatus
from fulcrum_pipelines.storage.store import Store


class FakeEngine:
    """Does the work at submission; what does not end runs until it is cancelled.

    Args:
        store: Gets the records of the work.
        work: Does what a run would; returns whether it ended.
    """

    def __init__(self, store: Store, work: Callable[[Store, Plan], bool]) -> None:
        self.store = store
        self.submitted: list[str] = []
        self.cancelled: list[str] = []
        self._work = work
        self._plans: dict[str, Plan] = {}
        self._running: set[str] = set()

    async def submit(self, key: str, plan: Plan) -> RunHandle:
        """Do the work, once a key."""
        if key not in self._plans:
            self.store.delete(f"runs/{key}")
            self.submitted.append(key)
            self._plans[key] = plan
            self.store.put_record(plan)
            if not self._work(self.store, plan):
                self._running.add(key)
        return RunHandle(key, f"fake-{key}")

    def go_on(self, key: str) -> None:
        """Do more of the work of a run that is going, which may end it."""
        if self._work(self.store, self._plans[key]):
            self._running.remove(key)

    async def find(self, key: str) -> tuple[RunHandle, ...]:
        """Return the run under `key`."""
        return (RunHandle(key, f"fake-{key}"),) if key in self._plans else ()

    async def runs(self) -> tuple[RunHandle, ...]:
        """Return all of them."""
        return tuple(RunHandle(key, f"fake-{key}") for key in sorted(self._plans))

    async def status(self, handle: RunHandle) -> RunStatus:
        """Return how it goes."""
        if handle.key not in self._plans:
            return RunStatus("Unknown", "NotFound")
        if handle.key in self._running:
            return RunStatus("Running")
        plan = self._plans[handle.key]
        digest = self.store.put_record(plan)
        return ended_status(self.store, plan, digest, cancelled=handle.key in self.cancelled)

    async def cancel(self, handle: RunHandle) -> None:
        """Stop it."""
        if handle.key in self._running:
            self._running.remove(handle.key)
            self.cancelled.append(handle.key)

    async def set_deadline(self, handle: RunHandle, seconds: int | None) -> None:
        """Do nothing: its runs have none."""

    async def forget(self, handle: RunHandle) -> None:
        """Free its key."""
        if handle.key in self._running:
            raise RunActiveError("it is still going", where=f"run {handle.key}")
        self._plans.pop(handle.key, None)
        if handle.key in self.cancelled:
            self.cancelled.remove(handle.key)
