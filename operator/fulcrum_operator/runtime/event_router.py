"""Route events of watches into the cache, and wake the objects that must be reconciled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from fulcrum_operator.controllers.job_memory import JobMemory
from fulcrum_operator.kubernetes.object_cache import (
    Body,
    Key,
    Objects,
    is_finished,
    keep_job,
    key_of,
    needs_a_look,
    schedule_of,
)
from fulcrum_operator.resources.names import (
    CLUSTER_COMPRESSION_RECIPE,
    CLUSTER_GATE_POLICY,
    COMPRESSION_JOB,
    COMPRESSION_RECIPE,
    COMPRESSION_SCHEDULE,
    GATE_POLICY,
    MODEL_CHANNEL,
    MODEL_PROMOTION,
    Kind,
)

TEMPLATES = (
    COMPRESSION_RECIPE,
    CLUSTER_COMPRESSION_RECIPE,
    GATE_POLICY,
    CLUSTER_GATE_POLICY,
)
WATCHED: tuple[Kind, ...] = (
    *TEMPLATES,
    MODEL_CHANNEL,
    MODEL_PROMOTION,
    COMPRESSION_JOB,
    COMPRESSION_SCHEDULE,
)
"""In the order in which they are listed at the start, so that jobs find what they refer to."""

DECIDED = frozenset({"Promoted", "Refused"})


def _objects() -> dict[str, Objects]:
    objects = {kind.plural: Objects(kind) for kind in WATCHED}
    objects[COMPRESSION_JOB.plural] = Objects(COMPRESSION_JOB, keep_job, schedule_of)
    return objects


@dataclass
class Inbox:
    """Takes events.

    Attributes:
        add: Lets an object have its turn: plural, key.
        memory: Forgets jobs that have ended or are deleted, and holds the slots of running ones.
    """

    add: Callable[[str, Key], None]
    memory: JobMemory
    objects: dict[str, Objects] = field(default_factory=_objects)

    def take(self, plural: str, event: str | None, body: Body) -> None:
        """Take the event of an object; the type is None for those of the first list."""
        objects = self.objects[plural]
        if event == "DELETED":
            objects.drop(body)
            if plural == COMPRESSION_JOB.plural:
                self.memory.forget(body["metadata"]["uid"])
        elif objects.learn(body):
            if plural == COMPRESSION_JOB.plural:
                self._keep_places(body)
        else:  # our own write, whose answer was learned already, by one reconciler
            for item in self._schedule(plural, body):
                self.add(*item)
            return
        for item in self.affected(plural, body):
            self.add(*item)

    def everything(self) -> Iterator[tuple[str, Key]]:
        """Yield all that a new leader must look at."""
        for plural, objects in self.objects.items():
            for body in objects:
                if plural == COMPRESSION_JOB.plural and not needs_a_look(body):
                    continue
                if plural in _RECONCILED:
                    yield plural, key_of(body)

    def affected(self, plural: str, body: Body) -> Iterator[tuple[str, Key]]:
        """Yield who must look again because of an object."""
        namespace, name = key = key_of(body)
        match plural:
            case COMPRESSION_JOB.plural:
                if needs_a_look(body):
                    yield plural, key
                yield from self._schedule(plural, body)
            case COMPRESSION_SCHEDULE.plural:
                yield plural, key
            case MODEL_PROMOTION.plural:
                yield plural, key
                if job := (body["spec"].get("job") or {}).get("name"):
                    yield from self._jobs([(namespace, job)])
            case MODEL_CHANNEL.plural:
                yield plural, key
                yield from self._on_channel(namespace, name)
            case _:
                yield from self._jobs(self._referring(body))

    def _schedule(self, plural: str, body: Body) -> Iterator[tuple[str, Key]]:
        """Yield the schedule of a job, which counts its ends and what still goes."""
        schedule = schedule_of(body) if plural == COMPRESSION_JOB.plural else None
        if schedule is not None:
            yield COMPRESSION_SCHEDULE.plural, schedule

    def _on_channel(self, namespace: str, channel: str) -> Iterator[tuple[str, Key]]:
        for promotion in self.objects[MODEL_PROMOTION.plural]:
            if promotion["metadata"]["namespace"] != namespace:
                continue
            undecided = (promotion.get("status") or {}).get("phase") not in DECIDED
            if promotion["spec"]["channel"] == channel and undecided:
                yield MODEL_PROMOTION.plural, key_of(promotion)
        yield from self._jobs(
            key_of(job)
            for job in self.objects[COMPRESSION_JOB.plural]
            if job["metadata"]["namespace"] == namespace
            and (job["spec"].get("promotion") or {}).get("channel") == channel
            and _waits_for_channel(job)
        )

    def _jobs(self, keys: Any) -> Iterator[tuple[str, Key]]:
        for key in keys:
            job = self.objects[COMPRESSION_JOB.plural].get(key)
            if job is not None and not is_finished(job):
                yield COMPRESSION_JOB.plural, key

    def _referring(self, template: Body) -> Iterator[Key]:
        """Yield the jobs without a snapshot that name `template`."""
        namespace, name = key_of(template)
        for job in self.objects[COMPRESSION_JOB.plural]:
            if (job.get("status") or {}).get("snapshot") is not None:
                continue
            if namespace and job["metadata"]["namespace"] != namespace:
                continue
            references = (job["spec"].get(each) for each in ("recipeRef", "gatePolicyRef"))
            if any(each is not None and each["name"] == name for each in references):
                yield key_of(job)

    def _keep_places(self, body: Body) -> None:
        """A job holds a place while it runs, also where another leader started or ended the run.

        A standby never looks at jobs: places that it did not give back here would be missing when
        it leads.
        """
        status, uid = body.get("status") or {}, body["metadata"]["uid"]
        if is_finished(body):
            self.memory.forget(uid)
            return
        run = status.get("run")
        if run is None or status.get("verdict") is not None:
            return
        self.memory.hold_slot(uid, run["engine"])


def _waits_for_channel(job: Body) -> bool:
    """Return whether what its channel holds may decide something for a job now."""
    status = job.get("status") or {}
    compares = (job["spec"].get("baseline") or {}).get("kind") == "Channel"
    return status.get("verdict") is not None or (compares and "snapshot" not in status)


_RECONCILED = (
    COMPRESSION_JOB.plural,
    MODEL_PROMOTION.plural,
    MODEL_CHANNEL.plural,
    COMPRESSION_SCHEDULE.plural,
)
