"""A job costs a fixed number of API calls and reconciles, however many jobs there are.

Event router, work queue, workers and controllers are the real ones, at an API server in memory.
`make perf` measures the same on a real one, where repeated calls and busy processors add to it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from api_in_memory import ApiInMemory
from job_world import job_body
from operator_in_memory import OperatorInMemory
from perf.scale.engine import InstantEngine

from fulcrum_operator.engines.slots import Slots
from fulcrum_operator.kubernetes.object_cache import is_finished
from fulcrum_operator.lifecycle import Limits
from fulcrum_operator.metrics import Metrics
from fulcrum_operator.resources.names import COMPRESSION_JOB, Kind
from fulcrum_operator.runtime.event_router import WATCHED
from fulcrum_operator.runtime.workers import Dispatcher
from fulcrum_operator.settings import Settings
from fulcrum_pipelines.storage.store import Store

CALLS = {
    "create configmaps": 1,  # the snapshot
    "create events": 3,  # submitted, judged, succeeded
    "patch compressionjobs": 2,  # the finalizer comes and goes
    "patch compressionjobs/status": 6,  # key, reference, verdict, report, outcome, end
}
"""Of a job whose run succeeds, from its creation to its end. docs/scale.md and the limits in
tests/perf/scale.yaml follow from these counts."""
RECONCILES = 2
"""One until the run is submitted, and one that finds that it has ended."""
LIMITS = Limits(version="0.1", poll_s=0.2)
TIMEOUT_S = 60


class Site:
    """An operator with its queue and workers, and the jobs that it looks after."""

    def __init__(self, folder: Path) -> None:
        self.api = ApiInMemory(self._watched)
        self.reconciles: Counter[str] = Counter()
        self.done = asyncio.Event()
        store = Store(str(folder))
        self.operator = OperatorInMemory(
            self.api,
            store,
            InstantEngine(folder, 0.0, lambda key: None),
            LIMITS,
            slots=Slots(None),
            wake=lambda plural, key: self.dispatcher.add(plural, key),
        )
        settings = Settings()
        self.dispatcher = Dispatcher(
            settings.reconcile,
            Metrics(settings),
            leads=lambda: True,
            reconcilers={COMPRESSION_JOB.plural: self._reconcile},
            troubled=self._troubled,
        )

    async def _reconcile(self, key: tuple[str, str]) -> float | None:
        self.reconciles[key[1]] += 1
        return await self.operator.reconciler.reconcile(key)

    async def _troubled(self, item: object, error: Exception) -> None:
        raise AssertionError(f"{item}: {error}")

    def _watched(self, kind: Kind, event: str, body: dict[str, Any]) -> None:
        """Bring the news after the answer of the call that made it, as a watch does."""
        if kind in WATCHED:
            loop = asyncio.get_running_loop()
            loop.call_soon(self.operator.inbox.take, kind.plural, event, body)
        if all(map(is_finished, self.api.of(COMPRESSION_JOB))):
            self.done.set()

    async def run(self, jobs: int) -> None:
        """Create so many jobs, and return when all have ended."""
        work = asyncio.create_task(self.dispatcher.run())
        for number in range(jobs):
            body = job_body()
            body["metadata"] |= {"name": f"job-{number}", "uid": f"{number:08}-uid-of-the-job"}
            self.api.put(COMPRESSION_JOB, body)
        async with asyncio.timeout(TIMEOUT_S):
            await self.done.wait()
        await asyncio.sleep(2 * LIMITS.poll_s)  # for calls that come too late to be needed
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


@pytest.mark.parametrize("jobs", [1, 30])
def test_calls_and_reconciles_per_job_are_exact(jobs: int, tmp_path: Path) -> None:
    async def scenario() -> Site:
        site = Site(tmp_path)
        await site.run(jobs)
        return site

    site = asyncio.run(scenario())
    phases = Counter(body["status"]["phase"] for body in site.api.of(COMPRESSION_JOB))
    assert phases == {"Succeeded": jobs}
    assert site.api.calls == {call: count * jobs for call, count in CALLS.items()}
    assert set(site.reconciles.values()) == {RECONCILES}
