"""A schedule in memory whose operator stops at will, whose clock jumps and whose watch is late."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from api_in_memory import ApiInMemory

from fulcrum_operator.controllers.job_memory import JobMemory
from fulcrum_operator.controllers.schedule_reconciler import ScheduleReconciler
from fulcrum_operator.kubernetes.api import Kube
from fulcrum_operator.kubernetes.errors import Forbidden, Invalid, Unavailable
from fulcrum_operator.kubernetes.events import Events
from fulcrum_operator.kubernetes.object_cache import Key
from fulcrum_operator.resources.names import (
    API_VERSION,
    COMPRESSION_JOB,
    COMPRESSION_SCHEDULE,
    EVENT,
    MODEL_CHANNEL,
    SLOT,
    Kind,
)
from fulcrum_operator.resources.times import read_time, write_time
from fulcrum_operator.runtime.event_router import WATCHED, Inbox
from fulcrum_pipelines.errors import FulcrumError

KEY: Key = ("team", "nightly")
START = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
TEMPLATE = {
    "metadata": {"labels": {"team": "vision"}},
    "spec": {"data": {"test": {"uri": "days/{slot:%Y-%m-%d}.npz"}}},
}


class StoppedError(BaseException):
    """The process ends here; nothing in it can catch that."""


class Process:
    """One process of the operator, as far as schedules need it; it knows what it has heard."""

    def __init__(self, world: ScheduleWorld) -> None:
        self.inbox = Inbox(lambda plural, key: None, JobMemory({}, lambda key: None))
        for kind in WATCHED:
            for body in world.api.of(kind):
                self.inbox.take(kind.plural, None, body)
        self.news: list[tuple[Kind, str, dict[str, Any]]] = []
        kube, objects = cast("Kube", world.api), self.inbox.objects
        self.reconciler = ScheduleReconciler(
            kube=kube,
            schedules=objects[COMPRESSION_SCHEDULE.plural],
            jobs=objects[COMPRESSION_JOB.plural],
            channels=objects[MODEL_CHANNEL.plural],
            events=Events(kube, "test"),
            decided=world.count,
            now=lambda: world.now,
        )

    def hear(self) -> None:
        """Let the watches bring their news."""
        while self.news:
            kind, event, body = self.news.pop(0)
            self.inbox.take(kind.plural, event, body)


class ScheduleWorld:
    """One schedule, its operator, and the API server.

    Args:
        spec: Fields of the schedule's specification that replace the default's.

    Attributes:
        now: The time on the operator's clock.
        created: How many jobs the API server ever took, by name.
        skipped: Names that the jobs of slots that the status called skipped would have.
        outcomes: Counted decisions about slots.
        refuses: Why the API server takes no job, or None.
        stops_at: The process ends at this moment: 0 is before the first write, 1 after it, and so
            on; None for never.
    """

    def __init__(self, **spec: Any) -> None:
        self.now = START
        self.created: Counter[str] = Counter()
        self.skipped: set[str] = set()
        self.outcomes: Counter[str] = Counter()
        self.refuses: type[Forbidden] | type[Invalid] | None = None
        self.stops_at: int | None = None
        self.loses_answer = False
        self.processes: list[Process] = []
        self.api = ApiInMemory(self._watched, self._touched)
        metadata = {
            "name": KEY[1],
            "namespace": KEY[0],
            "uid": "schedule",
            "generation": 1,
            "creationTimestamp": write_time(START),
        }
        self.api.put(
            COMPRESSION_SCHEDULE,
            {
                "apiVersion": API_VERSION,
                "kind": "CompressionSchedule",
                "metadata": metadata,
                "spec": {"schedule": "0 * * * *", "jobTemplate": TEMPLATE, **spec},
            },
        )
        self.start()

    # --- the operator

    def start(self) -> Process:
        """Start the operator again, or another one beside those that are kept by a test."""
        self.processes = [Process(self)]
        return self.processes[0]

    def stop(self) -> None:
        """Let there be no operator."""
        self.processes = []

    def turn(self, process: Process | None = None, *, deaf: bool = False) -> float | None:
        """Let an operator do what it can do now; return after how many seconds to look again."""
        process = process or self.processes[0]
        if not deaf:
            process.hear()
        try:
            return LOOP.run_until_complete(process.reconciler.reconcile(KEY))
        except StoppedError:
            self.start()
            return 0.0
        except FulcrumError:
            return 1.0

    def advance(self, step: timedelta) -> None:
        """Let time pass while the operator works: it looks again when it asked to."""
        until = self.now + step
        while self.now < until:
            after_s = self.turn()
            pause = timedelta(seconds=max(after_s if after_s is not None else 3600.0, 1.0))
            self.now = min(self.now + pause, until)
        self.turn()

    # --- what is there

    @property
    def status(self) -> dict[str, Any]:
        """The schedule's status."""
        found = self.api.find(COMPRESSION_SCHEDULE, KEY[1], KEY[0])
        assert found is not None
        return cast("dict[str, Any]", found.get("status") or {})

    @property
    def jobs(self) -> list[dict[str, Any]]:
        """The jobs that are there, in the order of their creation."""
        return self.api.of(COMPRESSION_JOB)

    @property
    def events(self) -> list[str]:
        """The reasons of all Events."""
        return [event["reason"] for event in self.api.of(EVENT)]

    def condition(self, kind: str = "Scheduling") -> tuple[str, str]:
        """Return status and reason of a condition."""
        for each in self.status["conditions"]:
            if each["type"] == kind:
                return each["status"], each["reason"]
        raise AssertionError(f"no condition {kind}")

    # --- what others do

    def edit(self, **spec: Any) -> None:
        """Change the specification as a user would."""
        entry = {"manager": "kubectl", "time": write_time(self.now), "fieldsV1": {"f:spec": {}}}
        patch = {"spec": spec, "metadata": {"managedFields": [entry]}}
        self.api.edit(COMPRESSION_SCHEDULE, KEY[1], KEY[0], patch)

    def finish(self, phase: str = "Succeeded") -> None:
        """Let all jobs that are going end."""
        for job in self.jobs:
            if "status" not in job:
                end = {"phase": phase, "completionTime": write_time(self.now), "verdict": "Pass"}
                self.api.edit(COMPRESSION_JOB, job["metadata"]["name"], KEY[0], {"status": end})

    def delete_decided(self) -> None:
        """Delete the jobs whose slots the status has, as a user may."""
        last = (self.status.get("lastSlot") or {}).get("time")
        for job in self.jobs:
            slot = read_time(job["metadata"]["annotations"][SLOT])
            if last is not None and slot <= read_time(last):
                self.api.remove(COMPRESSION_JOB, job["metadata"]["name"], KEY[0])

    # --- through the ports

    def count(self, outcome: str, count: int, lateness_s: float | None) -> None:
        self.outcomes[outcome] += count

    def _watched(self, kind: Kind, event: str, body: dict[str, Any]) -> None:
        if kind == COMPRESSION_JOB and event == "ADDED":
            self.created[body["metadata"]["name"]] += 1
            assert read_time(body["metadata"]["annotations"][SLOT]) <= self.now, "too early"
        if kind == COMPRESSION_SCHEDULE and (last := (body.get("status") or {}).get("lastSlot")):
            name = f"{KEY[1]}-{read_time(last['time']):%Y%m%d%H%M}"
            if last["outcome"] == "Skipped":
                self.skipped.add(name)
        if kind in WATCHED:
            for process in self.processes:
                process.news.append((kind, event, body))

    def _touched(self, call: str) -> None:
        if self.stops_at is not None:
            if self.stops_at == 0:
                self.stops_at = None
                if self.loses_answer:
                    raise Unavailable(f"no answer to {call}")
                raise StoppedError
            self.stops_at -= 1
        if call == f"create {COMPRESSION_JOB.plural}" and self.refuses is not None:
            raise self.refuses("exceeded quota: jobs")


LOOP = asyncio.new_event_loop()
