"""From evidence to a verdict, and from a verdict to a channel.

The engine's word that a run succeeded decides nothing: what the gates say of the evidence does.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fulcrum_operator.lifecycle.actions import (
    Action,
    Announce,
    CreatePromotion,
    Decision,
    RemoveFinalizer,
    WriteStatus,
)
from fulcrum_operator.lifecycle.editing import Editor
from fulcrum_operator.lifecycle.ending import end
from fulcrum_operator.lifecycle.limits import Limits
from fulcrum_operator.lifecycle.observation import Job, NoReport, Observed
from fulcrum_operator.lifecycle.running import mirror_stages, try_again
from fulcrum_operator.lifecycle.summary import describe_gates, describe_results, summarise
from fulcrum_operator.resources import compressionjob as resource
from fulcrum_operator.resources.names import EventReason, Phase
from fulcrum_operator.resources.times import seconds_since
from fulcrum_pipelines.gates.assessment import Assessment, NoAssessment
from fulcrum_pipelines.states import RunStatus

OUTCOMES = {
    "Fail": ("Rejected", "GatesFailed"),
    "Anomalous": ("Inconclusive", "Anomalous"),
    "Inconclusive": ("Inconclusive", "Undecided"),
}
HELD = "ChannelHeld"
"""The reason of a refusal that is no fault of the job's: a person decides what comes next."""

REPORT_LIMIT_S = 60.0
"""How long after its verdict a job waits for a store that does not take its report. A server is
restarted in less; a promotion reads the store too, so it would hardly be earlier."""


def not_judged(seen: Observed, now: datetime, limits: Limits) -> Decision | None:
    """The verdict over a run's evidence is written once; unreadable evidence is a fault."""
    if seen.job.status.verdict is not None or seen.assessment is None:
        return None
    if isinstance(seen.assessment, NoAssessment):
        message, kind = seen.assessment.message, seen.assessment.failure_class
        failure = RunStatus("Failed", "EvidenceUnreadable", message, kind)
        return try_again(seen, failure, now, limits)
    return _judge(seen, seen.assessment, Editor(seen.job, now))


def _judge(seen: Observed, found: Assessment, edit: Editor) -> Decision:
    verdict, results = found.verdict, describe_results(found.evidence, found.verdict)
    why = "; ".join((*verdict.reasons, *(f"note: {caveat}" for caveat in verdict.caveats)))
    mirror_stages(edit, seen)
    edit.say("Evaluating", f"{verdict.outcome}: {why}")
    edit.condition("Evaluated", "True", verdict.outcome, why)
    edit.condition("Progressing", "True", "Evaluated")
    edit.set(
        verdict=verdict.outcome,
        gates=describe_gates(verdict),
        results=results,
        summary=summarise(results),
        evidence=resource.EvidenceReference(uri=found.evidence_uri, digest=found.evidence_digest),
        candidate=resource.CandidateStatus(
            digest=found.candidate_digest,
            uri=found.candidate_uri,
            size_bytes=found.candidate_bytes,
        ),
        stage=None,
    )
    announce = Announce(
        "Evaluated",
        f"{verdict.outcome}: {why}",
        str(seen.job.status.attempt),
        warning=verdict.outcome != "Pass",
    )
    return Decision((announce, WriteStatus(edit.status, "verdict-written")))


def not_reported(seen: Observed, now: datetime, limits: Limits) -> Decision | None:
    """The report's address is written once; a report that cannot be made changes nothing else."""
    job, made = seen.job, seen.report
    if job.status.verdict is None or made is None:
        return None
    edit = Editor(job, now)
    if not isinstance(made, NoReport):
        edit.set(report=made.uri).condition("Reported", "True", "Reported")
        return Decision((WriteStatus(edit.status, "report-written"),))
    judged = (each for each in job.status.conditions if each.type == "Evaluated")
    recent = any(seconds_since(each.last_transition_time, now) < REPORT_LIMIT_S for each in judged)
    if made.retryable and recent:
        return Decision(after_s=limits.poll_s)
    message = f"no report: {made.message}; try: fulcrum report {job.name} -n {job.namespace}"
    edit.condition("Reported", "False", "ReportFailed", message)
    announce = Announce("ReportFailed", message, str(job.status.attempt), warning=True)
    return Decision((announce, WriteStatus(edit.status, "report-failed")))


