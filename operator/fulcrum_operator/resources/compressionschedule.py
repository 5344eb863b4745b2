"""Generated from crds/compressionschedule.yaml by `make crds`; do not edit."""

# ruff: noqa: E501 - descriptions come from the schema as they are

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fulcrum_operator.resources.base import Spec, Status
from fulcrum_operator.resources.condition import Condition


class Metadata(Spec):
    """Labels and annotations of the jobs."""

    labels: dict[str, str] | None = None
    """Labels, beside fulcrum.dev/schedule."""
    annotations: dict[str, str] | None = None
    """Annotations, beside fulcrum.dev/slot."""


class JobTemplate(Spec):
    """The jobs. In their addresses and in the arguments of data functions, {slot:%Y-%m-%d} is the slot's date, {slot-1d:%Y/%m/%d} that of the day before, and an item {slots:1d*28:%Y-%m-%d} of data.*.uris becomes one address for each of the 28 days that end with the slot's, {slots-1d:1d*28:%Y-%m-%d} for those that end the day before."""

    metadata: Metadata | None = None
    """Labels and annotations of the jobs."""
    spec: dict[str, object]
    """The model to compress or a candidate that is there already, the data, the recipe, and the gates that the result must pass."""


class CompressionScheduleSpec(Spec):
    """When jobs are created, and from which template."""

    schedule: Annotated[str, Field(min_length=1, max_length=253)]
    """Times of the slots as in cron, "minute hour day-of-month month day-of-week", such as "0 2 * * *"; or @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually."""
    time_zone: Annotated[str, Field(max_length=63, pattern='^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$')] = 'UTC'
    """IANA name of the zone that the schedule's times, and the dates in addresses, are of."""
    suspend: bool = False
    """Start no jobs. Slots that pass meanwhile are not caught up; jobs that are going go on."""
    concurrency_policy: Literal['Forbid', 'Allow', 'Replace'] = 'Forbid'
    """What happens at a slot if a job of this schedule is not finished: Forbid skips the slot, Allow starts another job, Replace deletes the unfinished one first."""
    starting_deadline_seconds: Annotated[int, Field(ge=1, le=31536000)] | None = None
    """How late a job may start, for instance because the operator was down. Of several missed slots only the last can start. Default, until the next slot."""
    successful_jobs_history_limit: Annotated[int, Field(ge=0, le=100)] = 3
    """Number of jobs that are kept after they succeeded. A job that a channel's history names is kept beyond it."""
    failed_jobs_history_limit: Annotated[int, Field(ge=0, le=100)] = 1
    """Number of jobs that are kept after they ended otherwise."""
    job_template: JobTemplate
    """The jobs. In their addresses and in the arguments of data functions, {slot:%Y-%m-%d} is the slot's date, {slot-1d:%Y/%m/%d} that of the day before, and an item {slots:1d*28:%Y-%m-%d} of data.*.uris becomes one address for each of the 28 days that end with the slot's, {slots-1d:1d*28:%Y-%m-%d} for those that end the day before."""


class LastSlot(Status):
    """The last slot that was decided."""

    time: str
    """The slot, in UTC."""
    outcome: Literal['Started', 'Skipped']
    """Whether its job was created."""
    reason: str
    """OnTime or Late if it was started; why it was skipped otherwise."""
    message: str | None = None
    """The same in a sentence."""
    job: str | None = None
    """Name of its job."""


class Active(Status):
    """One of them."""

    name: str
    """Its name."""
    uid: str
    """Its UID."""
    slot: str | None = None
    """Its slot."""


class LastSuccess(Status):
    """The job that succeeded last."""

    time: str
    """When it finished."""
    job: str
    """Its name."""
    slot: str | None = None
    """Its slot."""
    verdict: str | None = None
    """What its gates said."""


class LastFinished(Status):
    """The job that finished last, however it ended."""

    time: str
    """When it finished."""
    job: str
    """Its name."""
    phase: str
    """How it ended."""


class CompressionScheduleStatus(Status):
    """Slots and jobs so far; only the operator writes it."""

    observed_generation: int | None = None
    """metadata.generation of the spec that this status is about."""
    conditions: tuple[Condition, ...] = ()
    """Conditions of the schedule, each with its reason: Scheduling (jobs start at its slots), Suspended."""
    starts_after: str | None = None
    """Slots up to this moment are none; it is when the schedule was created, or edited last."""
    last_slot: LastSlot | None = None
    """The last slot that was decided."""
    next_slot: str | None = None
    """The slot to come; absent if none will."""
    active_count: int = 0
    """Number of unfinished jobs."""
    active: tuple[Active, ...] = ()
    """Unfinished jobs, oldest first."""
    last_success: LastSuccess | None = None
    """The job that succeeded last."""
    last_finished: LastFinished | None = None
    """The job that finished last, however it ended."""
