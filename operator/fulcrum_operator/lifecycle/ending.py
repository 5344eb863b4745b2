"""How a job ends, and that it stays ended.

An end has two phases. First the outcome is written, and nothing can change it any more; then the
run is stopped, the finalizer goes, and the job is complete. A crash in between repeats the second.
"""

from __future__ import annotations

from datetime import datetime

from fulcrum_operator.lifecycle.actions import (
    Action,
    Announce,
    Cancel,
    Decision,
    DeleteJob,
    RemoveFinalizer,
    WriteStatus,
)
from fulcrum_operator.lifecycle.editing import Editor
from fulcrum_operator.lifecycle.limits import Limits
from fulcrum_operator.lifecycle.observation import Job, Observed
from fulcrum_operator.lifecycle.queueing import waits
from fulcrum_operator.resources.compressionjob import Outcome, StageStatus
from fulcrum_operator.resources.conditions import cut
from fulcrum_operator.resources.times import seconds_since

MANAGED_BY = "fulcrum.dev/operator"


def end(job: Job, edit: Editor, phase: str, reason: str, message: str) -> Decision:
    """Return the first phase of an end: from here on the outcome is fixed."""
    outcome = Outcome(phase=phase, reason=reason, message=cut(message), time=edit.now)
    edit.set(outcome=outcome, next_attempt_time=None).say(
        job.status.phase or "Pending", f"is ending as {phase}: {message}"
    )
    return Decision((WriteStatus(edit.status, "outcome-written"),))


def deleted(seen: Observed, now: datetime, limits: Limits) -> Decision | None:
    """A deleted job stops its run, then lets go; it does not wait without limit for an engine."""
    job = seen.job
    if job.deleted_at is None:
        return None
    if not job.finalized:
        return Decision()
    if not seen.going and not seen.engine_error:
        return Decision((RemoveFinalizer(),))
    if (now - job.deleted_at).total_seconds() >= limits.cancel_limit_s:
        key = job.status.run.key if job.status.run else "?"
        why = seen.engine_error or "it does not stop"
        message = f"run {key} was left behind: {why}; it is stopped once that is possible"
        return Decision((Announce("OrphanedRun", message, key, warning=True), RemoveFinalizer()))
    return Decision(tuple(Cancel(handle) for handle in seen.runs), after_s=limits.poll_s)


def finished(seen: Observed, now: datetime, limits: Limits) -> Decision | None:
    """A finished job is never touched again, but for its deletion after its time to live."""
    job = seen.job
    if job.status.completion_time is None:
        return None
    if job.finalized:
        return Decision((RemoveFinalizer(),))
    ttl_s = job.spec.ttl_seconds_after_finished
    if ttl_s is None:
        return Decision()
    left_s = ttl_s - seconds_since(job.status.completion_time, now)
    return Decision(after_s=left_s) if left_s > 0 else Decision((DeleteJob(),))


def managed_elsewhere(seen: Observed, now: datetime, limits: Limits) -> Decision | None:
    """Another controller's jobs are left alone."""
    return Decision() if seen.job.spec.managed_by not in (None, MANAGED_BY) else None


def decided_to_end(seen: Observed, now: datetime, limits: Limits) -> Decision | None:
    """The second phase: no run is left, the finalizer goes, and the job says that it is over."""
    job = seen.job
    outcome = job.status.outcome
    if outcome is None:
        return None
    waited_s = seconds_since(outcome.time, now)
    stoppable = seen.going or seen.engine_error
    if stoppable and waited_s < limits.cancel_limit_s:
        return Decision(tuple(Cancel(handle) for handle in seen.runs), after_s=limits.poll_s)
    actions: list[Action] = []
    if stoppable:
        key = job.status.run.key if job.status.run else "?"
        why = seen.engine_error or "it does not stop"
        message = f"run {key} was left behind: {why}; it is stopped once that is possible"
        actions.append(Announce("OrphanedRun", message, key, warning=True))
    good = outcome.phase == "Succeeded"
    actions.append(Announce(outcome.phase, outcome.message, warning=not good))
    if job.finalized:
        actions.append(RemoveFinalizer())
    edit = Editor(job, now).say(outcome.phase, outcome.message)
    edit.set(completion_time=edit.now, stage=None if good else job.status.stage)
    edit.set(stages=tuple(_over(stage, edit.now) for stage in job.status.stages))
    edit.condition("Progressing", "False", "Finished")
    kind = "Complete" if good else "Failed"
    reason = outcome.reason if outcome.phase in ("Succeeded", "Failed") else outcome.phase
    edit.condition(kind, "True", reason, outcome.message)
    actions.append(WriteStatus(edit.status, "terminal-set"))
    return Decision(tuple(actions))


def _over(stage: StageStatus, now: str) -> StageStatus:
    """Return `stage` of a job that is over: what was still running was stopped with it."""
    if stage.state != "Running":
        return stage
    changes = {"state": "Failed", "end_time": now, "message": "stopped with its job"}
    return stage.model_copy(update=changes)


def snapshot_changed(seen: Observed, now: datetime, limits: Limits) -> Decision | None:
    """A job decides by what it started with; without that it cannot decide."""
    job = seen.job
    on_file = job.status.snapshot
    if on_file is None or job.status.verdict is not None:
        return None
    if seen.snapshot is not None and seen.snapshot.digest == on_file.digest:
        return None
    what = "is gone" if seen.snapshot is None else "has another content"
    message = f"ConfigMap {on_file.name}, with what the job started with, {what}"
    return end(job, Editor(job, now), "Failed", "SnapshotLost", message)


def over_deadline(seen: Observed, now: datetime, limits: Limits) -> Decision | None:
    """Time runs from the first attempt, or from when the job was resumed; not in a queue."""
    job = seen.job
    limit_s, since = job.spec.active_deadline_seconds, job.status.active_since
    if limit_s is None or since is None or job.status.verdict is not None:
        return None
    if waits(job.status) or seconds_since(since, now) < limit_s:
        return None
    if seen.run is not None and seen.run.state == "Succeeded":  # in the last moment
        return None
    message = f"the job ran longer than spec.activeDeadlineSeconds, {limit_s} s, and was stopped"
    return end(job, Editor(job, now), "Failed", "DeadlineExceeded", message)
