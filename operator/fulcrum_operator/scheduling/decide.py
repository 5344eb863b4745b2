"""One decision about a schedule: start the job of the slot that is due, skip it, or wait.

Of the slots that are due only the last counts. Its job's name follows from the slot, and the job is
created before the status says so: a process that ends in between leaves a job that the next finds.
Nothing is started for a slot that the status has, so each has at most one job, and a skipped one
none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal

from fulcrum_operator.lifecycle.actions import Announce
from fulcrum_operator.resources.compressionschedule import (
    Active,
    CompressionScheduleStatus,
    LastFinished,
    LastSlot,
    LastSuccess,
)
from fulcrum_operator.resources.conditions import cut, with_condition
from fulcrum_operator.resources.names import ConditionStatus, SkipReason
from fulcrum_operator.resources.times import read_time, write_time
from fulcrum_operator.scheduling.children import beyond_limits, job_of, name_of
from fulcrum_operator.scheduling.cron import COUNTED, Cron, Due, ScheduleError, parse
from fulcrum_operator.scheduling.inputs import (
    Child,
    Refused,
    Schedule,
    ScheduleDecision,
    ScheduleSeen,
    SlotOutcome,
    Start,
)
from fulcrum_operator.scheduling.placeholders import PlaceholderError

LONGEST_WAIT_S: Final = 300.0
"""Until the next look. The machine's clock may be set meanwhile, which no timer notices."""
RETRY_S: Final = 30.0
"""Before a job that was refused is tried again."""
ON_TIME: Final = timedelta(seconds=60)
"""A job that starts later is called late."""
AHEAD: Final = timedelta(hours=1)
"""A slot that was decided so far in the future means that the clock was wrong then."""
SHOWN: Final = 100
"""Unfinished jobs in the status; the number counts all."""


@dataclass(frozen=True)
class _Slot:
    """The decision about the slot that is due, or about none."""

    last: LastSlot | None = None
    announce: tuple[Announce, ...] = ()
    waits: Refused | None = None
    start: Start | None = None
    delete: tuple[Child, ...] = ()
    slots: tuple[SlotOutcome, ...] = ()


def decide(seen: ScheduleSeen, now: datetime) -> ScheduleDecision:
    """Return what to do for a schedule that was observed as `seen` at `now`."""
    schedule = seen.schedule
    if schedule.is_deleted:
        return ScheduleDecision()
    try:
        cron = parse(schedule.spec.schedule, schedule.spec.time_zone)
    except ScheduleError as error:
        return _without_slots(seen, error.reason, str(error), now)
    start = _starts_after(schedule, now)
    last = schedule.status.last_slot
    decided = max(start, read_time(last.time)) if last else start
    due = cron.due(decided, now)
    slot = _Slot() if due is None else _slot(seen, cron, due, now)
    if due is not None and slot.waits is None:
        decided = due.last
    return _decision(seen, cron, start, decided, slot, now)


def _decision(
    seen: ScheduleSeen,
    cron: Cron,
    start: datetime,
    decided: datetime,
    slot: _Slot,
    now: datetime,
) -> ScheduleDecision:
    """Return the decision, once it is known what becomes of `slot`.

    Args:
        seen: The schedule and its jobs.
        cron: Its slots.
        start: The moment up to which no slot counts.
        decided: The last slot that is decided, or `start`.
        slot: What becomes of the slot that is due.
        now: The time.
    """
    schedule = seen.schedule
    upcoming = cron.next(max(now, decided))
    scheduling = _scheduling(schedule, upcoming, decided, slot.waits, now)
    status = _status(seen, scheduling, now).model_copy(
        update={
            "starts_after": write_time(start),
            "next_slot": write_time(upcoming) if upcoming else None,
            "last_slot": slot.last or schedule.status.last_slot,
        }
    )
    wait_s = LONGEST_WAIT_S if slot.waits is None else RETRY_S
    if upcoming is not None:
        wait_s = min((upcoming - now).total_seconds(), wait_s)
    gone = beyond_limits(schedule, seen.children, seen.pinned)
    return ScheduleDecision(
        delete=(*slot.delete, *gone),
        start=slot.start,
        announce=slot.announce,
        status=None if status == schedule.status else status,
        slots=slot.slots,
        after_s=max(wait_s, 0.0),
    )


