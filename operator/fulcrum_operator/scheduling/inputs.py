"""Inputs and results of decisions about a schedule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fulcrum_operator.lifecycle.actions import Announce
from fulcrum_operator.resources.compressionschedule import (
    CompressionScheduleSpec,
    CompressionScheduleStatus,
)
from fulcrum_operator.resources.names import SLOT, SkipReason
from fulcrum_operator.resources.times import read_time


@dataclass(frozen=True)
class Schedule:
    """A CompressionSchedule as the API server gave it, parsed once.

    Attributes:
        created: When it was created.
        edited: When its specification was written last, as far as its managed fields say.
        template: Its jobTemplate as it is written.
    """

    name: str
    namespace: str
    uid: str
    generation: int
    created: datetime
    edited: datetime | None
    is_deleted: bool
    spec: CompressionScheduleSpec
    template: Mapping[str, Any]
    status: CompressionScheduleStatus


@dataclass(frozen=True)
class Child:
    """A CompressionJob of a schedule.

    Attributes:
        slot: Its slot, or None if its annotation names none.
        finished: When it ended, or None while it has not.
        phase: Of its status.
        verdict: What its gates said, if they have.
        is_deleted: Whether it is on its way out.
    """

    name: str
    uid: str
    slot: datetime | None
    finished: datetime | None
    phase: str
    verdict: str | None = None
    is_deleted: bool = False


@dataclass(frozen=True)
class Refused:
    """Why the job of a slot could not be created.

    Attributes:
        slot: Which.
        reason: One word.
        message: A sentence.
        is_final: Whether another try cannot succeed.
    """

    slot: datetime
    reason: SkipReason
    message: str
    is_final: bool


@dataclass(frozen=True)
class ScheduleSeen:
    """Everything that the next decision about a schedule depends on.

    Attributes:
        schedule: As it is now.
        children: Its jobs.
        pinned: Names of jobs that the history of a channel of the namespace names.
        refused: Why the last try to create a job failed, if it did.
    """

    schedule: Schedule
    children: tuple[Child, ...] = ()
    pinned: frozenset[str] = frozenset()
    refused: Refused | None = None


@dataclass(frozen=True)
class Start:
    """Create the job of a slot.

    Attributes:
        name: Its name.
        slot: Its slot.
        body: The object.
    """

    name: str
    slot: datetime
    body: Mapping[str, Any]


@dataclass(frozen=True)
class SlotOutcome:
    """What became of slots, for metrics.

    Attributes:
        outcome: OnTime or Late if a job was created, else why there is none.
        count: Of how many.
        lateness_s: Of the job.
    """

    outcome: str
    count: int = 1
    lateness_s: float | None = None


@dataclass(frozen=True)
class ScheduleDecision:
    """The next step of a schedule, in the order in which it is taken.

    Attributes:
        delete: Jobs that must go first.
        start: The job to create. If that fails, decide again with the refusal.
        announce: Events about the schedule.
        status: Its whole new status, if it was not written since; None if it is right as it is.
        slots: What becomes of slots by this, once the status is written.
        after_s: When to look again at the latest; None if only an event changes anything.
    """

    delete: tuple[Child, ...] = ()
    start: Start | None = None
    announce: tuple[Announce, ...] = ()
    status: CompressionScheduleStatus | None = None
    slots: tuple[SlotOutcome, ...] = ()
    after_s: float | None = None


def read_schedule(body: Mapping[str, Any]) -> Schedule:
    """Return the CompressionSchedule in `body`."""
    metadata = body["metadata"]
    return Schedule(
        name=metadata["name"],
        namespace=metadata["namespace"],
        uid=metadata["uid"],
        generation=metadata.get("generation", 0),
        created=read_time(metadata["creationTimestamp"]),
        edited=_edited(metadata),
        is_deleted="deletionTimestamp" in metadata,
        spec=CompressionScheduleSpec.model_validate(body["spec"]),
        template=body["spec"]["jobTemplate"],
        status=CompressionScheduleStatus.model_validate(body.get("status") or {}),
    )


def read_child(body: Mapping[str, Any]) -> Child:
    """Return the job in `body`, which has the label of a schedule."""
    metadata, status = body["metadata"], body.get("status") or {}
    finished = status.get("completionTime")
    return Child(
        name=metadata["name"],
        uid=metadata["uid"],
        slot=slot_of(metadata),
        finished=read_time(finished) if finished else None,
        phase=status.get("phase") or "Pending",
        verdict=status.get("verdict"),
        is_deleted="deletionTimestamp" in metadata,
    )


def slot_of(metadata: Mapping[str, Any]) -> datetime | None:
    """Return the slot in an object's annotations; people may have written it."""
    text = (metadata.get("annotations") or {}).get(SLOT)
    try:
        return read_time(text) if text else None
    except ValueError:
        return None


def _edited(metadata: Mapping[str, Any]) -> datetime | None:
    """Return when a field of the specification was written last; None if nothing says so."""
    times = [
        read_time(entry["time"])
        for entry in metadata.get("managedFields") or ()
        if "time" in entry
        and not entry.get("subresource")
        and "f:spec" in entry.get("fieldsV1", {})
    ]
    return max(times, default=None)
