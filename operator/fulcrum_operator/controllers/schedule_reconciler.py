"""Observe, decide and act on schedules; `scheduling` decides.

The job of a slot is created first and the status says so after it. Both are safe to repeat: the
name of the job follows from the slot, and the status is written only if it was not written since.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from fulcrum_operator.controllers.effects import (
    EffectProbe,
    announce,
    ignore_effect,
    replace_status,
)
from fulcrum_operator.kubernetes.api import Kube
from fulcrum_operator.kubernetes.errors import AlreadyExists, Conflict, Forbidden, Invalid, NotFound
from fulcrum_operator.kubernetes.events import Events
from fulcrum_operator.kubernetes.object_cache import Body, Key, Objects
from fulcrum_operator.resources.names import (
    COMPRESSION_JOB,
    COMPRESSION_SCHEDULE,
    SCHEDULE_LABEL,
)
from fulcrum_operator.scheduling import decide
from fulcrum_operator.scheduling.children import beyond_limits
from fulcrum_operator.scheduling.inputs import (
    Child,
    Refused,
    ScheduleSeen,
    Start,
    read_child,
    read_schedule,
    slot_of,
)

MAX_STEPS = 8
"""One is usual; each further step is a write by another client in between."""


@dataclass
class ScheduleReconciler:
    """Creates the jobs of schedules, and deletes those beyond their limits.

    Attributes:
        kube: Behind the leader's fence.
        schedules: As seen by the watch.
        jobs: As seen by the watch, by the schedule that their label names.
        channels: As seen by the watch.
        events: Writes Events.
        decided: Called with the outcome of decided slots, their number, and, if a job was
            created, how late that was, for metrics.
        probe: Called after every effect.
        now: The time.
    """

    kube: Kube
    schedules: Objects
    jobs: Objects
    channels: Objects
    events: Events
    decided: Callable[[str, int, float | None], None]
    probe: EffectProbe = ignore_effect
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))

    async def reconcile(self, key: Key) -> float | None:
        """Do what can be done now for the schedule at `key`; return when to look again.

        Raises:
            FulcrumError: The API server does not answer, or refuses; look again later.
        """
        body = self.schedules.get(key)
        for _ in range(MAX_STEPS):
            if body is None:
                return None
            try:
                return await self._step(key, body)
            except Conflict:  # it was written since, or the job of the slot is new to us
                body = await self._read(key)
        return 0.0

    async def _step(self, key: Key, body: Body) -> float | None:
        seen = self._observe(key, body)
        decision = decide(seen, self.now())
        for child in decision.delete:
            await self._delete(key, child)
        if decision.start is not None:
            refused = await self._create(key, decision.start)
            if refused is not None:
                decision = decide(replace(seen, refused=refused), self.now())
        await announce(self.events, body, decision.announce)
        if decision.status is not None:
            try:
                written = await replace_status(
                    self.kube, COMPRESSION_SCHEDULE, body, decision.status
                )
            except NotFound:
                return None
            self.schedules.learn(written)
            self.probe("schedule-status")
            for each in decision.slots:
                self.decided(each.outcome, each.count, each.lateness_s)
        return decision.after_s

    # --- observe

    def _observe(self, key: Key, body: Body) -> ScheduleSeen:
        schedule = read_schedule(body)
        children = tuple(read_child(job) for job in self.jobs.at(key))
        found = ScheduleSeen(schedule, children)
        if beyond_limits(schedule, children, frozenset()):
            return replace(found, pinned=self._pinned(key[0]))
        return found

    def _pinned(self, namespace: str) -> frozenset[str]:
        """Return the jobs that the history of a channel names."""
        return frozenset(
            move["job"]
            for channel in self.channels.within(namespace)
            for move in (channel.get("status") or {}).get("history") or ()
            if move.get("job")
        )

    async def _read(self, key: Key) -> Body | None:
        try:
            found = await self.kube.get(COMPRESSION_SCHEDULE, key[1], key[0])
        except NotFound:
            return None
        self.schedules.learn(found)
        return found

    # --- act

    async def _create(self, key: Key, start: Start) -> Refused | None:
        """Create the job of a slot; return why it cannot be, if it cannot."""
        try:
            created = await self.kube.create(COMPRESSION_JOB, dict(start.body))
        except AlreadyExists:
            return await self._compare(key, start)
        except Invalid as error:
            return Refused(start.slot, "InvalidTemplate", str(error), is_final=True)
        except Forbidden as error:  # a quota, or a policy of the cluster, which may change
            return Refused(start.slot, "JobRefused", str(error), is_final=False)
        self.jobs.learn(created)
        self.probe("schedule-job")
        return None

    async def _compare(self, key: Key, start: Start) -> Refused | None:
        """Return that another's object has the name; one of this slot is as good as ours."""
        try:
            found = await self.kube.get(COMPRESSION_JOB, start.name, key[0])
        except NotFound:
            raise Conflict(f"job {start.name} was there and is gone") from None
        metadata = found["metadata"]
        same = (metadata.get("labels") or {}).get(SCHEDULE_LABEL) == key[1]
        if same and slot_of(metadata) == start.slot:
            self.jobs.learn(found)
            return None
        message = f"a job {start.name} exists that is not of this schedule's slot"
        return Refused(start.slot, "NameTaken", message, is_final=True)

    async def _delete(self, key: Key, child: Child) -> None:
        try:
            await self.kube.delete(COMPRESSION_JOB, child.name, key[0], child.uid)
        except (NotFound, Conflict):  # it is gone, and perhaps a namesake there
            return
        self.probe("schedule-job-deleted")
