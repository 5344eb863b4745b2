"""Observe, decide, act, until nothing is left to do for a job now."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from fulcrum_operator.controllers.executor import Executor
from fulcrum_operator.controllers.job_memory import JobMemory
from fulcrum_operator.controllers.observer import Observer
from fulcrum_operator.kubernetes.api import Kube
from fulcrum_operator.kubernetes.errors import Conflict, NotFound
from fulcrum_operator.kubernetes.object_cache import Body, Key, Objects, is_finished, needs_a_look
from fulcrum_operator.lifecycle import Limits, decide
from fulcrum_operator.lifecycle.observation import Job, Observed
from fulcrum_operator.logs import bind
from fulcrum_operator.resources.names import COMPRESSION_JOB
from fulcrum_pipelines.gates.assessment import Assessment

MAX_STEPS = 32
"""More in one go would be a decision that undoes itself; the job then waits for its next turn."""

log = logging.getLogger(__name__)


@dataclass
class JobReconciler:
    """Drives jobs.

    Attributes:
        kube: Reads a job again if its cached form is too old or too short.
        jobs: As seen by the watch and our own writes.
        memory: Of each job, until it has ended or is gone.
        limits: Bounds of every loop.
        judged: Called with every verdict, for metrics.
        attempted: Called for every attempt that ended: the class of its failure, None for success.
        ended: Called for every job that ended, with its last status, for metrics.
    """

    kube: Kube
    jobs: Objects
    memory: JobMemory
    observer: Observer
    executor: Executor
    limits: Limits
    judged: Callable[[Job, Assessment], None]
    attempted: Callable[[str | None], None]
    ended: Callable[[Body], None]
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))

    async def reconcile(self, key: Key) -> float | None:
        """Do what can be done now for the job at `key`; return when to look again, in seconds.

        Raises:
            FulcrumError: Something did not answer, or refused; the next look comes later.
        """
        uids: set[str] = set()
        try:
            return await self._reconcile(key, uids)
        finally:
            self._forget_deleted(key, uids)

    async def _reconcile(self, key: Key, uids: set[str]) -> float | None:
        """Reconcile, and add to `uids` each job that was parsed: a namesake may follow another."""
        for _ in range(MAX_STEPS):
            body = await self._body(key)
            if body is None:
                return None
            job = self.memory.parse(body)
            uids.add(job.uid)
            with bind(
                job=job.name, namespace=job.namespace, uid=job.uid, attempt=job.status.attempt
            ):
                seen = await self.observer.observe(job)
                decision = decide(seen, self.now(), self.limits)
                if not decision.actions:
                    self._settle(job)
                    return decision.after_s
                log.debug(
                    "decided", extra={"actions": [type(a).__name__ for a in decision.actions]}
                )
                try:
                    await self.executor.perform(job, body, decision.actions)
                except Conflict:  # the job was written, by a try without an answer or by others
                    await self._refresh(key)
                    self._report(seen, key)
                    continue
                self._report(seen, key)
            if self._is_over(job, key):
                return None
            if decision.after_s is not None:
                return decision.after_s
        return 0.0

    def _forget_deleted(self, key: Key, uids: set[str]) -> None:
        """Forget jobs that were deleted while they were reconciled.

        Their deletion was handled before the last answers came, which may have been remembered, or
        taken a slot, since.
        """
        body = self.jobs.get(key)
        there = body["metadata"]["uid"] if body is not None else None
        for uid in uids - {there}:
            self.memory.forget(uid)

    async def _body(self, key: Key) -> Body | None:
        """Return the whole of a job that needs a look; memory has only little of a finished one."""
        body = self.jobs.get(key)
        if body is None or not needs_a_look(body):
            return None
        return body if "apiVersion" in body else await self._refresh(key)

    async def _refresh(self, key: Key) -> Body | None:
        try:
            found = await self.kube.get(COMPRESSION_JOB, key[1], key[0])
        except NotFound:
            if (known := self.jobs.get(key)) is not None:
                self.jobs.drop(known)
            return None
        self.jobs.learn(found)
        return found

    def _is_over(self, job: Job, key: Key) -> bool:
        """Whether the last actions left nothing to do; the job is then not even read again."""
        body = self.jobs.get(key)
        if body is None or needs_a_look(body):
            return False
        self.memory.forget(job.uid)
        return True

    def _settle(self, job: Job) -> None:
        """Give back what a job that needs nothing more holds in memory."""
        over = job.status.completion_time is not None or job.deleted_at is not None
        if over:
            self.memory.forget(job.uid)
        elif job.spec.suspend or job.status.verdict is not None:
            self.memory.rest(job.uid)

    def _report(self, before: Observed, key: Key) -> None:
        """Report what the last actions made of the job, once."""
        body = self.jobs.get(key)
        if body is None:
            return
        job, status = before.job, body.get("status") or {}
        judged = job.status.verdict is None and status.get("verdict") is not None
        if judged and isinstance(before.assessment, Assessment):
            self.attempted(None)
            self.judged(job, before.assessment)
        for kind, count in (status.get("failures") or {}).items():
            if count > job.status.failures.get(kind, 0):
                self.attempted(kind)
        if job.status.completion_time is None and is_finished(body):
            self.ended(body)