def without_promotion(seen: Observed, now: datetime, limits: Limits) -> Decision | None:
    """End jobs that do not pass, and passes without a promotion."""
    job = seen.job
    if job.status.verdict is None:
        return None
    if job.finalized and not seen.going:
        return Decision((RemoveFinalizer(),))
    edit = Editor(job, now)
    why = next((each.message for each in job.status.conditions if each.type == "Evaluated"), "")
    if job.status.verdict != "Pass":
        phase, reason = OUTCOMES[job.status.verdict]
        edit.condition("Promoted", "False", reason, "only a Pass is promoted by itself")
        return end(job, edit, phase, reason, why)
    if job.spec.promotion is None:
        edit.condition("Promoted", "False", "NotAsked", "spec.promotion names no channel")
        return end(job, edit, "Succeeded", "Passed", why)
    return None


def promoting(seen: Observed, now: datetime, limits: Limits) -> Decision | None:
    """A pass moves its channel by a ModelPromotion, the job's own or one that a person made."""
    job, asked = seen.job, seen.job.spec.promotion
    if job.status.verdict != "Pass" or asked is None:
        return None
    promotion, edit = seen.promotion, Editor(job, now)
    if promotion is None and asked.mode == "Automatic":
        return _ask(seen, edit)
    by_hand = asked.mode == "Manual" or (promotion is not None and promotion.reason == HELD)
    if promotion is None or (promotion.phase == "Refused" and by_hand):
        message = f"passed; fulcrum promote {job.name} moves channel {asked.channel}"
        if promotion is not None:
            message = f"{message} (promotion {promotion.name}: {promotion.message})"
        return _wait(job, edit, "AwaitingApproval", "AwaitingPromotion", message)
    seen_as = resource.PromotionStatus(name=promotion.name, phase=promotion.phase)
    edit.set(promotion=seen_as)
    match promotion.phase:
        case "Promoted":
            text = f"channel {asked.channel} was moved by promotion {promotion.name}"
            edit.condition("Promoted", "True", "Promoted", text)
            return end(job, edit, "Succeeded", "Promoted", text)
        case "Refused":
            text = f"promotion {promotion.name} was refused: {promotion.message}"
            edit.condition("Promoted", "False", promotion.reason or "Refused", text)
            return end(job, edit, "Failed", "PromotionRefused", text)
        case "AwaitingApproval":
            text = f"passed; promotion {promotion.name} waits: fulcrum approve {promotion.name}"
            return _wait(job, edit, "AwaitingApproval", "AwaitingApproval", text)
        case _:
            text = f"promotion {promotion.name} moves channel {asked.channel}"
            return _wait(job, edit, "Promoting", "Promoting", text)


def _ask(seen: Observed, edit: Editor) -> Decision:
    job = seen.job
    asked, candidate, evidence = job.spec.promotion, job.status.candidate, job.status.evidence
    if asked is None or candidate is None or evidence is None:  # a verdict has them all
        return Decision()
    channel = asked.channel
    if seen.channel is None:
        message = f"passed, but there is no ModelChannel {channel} in namespace {job.namespace}"
        return _wait(job, edit, "Promoting", "ChannelNotFound", message, warning=True)
    replaced = seen.channel.digest
    if job.spec.baseline.kind == "Channel":  # better than that was shown, and of nothing else
        if seen.snapshot is None:
            message = f"ConfigMap {job.snapshot_name}, which records the baseline, is gone"
            return end(job, edit, "Failed", "SnapshotLost", message)
        replaced = seen.snapshot.spec.baseline_model or ""
    spec: dict[str, Any] = {
        "channel": channel,
        "kind": "Promotion",
        "from": replaced,
        "to": {"digest": candidate.digest, "uri": candidate.uri},
        "job": {"name": job.name, "uid": job.uid},
        "evidence": {
            "run": job.status.run.key if job.status.run else "",
            "digest": evidence.digest,
        },
        "automatic": True,
        "reason": f"CompressionJob {job.name} passed its gates",
    }
    return Decision((CreatePromotion(job.promotion_name, spec),))


def _wait(
    job: Job,
    edit: Editor,
    phase: Phase,
    reason: EventReason,
    message: str,
    *,
    warning: bool = False,
) -> Decision:
    edit.say(phase, message).condition("Promoted", "False", reason, message)
    if edit.status == job.status:
        return Decision()
    actions: tuple[Action, ...] = (WriteStatus(edit.status, "promotion-seen"),)
    if phase != job.status.phase or warning:
        actions = (Announce(reason, message, warning=warning), *actions)
    return Decision(actions)
