"""An engine whose runs take a given time and leave real evidence, without any work.

It is in the operator's own process, so its processor time is measured separately.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stored_runs import CANDIDATE, CANDIDATE_PATH, result_files

from fulcrum_operator.engines.protocol import RunActiveError
from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.states import RunHandle, RunStatus
from fulcrum_pipelines.storage.store import Store


@dataclass(frozen=True)
class _Run:
    plan: Plan
    ends_s: float


class InstantEngine:
    """Runs that are going for `hold_s` seconds and then have succeeded.

    Args:
        root: Directory of the store.
        hold_s: How long a run takes; with 0 it has ended when it is submitted.
        submitted: Called with the key of every run at its submission.
    """

    def __init__(self, root: Path, hold_s: float, submitted: Callable[[str], None]) -> None:
        self.cpu_s = 0.0
        self._root = root
        self._hold_s = hold_s
        self._submitted = submitted
        self._runs: dict[str, _Run] = {}
        self._ended: set[str] = set()
        self._store = Store(str(root))
        self._store.write(CANDIDATE_PATH, CANDIDATE)

    async def submit(self, key: str, plan: Plan) -> RunHandle:
        """Take note of a run."""
        if key not in self._runs:
            self._runs[key] = _Run(plan, time.monotonic() + self._hold_s)
            self._submitted(key)
        return RunHandle(key, f"instant-{key}")

    async def find(self, key: str) -> tuple[RunHandle, ...]:
        """Return the run under `key`."""
        return (RunHandle(key, f"instant-{key}"),) if key in self._runs else ()

    async def runs(self) -> tuple[RunHandle, ...]:
        """Return all of them."""
        return tuple(RunHandle(key, f"instant-{key}") for key in self._runs)

    async def status(self, handle: RunHandle) -> RunStatus:
        """Return how it goes; who first sees that its time is over does what it would have done."""
        run = self._runs.get(handle.key)
        if run is None:
            return RunStatus("Unknown", "NotFound")
        if time.monotonic() < run.ends_s:
            return RunStatus("Running")
        if handle.key not in self._ended:
            await asyncio.to_thread(self._leave_evidence, run.plan)
            self._ended.add(handle.key)
        return RunStatus("Succeeded")

    async def cancel(self, handle: RunHandle) -> None:
        """Let it end now."""
        if (run := self._runs.get(handle.key)) is not None:
            self._runs[handle.key] = _Run(run.plan, 0.0)

    async def set_deadline(self, handle: RunHandle, seconds: int | None) -> None:
        """Do nothing: its runs have none."""

    async def forget(self, handle: RunHandle) -> None:
        """Free its key."""
        if (await self.status(handle)).state == "Running":
            raise RunActiveError("it is still going", where=f"run {handle.key}")
        self._runs.pop(handle.key, None)
        self._ended.discard(handle.key)

    def _leave_evidence(self, plan: Plan) -> None:
        started_s = time.thread_time()
        self._store.put_record(plan)  # which the report is made from
        for path, content in result_files(plan).items():
            target = self._root / path
            os.makedirs(target.parent, exist_ok=True)
            target.write_bytes(content)
        self.cpu_s += time.thread_time() - started_s