def _without_slots(
    seen: ScheduleSeen, reason: str, message: str, now: datetime
) -> ScheduleDecision:
    """Return the decision about a schedule that names no times: say so, and keep its jobs tidy."""
    schedule = seen.schedule
    status = _status(seen, ("False", reason, message), now).model_copy(
        update={"starts_after": write_time(_starts_after(schedule, now)), "next_slot": None}
    )
    changed = status != schedule.status
    event = Announce("NotScheduling", message, f"{schedule.generation} {reason}", warning=True)
    return ScheduleDecision(
        delete=beyond_limits(schedule, seen.children, seen.pinned),
        announce=(event,) if changed else (),
        status=status if changed else None,
    )


def _starts_after(schedule: Schedule, now: datetime) -> datetime:
    """Return the moment up to which no slot counts.

    A slot from before the last edit belongs to a schedule that is no more, or that was suspended.
    """
    status = schedule.status
    if status.starts_after is None:
        return schedule.created
    before = read_time(status.starts_after)
    if status.observed_generation == schedule.generation:
        return before
    return max(before, schedule.edited or now)


def _slot(seen: ScheduleSeen, cron: Cron, due: Due, now: datetime) -> _Slot:
    """Return what becomes of the slot that is due."""
    schedule, spec = seen.schedule, seen.schedule.spec
    missed = (SlotOutcome("Missed", due.before),) if due.before else ()
    name = name_of(schedule.name, due.last)
    late = now - due.last
    refused = seen.refused if seen.refused and seen.refused.slot == due.last else None
    if any(child.name == name for child in seen.children):
        return _started(due, name, late, missed)
    if spec.suspend:
        return _skipped(due, "Suspended", "the schedule is suspended", missed)
    deadline = spec.starting_deadline_seconds
    if deadline is not None and late > timedelta(seconds=deadline):
        waited = _waited(schedule, due)
        reason: SkipReason = "JobRefused" if waited else "MissedDeadline"
        why = waited or f"it is {late.total_seconds():.0f} s late"
        return _skipped(due, reason, f"{why}; startingDeadlineSeconds is {deadline}", missed)
    if refused is not None:
        if refused.is_final:
            return _skipped(due, refused.reason, refused.message, missed)
        text = f"slot {write_time(refused.slot)} waits: {refused.message}"
        event = Announce("SlotDelayed", text, write_time(refused.slot), warning=True)
        return _Slot(announce=(event,), waits=refused)
    going = tuple(child for child in seen.children if child.finished is None)
    if going and spec.concurrency_policy == "Forbid":
        names = ", ".join(child.name for child in going[:3])
        message = f"{names} {'is' if len(going) == 1 else 'are'} not finished"
        return _skipped(due, "StillRunning", message, missed)
    try:
        body = job_of(schedule, cron, due.last)
    except PlaceholderError as error:
        return _skipped(due, "InvalidTemplate", str(error), missed)
    replaced = going if spec.concurrency_policy == "Replace" else ()
    return replace(
        _started(due, name, late, missed),
        start=Start(name, due.last, body),
        delete=tuple(child for child in replaced if not child.is_deleted),
    )


def _started(due: Due, name: str, late: timedelta, missed: tuple[SlotOutcome, ...]) -> _Slot:
    reason = "OnTime" if late <= ON_TIME else "Late"
    message = f"created job {name} for slot {write_time(due.last)}{_before(due)}"
    return _Slot(
        _last(due, "Started", reason, message, name),
        (Announce("SlotStarted", message, write_time(due.last)),),
        slots=(*missed, SlotOutcome(reason, 1, late.total_seconds())),
    )


def _skipped(due: Due, reason: SkipReason, why: str, missed: tuple[SlotOutcome, ...]) -> _Slot:
    message = f"no job for slot {write_time(due.last)}: {why}{_before(due)}"
    event = Announce("SlotSkipped", message, write_time(due.last), warning=True)
    return _Slot(
        _last(due, "Skipped", reason, message, None),
        () if reason == "Suspended" else (event,),
        slots=(*missed, SlotOutcome(reason)),
    )


