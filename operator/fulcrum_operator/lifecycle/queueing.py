"""Mirror the decisions of a cluster's queue, such as Kueue's, about a submitted run.

A run that waits there has not started, or no longer works: the job is pending, with the queue's own
words as the reason. Waiting costs neither an attempt nor the job's time, since how long it takes is
up to others.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from fulcrum_operator.lifecycle.actions import Decision, WriteStatus
from fulcrum_operator.lifecycle.editing import Editor, condition_is
from fulcrum_operator.lifecycle.limits import Limits
from fulcrum_operator.lifecycle.observation import Observed
from fulcrum_operator.resources.compressionjob import CompressionJobStatus
from fulcrum_operator.resources.times import read_time, write_time
from fulcrum_pipelines.states import RunStatus

QUOTA = "QuotaReserved"


def waits(status: CompressionJobStatus) -> bool:
    """Return whether the job's run stands in a queue, as far as is written."""
    return condition_is(status, QUOTA, "False")


def queue_spoke(seen: Observed, now: datetime, limits: Limits) -> Decision | None:
    """Write the state of the queue before it has effects, such as on a deadline."""
    job = seen.job
    if job.status.run is None or job.status.run.reference is None or job.status.verdict is not None:
        return None
    edit = mirror_queue(Editor(job, now), seen.run)
    return Decision((WriteStatus(edit.status, "queue"),)) if edit.status != job.status else None


def mirror_queue(edit: Editor, run: RunStatus | None) -> Editor:
    """Write the state of the queue of `run`, if it is in one."""
    if run is None or run.quota_reserved is None:
        return edit
    if not run.quota_reserved:
        edit.condition(QUOTA, "False", run.reason, run.message).say("Pending", run.message)
        return edit.condition("Progressing", "False", "WaitsInQueue", run.message)
    if condition_is(edit.status, QUOTA, "True"):
        return edit
    if waits(edit.status):
        _resume_clock(edit)
        edit.say("Running", f"attempt {edit.status.attempt}: its queue has let it start")
        edit.condition("Progressing", "True", "Running")
    return edit.condition(QUOTA, "True", QUOTA)


def leave_queue(edit: Editor) -> Editor:
    """Remove the queue's state of a run that has ended."""
    if waits(edit.status):
        _resume_clock(edit)
    others = tuple(each for each in edit.status.conditions if each.type != QUOTA)
    return edit.set(conditions=others)


def _resume_clock(edit: Editor) -> None:
    """Add what the run has waited to the moment from which the job's time counts."""
    active_since = edit.status.active_since
    if active_since is None:
        return
    (condition,) = (each for each in edit.status.conditions if each.type == QUOTA)
    start, now = read_time(active_since), read_time(edit.now)
    waited = now - max(start, read_time(condition.last_transition_time))
    edit.set(active_since=write_time(start + max(waited, timedelta(0))))
