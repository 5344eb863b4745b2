"""From a manifest to a run at an engine: store each step before the next one starts.

The order is: snapshot, finalizer, key, submission, reference. After a crash between any two of
them, the stored state gives the next step, and a run is looked for before it is submitted.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from fulcrum_operator.lifecycle.actions import (
    Action,
    AddFinalizer,
    Announce,
    Cancel,
    CreateSnapshot,
    Decision,
    RemoveFinalizer,
    Submit,
    WriteStatus,
)
from fulcrum_operator.lifecycle.editing import Editor, condition_is
from fulcrum_operator.lifecycle.limits import Limits
from fulcrum_operator.lifecycle.observation import Job, Observed, Refusal, Snapshot
from fulcrum_operator.lifecycle.queueing import leave_queue
from fulcrum_operator.resources import compressionjob as resource
from fulcrum_operator.resources.times import read_time
from fulcrum_pipelines.contract import Plan, digest_of, to_json


def plan_of(job: Job, snapshot: Snapshot, attempt: int, version: str) -> Plan:
    """Return the plan of an attempt; its `run` is the write-ahead key."""
    return Plan(
        name=job.name,
        namespace=job.namespace,
        uid=job.uid,
        attempt=attempt,
        spec=snapshot.spec,
        fulcrum_version=version,
        remeasure=job.remeasure,
    )


def refused(seen: Observed, now: datetime, limits: Limits) -> Decision | None:
    """A job without a snapshot that cannot start says why, and waits for that to change."""
    if seen.job.status.snapshot is not None or not isinstance(seen.resolution, Refusal):
        return None
    if seen.snapshot is not None:  # it was accepted, and the operator died before it said so
        return None
    reason, message = seen.resolution.reason, seen.resolution.message
    edit = Editor(seen.job, now).say("Pending", message).set(stage=None)
    status = edit.condition("Accepted", "False", reason, message).status
    if status == seen.job.status:
        return Decision()
    transition = f"{seen.job.generation} {reason}"
    warn = Announce("NotAccepted", f"{reason}: {message}", transition, warning=True)
    return Decision((warn, WriteStatus(status, "refused")))


def suspended(seen: Observed, now: datetime, limits: Limits) -> Decision | None:
    """A suspended job has no run; one that has already succeeded is kept for when it goes on."""
    job = seen.job
    if not job.spec.suspend:
        return None
    if seen.engine_error:
        return Decision(after_s=limits.poll_s)
    if seen.going:
        return Decision(tuple(Cancel(handle) for handle in seen.runs), after_s=limits.poll_s)
    succeeded = seen.run is not None and seen.run.state == "Succeeded"
    done = succeeded or job.status.verdict is not None
    message = "spec.suspend is true; its run was stopped" if job.status.attempt else "spec.suspend"
    edit = Editor(job, now).say("Suspended", message).set(active_since=None)
    edit.condition("Suspended", "True", "Suspended", message)
    edit.condition("Progressing", "False", "Suspended", message)
    if not done:
        leave_queue(edit).set(run=None, stage=None, next_attempt_time=None)
    actions: tuple[Action, ...] = (RemoveFinalizer(),) if job.finalized else ()
    if edit.status != job.status:
        actions += (
            Announce("Suspended", message, f"{job.generation}"),
            WriteStatus(edit.status, "suspended"),
        )
    return Decision(actions)


def without_snapshot(seen: Observed, now: datetime, limits: Limits) -> Decision | None:
    """Store the resolved inputs of a job, so that later edits of templates never reach it."""
    if seen.job.status.snapshot is not None or seen.snapshot is not None:
        return None
    if seen.resolution is None or isinstance(seen.resolution, Refusal):
        return Decision()
    return Decision((CreateSnapshot(seen.resolution.spec, seen.resolution.sources),))


def backing_off(seen: Observed, now: datetime, limits: Limits) -> Decision | None:
    """After a fault the next attempt waits for its time."""
    status = seen.job.status
    if status.run is not None or status.next_attempt_time is None:
        return None
    wait_s = (read_time(status.next_attempt_time) - now) / timedelta(seconds=1)
    return Decision(after_s=wait_s) if wait_s > 0 else None


def without_key(seen: Observed, now: datetime, limits: Limits) -> Decision | None:
    """The key of the next attempt is written before anything is submitted under it."""
    job, snapshot = seen.job, seen.snapshot
    if job.status.run is not None or job.status.verdict is not None or snapshot is None:
        return None
    edit = _accepted(Editor(job, now), job, snapshot)
    if not seen.slot:
        message = f"waits until engine {job.spec.engine} has room"
        edit.say("Pending", message).condition("Progressing", "False", "WaitingForEngine", message)
        write = WriteStatus(edit.status, "waiting")
        return Decision((write,) if edit.status != job.status else ())
    attempt = job.status.attempt + 1
    plan = plan_of(job, snapshot, attempt, limits.version)
    if condition_is(job.status, "Suspended", "True"):
        edit.condition("Suspended", "False", "Resumed")
    edit.say("Pending", f"attempt {attempt} is being submitted to engine {job.spec.engine}")
    edit.condition("Submitted", "False", "Submitting")
    edit.condition("Progressing", "True", "Submitting")
    edit.set(
        attempt=attempt,
        run=resource.AttemptStatus(
            key=plan.run,
            plan=digest_of(to_json(plan)),
            engine=job.spec.engine,
            start_time=edit.now,
        ),
        active_since=job.status.active_since or edit.now,
        next_attempt_time=None,
        stages=(),
        stage=None,
    )
    finalizer: tuple[Action, ...] = () if job.finalized else (AddFinalizer(),)
    return Decision((*finalizer, WriteStatus(edit.status, "key-written")))


def _accepted(edit: Editor, job: Job, snapshot: Snapshot) -> Editor:
    edit.condition("Accepted", "True", "Accepted")
    edit.condition("Snapshotted", "True", "Snapshotted", f"ConfigMap {job.snapshot_name}")
    if job.status.snapshot is None:
        on_file = resource.SnapshotReference(
            name=job.snapshot_name, digest=snapshot.digest, **snapshot.sources
        )
        edit.set(snapshot=on_file, start_time=job.status.start_time or edit.now)
    return edit


def not_submitted(seen: Observed, now: datetime, limits: Limits) -> Decision | None:
    """A key without a run is submitted; a newer Fulcrum makes another plan, written down first."""
    job, snapshot = seen.job, seen.snapshot
    run = job.status.run
    if run is None or run.reference is not None or seen.runs or snapshot is None:
        return None
    if seen.engine_error:
        return _unreachable(seen, now, limits)
    plan = plan_of(job, snapshot, max(job.status.attempt, 1), limits.version)
    digest = digest_of(to_json(plan))
    if digest != run.plan:
        edit = Editor(job, now).set(run=run.model_copy(update={"plan": digest}))
        return Decision((WriteStatus(edit.status, "key-written"),))
    if not job.finalized:
        return Decision((AddFinalizer(),))
    # Its first progress is written together with the engine's name of it: one write less a job.
    return Decision((*_refused_before(seen, now), Submit(plan)), after_s=limits.poll_s)


def _refused_before(seen: Observed, now: datetime) -> tuple[WriteStatus, ...]:
    """Report a quota or a policy that keeps a run from being made, until it is changed."""
    if not seen.submit_error:
        return ()
    job = seen.job
    message = f"attempt {job.status.attempt} cannot be submitted yet: {seen.submit_error}"
    edit = Editor(job, now).say("Pending", message)
    status = edit.condition("Submitted", "False", "SubmissionFailed", message).status
    return (WriteStatus(status, "not-submitted"),) if status != job.status else ()


def _unreachable(seen: Observed, now: datetime, limits: Limits) -> Decision:
    message = f"engine {seen.job.spec.engine} does not answer: {seen.engine_error}"
    edit = Editor(seen.job, now).say("Pending", message)
    status = edit.condition("Submitted", "False", "EngineUnreachable", message).status
    write = (WriteStatus(status, "unreachable"),) if status != seen.job.status else ()
    return Decision(write, after_s=limits.poll_s)