def _last(
    due: Due, outcome: Literal["Started", "Skipped"], reason: str, message: str, job: str | None
) -> LastSlot:
    time = write_time(due.last)
    return LastSlot(time=time, outcome=outcome, reason=reason, message=cut(message), job=job)


def _before(due: Due) -> str:
    """Return what is said of the slots before the last one."""
    if not due.before:
        return ""
    count = f"{due.before} earlier slots have" if due.before > 1 else "an earlier slot has"
    return f"; {'at least ' if due.before == COUNTED else ''}{count} none, and none is caught up"


def _waited(schedule: Schedule, due: Due) -> str:
    """Return what the API server said when the slot's job was tried before; empty if it was not."""
    for each in schedule.status.conditions:
        start, _, why = each.message.partition(": ")
        if each.reason == "JobRefused" and start == f"slot {write_time(due.last)}":
            return why
    return ""


def _scheduling(
    schedule: Schedule,
    upcoming: datetime | None,
    decided: datetime,
    waits: Refused | None,
    now: datetime,
) -> tuple[ConditionStatus, str, str]:
    """Return the state of the condition Scheduling."""
    if waits is not None:
        return "False", waits.reason, f"slot {write_time(waits.slot)}: {waits.message}"
    if schedule.spec.suspend:
        return "False", "Suspended", "spec.suspend is true"
    if decided > now + AHEAD:
        return (
            "False",
            "ClockBehind",
            f"the clock shows {write_time(now)}, and slot {write_time(decided)} was decided "
            "already; no job starts before that time. Create the schedule again to start over",
        )
    if upcoming is None:
        return "False", "NeverFires", "no slot is to come"
    return "True", "Scheduled", "jobs are created at its slots"


def _status(
    seen: ScheduleSeen, scheduling: tuple[ConditionStatus, str, str], now: datetime
) -> CompressionScheduleStatus:
    """Return the status with its conditions, and what the jobs say."""
    schedule = seen.schedule
    suspended: tuple[ConditionStatus, str, str] = (
        ("True", "Suspended", "spec.suspend is true; no job starts")
        if schedule.spec.suspend
        else ("False", "NotSuspended", "spec.suspend is false")
    )
    conditions = schedule.status.conditions
    for kind, (state, reason, message) in (("Scheduling", scheduling), ("Suspended", suspended)):
        conditions = with_condition(
            conditions,
            *(kind, state, reason, message),
            generation=schedule.generation,
            now=write_time(now),
        )
    going = sorted(
        (child for child in seen.children if child.finished is None),
        key=lambda child: (child.slot or schedule.created, child.name),
    )
    return schedule.status.model_copy(
        update={
            "observed_generation": schedule.generation,
            "conditions": conditions,
            "active_count": len(going),
            "active": tuple(
                Active(name=child.name, uid=child.uid, slot=_time(child.slot))
                for child in going[:SHOWN]
            ),
            **_ends(schedule.status, seen.children),
        }
    )


def _ends(
    status: CompressionScheduleStatus, children: tuple[Child, ...]
) -> dict[str, LastSuccess | LastFinished]:
    """Return the last ends among the jobs, if they are later than those in the status."""
    found: dict[str, LastSuccess | LastFinished] = {}
    ended = [(child.finished, child.name, child) for child in children if child.finished]
    good = [each for each in ended if each[2].phase == "Succeeded"]
    if ended:
        time, _, child = max(ended)
        before = status.last_finished
        if before is None or read_time(before.time) < time:
            found["last_finished"] = LastFinished(
                time=write_time(time), job=child.name, phase=child.phase
            )
    if good:
        time, _, child = max(good)
        success = status.last_success
        if success is None or read_time(success.time) < time:
            found["last_success"] = LastSuccess(
                time=write_time(time),
                job=child.name,
                slot=_time(child.slot),
                verdict=child.verdict,
            )
    return found


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else write_time(moment)
