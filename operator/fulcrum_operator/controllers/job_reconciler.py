"""Observe, decide, act, until nothing is left to do for a job now."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from fulcrum_operator.controllers.executor import Executor
from fulcrum_operator.controllers.observer import Observer
from fulcrum_operator.kubernetes.errors import Conflict, NotFound
from fulcrum_operator.kubernetes.object_cache import Body, Key, Objects, is_finished, needs_a_look
from fulcrum_operator.lifecycle import Limits, decide
from fulcrum_operator.lifecycle.observation import Job, Observed, read_job
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
        jobs: As the watch and our own writes told.
        wake: Lets another job have its turn.
        limits: Bounds of every loop.
        judged: Told of every verdict, for metrics.
        attempted: Told of every attempt that ended: the class of its failure, None for success.
        ended: Told of every job that ended, with its last status, for metrics.
    """

    jobs: Objects
    observer: Observer
    executor: Executor
    wake: Callable[[Key], None]
    limits: Limits
    judged: Callable[[Job, Assessment], None]
    attempted: Callable[[str | None], None]
    ended: Callable[[Body], None]
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    _read: dict[str, tuple[Body, Job]] = field(default_factory=dict)  # by uid

    async def reconcile(self, key: Key) -> float | None:
        """Do what can be done now for the job at `key`; return when to look again, in seconds.

        Raises:
            FulcrumError: Something did not answer, or refused; the next look comes later.
        """
        for _ in range(MAX_STEPS):
            body = await self._body(key)
            if body is None:
                return None
            job = self._parsed(body)
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
                    self._tell(seen, key)
                    continue
                self._tell(seen, key)
            if self._is_over(job, key):
                return None
            if decision.after_s is not None:
                return decision.after_s
        return 0.0

    def _parsed(self, body: Body) -> Job:
        """Return the job in `body`, parsed once: most looks at a run find the job as it was."""
        uid = body["metadata"]["uid"]
        known = self._read.get(uid)
        if known is None or known[0] is not body:
            known = self._read[uid] = (body, read_job(body))
        return known[1]

    async def _body(self, key: Key) -> Body | None:
        """Return the whole of a job that needs a look; memory has only little of a finished one."""
        body = self.jobs.get(key)
        if body is None or not needs_a_look(body):
            return None
        return body if "apiVersion" in body else await self._refresh(key)

    async def _refresh(self, key: Key) -> Body | None:
        try:
            found = await self.executor.kube.get(COMPRESSION_JOB, key[1], key[0])
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
        self.release(job.uid, job.spec.engine)
        self.observer.forget(job.uid)
        return True

    def _settle(self, job: Job) -> None:
        """Give back what a job that needs nothing more holds in memory."""
        over = job.status.completion_time is not None or job.deleted_at is not None
        if over or job.spec.suspend or job.status.verdict is not None:
            self.release(job.uid, job.spec.engine)
        if over:
            self.observer.forget(job.uid)

    def release(self, uid: str, engine: str) -> None:
        """Give back the place of a job that has no run, and let the next ones have their turn."""
        self._read.pop(uid, None)
        if (desk := self.observer.engines.get(engine)) is not None:
            for following in desk.slots.release(uid):
                self.wake(following)

    def _tell(self, before: Observed, key: Key) -> None:
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
