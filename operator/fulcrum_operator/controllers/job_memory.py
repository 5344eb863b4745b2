"""The memory of jobs between reconciles: one owner, so that nothing outlives its job.

All of it can be read again from the API server, but for the error of a submission, which the next
submission renews.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from fulcrum_operator.engines.slots import EngineDesk
from fulcrum_operator.kubernetes.object_cache import Body, Key
from fulcrum_operator.lifecycle.observation import Job, Snapshot, read_job


@dataclass
class _Entry:
    """The memory of one job.

    Attributes:
        parsed: Its newest body, and the job in it.
        snapshot: What it started with; it cannot change.
        submit_error: Why the last submission of its run failed; empty once there is a run.
    """

    parsed: tuple[Body, Job] | None = None
    snapshot: Snapshot | None = None
    submit_error: str = ""


@dataclass
class JobMemory:
    """Remembers jobs by uid, and keeps the slots that they hold.

    Attributes:
        engines: Whose slots they are.
        wake: Let a job have its turn, once there is a slot for it.
    """

    engines: Mapping[str, EngineDesk]
    wake: Callable[[Key], None]
    _entries: dict[str, _Entry] = field(default_factory=dict)

    def parse(self, body: Body) -> Job:
        """Return the job in `body`, parsed once: most observations find the job as it was."""
        entry = self._entry(body["metadata"]["uid"])
        if entry.parsed is None or entry.parsed[0] is not body:
            entry.parsed = (body, read_job(body))
        return entry.parsed[1]

    def snapshot(self, uid: str) -> Snapshot | None:
        """Return what a job started with, if that was read before."""
        entry = self._entries.get(uid)
        return entry.snapshot if entry is not None else None

    def keep_snapshot(self, uid: str, snapshot: Snapshot) -> None:
        """Remember what a job started with."""
        self._entry(uid).snapshot = snapshot

    def submit_error(self, uid: str) -> str:
        """Return why the last submission of a job's run failed, or an empty string."""
        entry = self._entries.get(uid)
        return entry.submit_error if entry is not None else ""

    def keep_submit_error(self, uid: str, why: str) -> None:
        """Remember why a submission failed; an empty string means that a run exists."""
        if why or uid in self._entries:
            self._entry(uid).submit_error = why

    def hold_slot(self, uid: str, engine: str) -> None:
        """Note that a job has a run at an engine."""
        if (desk := self.engines.get(engine)) is not None:
            desk.slots.hold(uid)

    def take_slot(self, job: Job) -> bool:
        """Return whether a job may start; if not, it waits for a slot of its engine."""
        desk = self.engines.get(job.spec.engine)
        if desk is None:
            return False
        return desk.slots.take(job.uid, job.created_at, (job.namespace, job.name))

    def rest(self, uid: str) -> None:
        """Free the slot of a job that has no run, and drop its body, which no poll needs now."""
        if (entry := self._entries.get(uid)) is not None:
            entry.parsed = None
        for desk in self.engines.values():
            for next_key in desk.slots.release(uid):
                self.wake(next_key)

    def forget(self, uid: str) -> None:
        """Drop everything about a job that has ended or was deleted."""
        self.rest(uid)
        self._entries.pop(uid, None)

    def _entry(self, uid: str) -> _Entry:
        return self._entries.setdefault(uid, _Entry())
