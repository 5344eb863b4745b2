"""A run at an engine: its progress in status, and what its end means."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from fulcrum_operator.lifecycle.actions import Announce, Cancel, Decision, SetDeadline, WriteStatus
from fulcrum_operator.lifecycle.editing import Editor
from fulcrum_operator.lifecycle.ending import end
from fulcrum_operator.lifecycle.limits import Limits
from fulcrum_operator.lifecycle.observation import Job, Observed
from fulcrum_operator.lifecycle.queueing import leave_queue, mirror_queue, waits
from fulcrum_operator.resources.compressionjob import StageStatus
from fulcrum_operator.resources.conditions import cut
from fulcrum_operator.resources.times import read_time, seconds_since, write_time
from fulcrum_pipelines.contract import STAGES
from fulcrum_pipelines.states import RunStatus, StageState

EVIDENCE = "evidence"
"""The class of a run that ended without evidence, or with some that cannot be read."""
WITHOUT_EVIDENCE = ("NoEvidence", "EvidenceUnreadable")
STEPS = 10
"""A stage's fraction is mirrored in so many steps, which bounds how often status is written."""
REASON = {"user": "InvalidInput", "deadline": "DeadlineExceeded", "quality": "ToleranceExceeded"}
STAGE_MESSAGE_LIMIT = 1024


def found_twice(seen: Observed, now: datetime, limits: Limits) -> Decision | None:
    """Of several runs under one key the oldest stays; the others are stopped and reported."""
    if len(seen.runs) < 2 or seen.engine_error:
        return None
    others = seen.runs[1:]
    named = ", ".join(handle.reference for handle in others)
    message = f"more than one run had the key {seen.runs[0].key}; {named} were stopped"
    warn = Announce("DuplicateRun", message, named, warning=True)
    return Decision((*(Cancel(handle) for handle in others), warn), after_s=limits.poll_s)


def not_recorded(seen: Observed, now: datetime, limits: Limits) -> Decision | None:
    """The engine's name of a run is written once it is known, after whichever crash."""
    job = seen.job
    run = job.status.run
    if run is None or run.reference is not None or not seen.runs:
        return None
    message = f"attempt {job.status.attempt} runs as {seen.runs[0].reference}"
    edit = Editor(job, now).say("Running", message)
    found = {"reference": seen.runs[0].reference, "url": seen.runs[0].url or None}
    edit.set(run=run.model_copy(update=found))
    edit.condition("Submitted", "True", "Submitted", f"engine {run.engine}, run {run.key}")
    edit.condition("Progressing", "True", "Running")
    mirror_stages(edit, seen)
    mirror_queue(edit, seen.run)
    announce = Announce("Submitted", message, run.key)
    return Decision((announce, WriteStatus(edit.status, "id-recorded")))


def going(seen: Observed, now: datetime, limits: Limits) -> Decision | None:
    """Progress is mirrored; an engine that knows nothing of the run has some time to find it."""
    job, run = seen.job, seen.run
    if job.status.run is None or job.status.run.reference is None:
        return None
    if job.status.verdict is not None or (run is not None and run.finished):
        return None
    silent = seen.engine_error or not seen.runs or run is None or run.state == "Unknown"
    edit = Editor(job, now)
    since = job.status.run.silent_since
    if silent:
        since = since or edit.now
        if seconds_since(since, now) >= limits.engine_silence_s:
            return _lost(seen, now, limits)
    else:
        since = None
    edit.set(run=job.status.run.model_copy(update={"silent_since": since}))
    mirror_stages(edit, seen)
    phase = "Pending" if waits(job.status) else "Running"
    if since is not None:
        reason = seen.engine_error or "it does not know the run"
        edit.say(phase, f"engine {job.spec.engine} is silent since {since}: {reason}")
    elif run is not None and run.message:  # why it waits, for instance for a node
        edit.say(phase, run.message)
    write = (WriteStatus(edit.status, "progress"),) if edit.status != job.status else ()
    return Decision((*write, *_changed_deadline(seen)), after_s=limits.poll_s)


def _changed_deadline(seen: Observed) -> tuple[SetDeadline, ...]:
    """Keep an engine that watches the time too from ending by what was set before an edit."""
    wanted = seen.job.spec.active_deadline_seconds
    if seen.run is None or seen.run.deadline_s in (None, wanted):
        return ()
    return (SetDeadline(seen.runs[0], wanted),)


