"""How a run goes, from sources that each know a part, and its second Job when it is time.

Evidence in the store is a success, even if the Job failed. For a failure of the pod's own, the exit
code and the store have the reason; for an end from outside, the pod has it. A run that never starts
is ended here, after that is on file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from fulcrum_operator.engines.job.cluster import JobCluster, key_of
from fulcrum_operator.engines.job.naming import PLAN_ANNOTATION
from fulcrum_operator.engines.job.record import GivenUp, JobRecord, JobRecords
from fulcrum_operator.engines.job.states import (
    course_of,
    ended_from_outside,
    exit_code_of,
    has_pod,
    is_ready,
    job_failure,
    left,
    lost,
    part_in,
    queued,
    quota_reserved,
    taken,
    waiting,
    words_of,
)
from fulcrum_operator.engines.protocol import Trouble
from fulcrum_operator.kubernetes.errors import Invalid
from fulcrum_operator.kubernetes.requests import Object
from fulcrum_operator.resources.times import seconds_since
from fulcrum_operator.settings import JobEngineSettings
from fulcrum_pipelines.compiled import Part
from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.errors import CorruptError, UserError
from fulcrum_pipelines.runner.exit_codes import CLASSES, EXIT_CODES, NO_EVIDENCE
from fulcrum_pipelines.runner.results import part_status, unreadable
from fulcrum_pipelines.states import RunState, RunStatus
from fulcrum_pipelines.storage.store import Store

SILENCE_S = 10.0
"""If a Job has no pod after this long, only its Events say why."""
OWN_DOING = frozenset(CLASSES) - {EXIT_CODES["infrastructure"]}
"""Exit codes that a pod chose itself, even if it was disrupted at the same time."""


@dataclass
class _Seen:
    """Observations of a Job's pods, kept for after they are gone.

    Attributes:
        stuck_since_s: Since when its pod cannot start.
        disruption: Why the cluster ended its pod.
    """

    stuck_since_s: float | None = None
    disruption: Trouble | None = None


@dataclass
class JobFollower:
    """Follows runs.

    Attributes:
        store: Has the evidence.
        settings: Limits.
        cluster: Jobs and pods.
        records: What is on file.
        measure: Starts the second Job of a plan, given its digest.
        now: The time of day.
        clock: Seconds that only go forward.
    """

    store: Store
    settings: JobEngineSettings
    cluster: JobCluster
    records: JobRecords
    measure: Callable[[Plan, str], Awaitable[str]]
    now: Callable[[], datetime]
    clock: Callable[[], float]
    _seen: dict[str, _Seen] = field(default_factory=dict)  # by the Job's uid

    async def status(self, jobs: Sequence[Object]) -> RunStatus:
        """Return how a run goes that has `jobs`, the oldest first."""
        job = jobs[-1]
        status = await self._status(job)
        deadline_s = job["spec"].get("activeDeadlineSeconds")
        return replace(status, quota_reserved=quota_reserved(job), deadline_s=deadline_s)

    async def _status(self, job: Object) -> RunStatus:
        match course_of(job):
            case "Active":
                return await self._active(job)
            case "Suspended":
                trouble = queued(job, await self.cluster.workload(job))
                return RunStatus("Pending", trouble.reason, trouble.message)
            case "Complete":
                return await self._complete(job)
            case _:
                return await self._failed(job)

    async def without_jobs(self, record: JobRecord) -> RunStatus:
        """Return the state of a run whose Jobs are gone: deleted, or past their time to live."""
        pods = await self.cluster.pods(record.key, record.namespace)
        if left(pods, self.now(), self.settings.lost_after_s):
            return RunStatus("Running", "Stopping", "its pods are being ended")
        status = await self._in_store(record.plan, "all", cancelled=record.cancelled)
        if status.state == "Succeeded" or record.cancelled:
            return status
        if record.given_up is not None:
            return record.given_up.as_status()
        if status.reason != "NoEvidence":
            return status
        message = "the Job was deleted before it had a result"
        return RunStatus("Failed", "JobDeleted", message, "infrastructure")

    async def on_file(self, job: Object) -> JobRecord:
        """Return the record of the run of `job`, or what the Job itself shows of it."""
        found = await asyncio.to_thread(self.records.read, key_of(job))
        return found or _record_of(job)

    def forget(self, jobs: Sequence[Object]) -> None:
        """Drop what is remembered of `jobs`."""
        for job in jobs:
            self._seen.pop(job["metadata"]["uid"], None)

    def keep(self, jobs: Sequence[Object]) -> None:
        """Drop what is remembered of all but `jobs`."""
        there = {job["metadata"]["uid"] for job in jobs}
        self._seen = {uid: seen for uid, seen in self._seen.items() if uid in there}

    # --- going

    async def _active(self, job: Object) -> RunStatus:
        if is_ready(job):
            self.forget([job])
            return RunStatus("Running")
        pods = await self.cluster.pods(key_of(job), job["metadata"]["namespace"], job)
        if (trouble := lost(pods, self.now(), self.settings.lost_after_s)) is not None:
            return await self._give_up(job, trouble)
        seen = self._seen.setdefault(job["metadata"]["uid"], _Seen())
        seen.disruption = next(filter(None, map(taken, pods)), seen.disruption)
        trouble = waiting(pods)
        if trouble is not None and self._for_good(seen, trouble):
            return await self._give_up(job, trouble)
        running = any((pod.get("status") or {}).get("phase") == "Running" for pod in pods)
        state: RunState = "Running" if running else "Pending"
        if trouble is not None:
            return RunStatus(state, *_words(trouble))
        return RunStatus(state) if pods else await self._without_pod(job)

    async def _without_pod(self, job: Object) -> RunStatus:
        since = (job.get("status") or {}).get("startTime")  # later than its creation, from a queue
        age_s = seconds_since(since or job["metadata"]["creationTimestamp"], self.now())
        if has_pod(job) or age_s < SILENCE_S:
            return RunStatus("Pending")
        name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
        why = await self.cluster.why_no_pod(job) or (
            "a quota, Pod Security or a missing service account may forbid it; "
            f"kubectl -n {namespace} describe job {name} shows why"
        )
        return RunStatus("Pending", "NoPod", f"Job {name} has no pod: {why}")

    def _for_good(self, seen: _Seen, trouble: Trouble) -> bool:
        if trouble.failure_class is None:
            seen.stuck_since_s = None
            return False
        if seen.stuck_since_s is None:
            seen.stuck_since_s = self.clock()
        return self.clock() - seen.stuck_since_s >= self.settings.start_limit_s

    async def _give_up(self, job: Object, trouble: Trouble) -> RunStatus:
        """End what would not end by itself; why is on file before it is done."""
        await self._write_given_up(job, trouble)
        await self.cluster.delete(job)
        self.forget([job])
        return RunStatus("Running", "Stopping", f"is given up: {trouble.message}")

    async def _write_given_up(self, job: Object, trouble: Trouble) -> GivenUp:
        given_up = GivenUp(
            reason=trouble.reason,
            message=trouble.message,
            failure_class=trouble.failure_class or "infrastructure",
        )
        on_file = await self.on_file(job)
        changed = on_file.model_copy(update={"given_up": given_up})
        await asyncio.to_thread(self.records.write, changed)
        return given_up

    # --- ended

    async def _complete(self, job: Object) -> RunStatus:
        record, part = await self.on_file(job), part_in(job)
        if part == "compute" and (record.cancelled or record.given_up is not None):
            return await self.without_jobs(record)
        status = await self._in_store(record.plan, part, cancelled=record.cancelled)
        if part != "compute" or status.state != "Succeeded":
            return status
        return await self._measured_apart(job, record.plan)

    async def _measured_apart(self, job: Object, digest: str) -> RunStatus:
        plan = await asyncio.to_thread(self.store.plan, digest)
        try:
            name = await self.measure(plan, digest)
        except (UserError, Invalid) as error:  # the settings are others by now
            trouble = Trouble("JobRefused", f"its second Job cannot be made: {error}", "user")
            return (await self._write_given_up(job, trouble)).as_status()
        message = f"computing is done; Job {name} measures"
        return RunStatus("Pending", "Measuring", message)

    async def _failed(self, job: Object) -> RunStatus:
        record = await self.on_file(job)
        status = await self._in_store(record.plan, part_in(job), cancelled=record.cancelled)
        if status.state != "Failed" or status.reason == "EvidenceUnreadable":
            return status
        pods = await self.cluster.pods(key_of(job), job["metadata"]["namespace"], job)
        code = exit_code_of(job, pods)
        if code in OWN_DOING and status.reason == "StageFailed":
            return status
        failure = job_failure(job, code)
        seen = self._seen.get(job["metadata"]["uid"], _Seen())
        outside = ended_from_outside(pods) or seen.disruption
        if failure.failure_class == "deadline":  # for which its pods are ended too
            outside = failure
        if outside is not None and code not in OWN_DOING:
            return RunStatus("Failed", *_words(outside), outside.failure_class)
        if status.reason == "StageFailed" or code == NO_EVIDENCE:
            return status
        if (words := words_of(pods)) is not None:
            return RunStatus("Failed", words.reason, words.message, words.failure_class)
        return RunStatus("Failed", *_words(failure), failure.failure_class)

    async def _in_store(self, digest: str, part: Part, *, cancelled: bool) -> RunStatus:
        return await asyncio.to_thread(self._read_end, digest, part, cancelled)

    def _read_end(self, digest: str, part: Part, cancelled: bool) -> RunStatus:
        try:
            plan = self.store.plan(digest)
        except CorruptError as error:
            return unreadable(error)
        return part_status(self.store, plan, digest, part, cancelled=cancelled)


def _record_of(job: Object) -> JobRecord:
    metadata = job["metadata"]
    digest = metadata["annotations"][PLAN_ANNOTATION]
    return JobRecord(key=key_of(job), plan=digest, namespace=metadata["namespace"])


def _words(trouble: Trouble) -> tuple[str, str]:
    return trouble.reason, trouble.message
