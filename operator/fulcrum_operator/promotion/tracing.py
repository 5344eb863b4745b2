"""From a promotion to the run that made its model and the gates that judge it, or why not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from fulcrum_operator.lifecycle.observation import Job, Refusal
from fulcrum_operator.promotion.seen import Promotion, short
from fulcrum_operator.resources.names import SNAPSHOT_KEY
from fulcrum_pipelines.contract import MAKING_STAGES, Plan, ResolvedSpec, digest_of
from fulcrum_pipelines.resources.compressionjob import Gate


@dataclass(frozen=True)
class EvidenceOrigin:
    """The place of the evidence, and the gates that judge it.

    Attributes:
        run: Key of the run that was judged.
        plan: Digest of its plan.
        gates: Those that the job started with; without a job, those of the plan.
    """

    run: str
    plan: str
    gates: tuple[Gate, ...]


def trace(
    promotion: Promotion,
    job: Job | None,
    snapshot: Mapping[str, Any] | None,
    plan: Plan | None = None,
) -> EvidenceOrigin | Refusal:
    """Return the origin from which the gates of `promotion` are decided again.

    Only the run that the job itself names counts, and only the gates that it started with:
    the promotion's own statements are compared and never followed. Without a job it is the run
    that the promotion names by its plan, which cannot change, and which must not be a job's.

    Args:
        promotion: Of kind Promotion.
        job: The CompressionJob of the name that it gives, as it is now.
        snapshot: The ConfigMap that the job names, as it is now.
        plan: In the store under the digest that the promotion gives, if it gives one.
    """
    made_by, evidence = promotion.spec.job, promotion.spec.evidence
    if evidence is not None and made_by is None and evidence.plan is not None:
        return _without_job(promotion, evidence.run, evidence.plan, plan)
    if made_by is None or evidence is None:
        return Refusal("InvalidSpec", "kind Promotion needs spec.job and spec.evidence")
    if job is None or job.uid != made_by.uid:
        message = (
            f"CompressionJob {made_by.name} with uid {made_by.uid} is gone, and with it the gates"
            " that it started with; run it again, or roll back to a digest of the history"
        )
        return Refusal("JobNotFound", message)
    run = job.status.run
    if run is None or run.plan is None or run.key != evidence.run:
        has = f"its run is {run.key}, plan {run.plan}" if run is not None else "it has no run"
        message = f"CompressionJob {job.name} did not make evidence of {evidence.run}: {has}"
        return Refusal("OtherRun", message)
    spec = _started_with(job, snapshot)
    if isinstance(spec, Refusal):
        return spec
    return _unfit(promotion, spec) or EvidenceOrigin(run.key, run.plan, spec.gates)


def _without_job(
    promotion: Promotion, run: str, digest: str, plan: Plan | None
) -> EvidenceOrigin | Refusal:
    """A job's run is not promoted past its job, nor anything past the walls of its namespace."""
    namespace = promotion.namespace
    if plan is None:
        return Refusal("PlanLost", f"plan {digest} is not in the store, is damaged, or is no plan")
    if plan.run != run:
        return Refusal("OtherRun", f"plan {digest} is of run {plan.run}, not of {run}")
    if not plan.occurrence:
        message = f"run {run} is of CompressionJob {plan.name}; name it in spec.job"
        return Refusal("RunOfJob", message)
    if plan.namespace != namespace:
        message = f"run {run} is of namespace {plan.namespace or '(none)'}, not of {namespace}"
        return Refusal("OtherNamespace", message)
    if not plan.spec.gates:
        return Refusal("NoGates", f"plan {digest} has no gates, so nothing was judged")
    return _unfit(promotion, plan.spec) or EvidenceOrigin(run, digest, plan.spec.gates)


def _unfit(promotion: Promotion, spec: ResolvedSpec) -> Refusal | None:
    """Refuse what was compared with nothing, or with an older model than the channel now holds."""
    if not set(MAKING_STAGES).intersection(spec.stages):
        message = (
            "the job has neither recipe nor candidate, so it measured a model and compared "
            "nothing; name the model in spec.candidate of another job"
        )
        return Refusal("OnlyMeasured", message)
    asked, compared = promotion.spec, spec.baseline_model
    own = spec.promotion is not None and spec.promotion.channel == asked.channel
    if compared is None or not own or asked.from_ == compared:
        return None
    message = (
        f"the candidate was compared with {short(compared)}, which channel {asked.channel} held, "
        f"not with {short(asked.from_) or 'nothing'}; make a new run, which is compared with that"
    )
    return Refusal("OtherBaseline", message)


def _started_with(job: Job, snapshot: Mapping[str, Any] | None) -> ResolvedSpec | Refusal:
    on_file = job.status.snapshot
    if on_file is None:
        return Refusal("SnapshotLost", f"CompressionJob {job.name} names no snapshot of its gates")
    text = ((snapshot or {}).get("data") or {}).get(SNAPSHOT_KEY)
    what = f"ConfigMap {on_file.name}, with the gates that the job started with,"
    if text is None:
        return Refusal("SnapshotLost", f"{what} is gone or has no {SNAPSHOT_KEY}")
    if digest_of(text.encode()) != on_file.digest:
        return Refusal("SnapshotChanged", f"{what} has another content than the job names")
    try:
        return ResolvedSpec.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        return Refusal("SnapshotUnreadable", f"{what} cannot be read: {field}: {first['msg']}")