def failed(seen: Observed, now: datetime, limits: Limits) -> Decision | None:
    """A run that ended without success is tried again while the budget of its class lasts.

    After a verdict the engine's word counts no more: it may have lost what it knew of the run.
    """
    run, status = seen.run, seen.job.status
    if run is None or status.run is None or status.verdict is not None:
        return None
    if run.state not in ("Failed", "Cancelled"):
        return None
    return try_again(seen, run, now, limits)


def _lost(seen: Observed, now: datetime, limits: Limits) -> Decision:
    message = f"nothing was heard of the run for {limits.engine_silence_s:g} s"
    if seen.engine_error:
        message = f"{message}: {seen.engine_error}"
    return try_again(
        seen, RunStatus("Failed", "EngineLost", message, "infrastructure"), now, limits
    )


def try_again(seen: Observed, run: RunStatus, now: datetime, limits: Limits) -> Decision:
    """Return the next attempt after the failure `run`, or the end where its budget is spent."""
    job = seen.job
    kind = failure_kind(run)
    failures = dict(job.status.failures)
    failures[kind] = failures.get(kind, 0) + 1
    edit = Editor(job, now).set(failures=failures)
    mirror_stages(edit, seen)
    message = run.message or run.reason
    if failures[kind] > budgets(job, limits).get(kind, 0):
        reason = REASON.get(kind, "StageFailed")
        if failures[kind] > 1:
            reason = "BackoffLimitExceeded"
            message = f"{message} (after {failures[kind]} failures of class {kind})"
        return end(job, edit, "Failed", reason, message)
    at = now + timedelta(seconds=limits.backoff_s(failures[kind]))
    text = f"attempt {job.status.attempt} failed and is tried again: {message}"
    edit.set(run=None, next_attempt_time=write_time(at), stage=None)
    leave_queue(edit).say("Pending", text).condition("Submitted", "False", "Retrying", text)
    edit.condition("Progressing", "True", "Retrying", text)
    warn = Announce("Retrying", text, str(job.status.attempt), warning=True)
    return Decision((warn, WriteStatus(edit.status, "retrying")))


def failure_kind(run: RunStatus) -> str:
    """Return the class whose budget the failure `run` counts against."""
    if run.reason in WITHOUT_EVIDENCE:
        return EVIDENCE
    if run.state == "Cancelled":  # by others: runs that we cancel do not come here
        return "infrastructure"
    return run.failure_class or "internal"


def budgets(job: Job, limits: Limits) -> dict[str, int]:
    """Return how many failures of each class are followed by another attempt; none of others."""
    most = job.spec.backoff_limit
    return {"infrastructure": most, EVIDENCE: min(limits.evidence_retries, most)}


def mirror_stages(edit: Editor, seen: Observed) -> None:
    """Copy the stages as the store has them into status, with the one that is running."""
    if not seen.stages:
        return
    attempt = seen.job.status.attempt
    stages = tuple(_stage(state, attempt, seen.headlines) for state in seen.stages)
    edit.set(stages=stages)
    current = next((each for each in reversed(stages) if each.state == "Running"), None)
    text = _short(current) if current else stages[-1].name
    edit.set(stage=text)
    if current is not None:
        done = len([each for each in stages if each.state == "Succeeded"])
        edit.say("Running", f"attempt {attempt}: stage {text}, {done} of {_total(seen)} done")


def _total(seen: Observed) -> int:
    """Return how many stages the job has."""
    if seen.snapshot is None:
        return len(STAGES)
    return len(seen.snapshot.spec.stages)


def _short(stage: StageStatus) -> str:
    return stage.name if stage.fraction is None else f"{stage.name} {stage.fraction:.0%}"


def _stage(
    state: StageState, attempt: int, headlines: Mapping[str, Mapping[str, str]]
) -> StageStatus:
    fraction = None if state.fraction is None else int(state.fraction * STEPS) / STEPS
    return StageStatus(
        name=state.stage,
        state=state.state,
        attempt=attempt,
        start_time=write_time(read_time(state.started_at)),
        end_time=write_time(read_time(state.finished_at)) if state.finished_at else None,
        reason=state.failure_class,
        message=cut(state.message, STAGE_MESSAGE_LIMIT) if state.state == "Failed" else None,
        fraction=fraction,
        cached=state.cached or None,
        metrics=dict(headlines.get(state.stage, {})),
    )
