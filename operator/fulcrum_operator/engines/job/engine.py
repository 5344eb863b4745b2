"""Runs plans as Kubernetes Jobs: each key at most once, even if answers are lost.

A Job's name comes from the key, so that asking for it twice is asking for the same. In which
namespace a key's Jobs are does not come from it, and is looked for once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from weakref import WeakValueDictionary

from fulcrum_operator.engines.job.cluster import JobCluster, key_of
from fulcrum_operator.engines.job.following import JobFollower
from fulcrum_operator.engines.job.naming import job_name
from fulcrum_operator.engines.job.record import GivenUp, JobRecord, JobRecords
from fulcrum_operator.engines.job.rendering import Order, render
from fulcrum_operator.engines.placement import Placement, place
from fulcrum_operator.engines.protocol import RunActiveError
from fulcrum_operator.kubernetes.errors import Invalid
from fulcrum_operator.kubernetes.requests import Object
from fulcrum_operator.settings import JobEngineSettings
from fulcrum_operator.settings.pools import Pool
from fulcrum_pipelines.compiled import Part
from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.states import RunHandle, RunStatus
from fulcrum_pipelines.storage.store import Store
from fulcrum_pipelines.validation.problem import Problem


class JobEngine:
    """The engine `job`.

    Args:
        store: Holds plans, records and artifacts; pods reach it by the same URL.
        settings: Of the engine.
        pools: That jobs may name.
        cluster: Holds the Jobs.
        now: The time of day.
        clock: Seconds that only go forward.
    """

    def __init__(
        self,
        store: Store,
        settings: JobEngineSettings,
        pools: Mapping[str, Pool],
        cluster: JobCluster,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._settings = settings
        self._pools = pools
        self._cluster = cluster
        self._records = JobRecords(store)
        self._follower = JobFollower(
            store, settings, cluster, self._records, self._measure, now, clock
        )
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._namespaces: dict[str, str] = {}  # of keys whose Jobs were seen

    # --- the port

    async def submit(self, key: str, plan: Plan) -> RunHandle:
        """Create the Job, or return the existing run."""
        if key != plan.run:
            message = f"key {key} is not that of the plan, {plan.run}"
            raise ValueError(message)
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            if found := await self.find(key):
                return found[0]
            return await self._submit(plan)

    async def find(self, key: str) -> tuple[RunHandle, ...]:
        """Return the run under `key`, also one whose Jobs are gone."""
        if jobs := await self._jobs(key):
            return (_handle(key, jobs[0]["metadata"]["namespace"]),)
        record = await asyncio.to_thread(self._records.read, key)
        return () if record is None else (_handle(key, record.namespace),)

    async def runs(self) -> tuple[RunHandle, ...]:
        """Return all runs that this operator made and whose Jobs are there, and forget others."""
        jobs = await self._cluster.all_jobs()
        self._follower.keep(jobs)
        self._namespaces = places = {key_of(job): job["metadata"]["namespace"] for job in jobs}
        return tuple(_handle(key, namespace) for key, namespace in sorted(places.items()))

    async def status(self, handle: RunHandle) -> RunStatus:
        """Return the state of the run; start its second Job once the first has computed."""
        if jobs := await self._jobs(handle.key):
            return await self._follower.status(jobs)
        record = await asyncio.to_thread(self._records.read, handle.key)
        if record is None:
            return RunStatus("Unknown", "NotFound", f"there is no Job of the run {handle.key}")
        return await self._follower.without_jobs(record)

    async def cancel(self, handle: RunHandle) -> None:
        """Delete the Jobs and their pods; that it was we who did so is on file before."""
        jobs = await self._jobs(handle.key)
        if not jobs or (await self._follower.status(jobs)).finished:
            return
        record = await self._follower.on_file(jobs[0])
        cancelled = record.model_copy(update={"cancelled": True})
        await asyncio.to_thread(self._records.write, cancelled)
        for job in await self._jobs(handle.key):
            await self._cluster.delete(job)

    async def set_deadline(self, handle: RunHandle, seconds: int | None) -> None:
        """Change the deadline of the Job that is going."""
        if jobs := await self._jobs(handle.key):
            await self._cluster.set_deadline(jobs[-1], seconds)

    async def forget(self, handle: RunHandle) -> None:
        """Delete what is left of the run's Jobs, and what is on file about it."""
        status = await self.status(handle)
        if not (status.finished or status.reason == "NotFound"):
            raise RunActiveError("it is still going", where=f"run {handle.key}")
        jobs = await self._jobs(handle.key)
        for job in jobs:
            await self._cluster.delete(job)
        await asyncio.to_thread(self._records.remove, handle.key)
        self._follower.forget(jobs)
        self._namespaces.pop(handle.key, None)

    # --- submitting

    async def _submit(self, plan: Plan) -> RunHandle:
        placement = self._place(plan)
        part: Part = "all" if placement.compute == placement.measure else "compute"
        digest = await asyncio.to_thread(self._prepare, plan)
        record = JobRecord(key=plan.run, plan=digest, namespace=plan.namespace)
        try:
            await self._create(plan, digest, part, placement.compute)
        except Invalid as error:  # by a policy of the cluster, or for a setting of ours
            refused = GivenUp(
                reason="JobRefused",
                message=f"the API server refuses the Job: {error.message}",
                failure_class="user",
            )
            record = record.model_copy(update={"given_up": refused})
        await asyncio.to_thread(self._records.write, record)
        return _handle(plan.run, plan.namespace)

    async def _measure(self, plan: Plan, digest: str) -> str:
        """Create the second Job of a run and return its name."""
        placement = self._place(plan)
        await self._create(plan, digest, "measure", placement.measure)
        return job_name(plan.run, "measure")

    async def _create(self, plan: Plan, digest: str, part: Part, pool: Pool) -> None:
        operator = self._cluster.operator
        order = Order(plan, digest, part, pool, self._store.url, operator)
        await self._cluster.create(render(order, self._settings))
        self._namespaces[plan.run] = plan.namespace

    def _place(self, plan: Plan) -> Placement:
        placement = place(plan.spec, self._pools)
        if isinstance(placement, Problem):
            raise UserError(str(placement), where=f"job {plan.name}")
        return placement

    def _prepare(self, plan: Plan) -> str:
        """Remove the files of an earlier run under this key, and store the plan."""
        self._store.delete(f"runs/{plan.run}")
        digest = self._store.put_record(plan)
        self._store.write_record(f"runs/{plan.run}/plan.json", plan)
        return digest

    # --- finding

    async def _jobs(self, key: str) -> Sequence[Object]:
        jobs = await self._cluster.jobs(key, self._namespaces.get(key))
        if jobs:
            self._namespaces[key] = jobs[0]["metadata"]["namespace"]
        return jobs


def _handle(key: str, namespace: str) -> RunHandle:
    return RunHandle(key, f"{namespace}/{job_name(key, 'all')}")
