"""Generated from crds/compressionjob.yaml by `make crds`; do not edit."""

# ruff: noqa: E501 - descriptions come from the schema as they are

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fulcrum_operator.resources.base import Spec, Status
from fulcrum_operator.resources.condition import Condition


class SourceVersion(Status):
    """The recipe that recipeRef named."""

    kind: str
    """Kind of the object that was read."""
    name: str
    """Its name."""
    resource_version: str
    """The version of it that was read."""


class SnapshotReference(Status):
    """The specification that the job runs, fixed when it was accepted. Later changes of a recipe or gate policy do not affect it."""

    name: str
    """Name of the ConfigMap that holds the resolved specification as spec.json."""
    digest: str
    """Digest of its spec.json."""
    recipe: SourceVersion | None = None
    """The recipe that recipeRef named."""
    gate_policy: SourceVersion | None = None
    """The gate policy that gatePolicyRef named."""


class AttemptStatus(Status):
    """The attempt that is under way; absent between attempts."""

    key: str
    """Names the run in the engine and in the store. It is written before the run is submitted, so that a crash never starts two."""
    plan: str | None = None
    """Digest of the run's plan in the store."""
    reference: str | None = None
    """The engine's own name for the run, once it has it."""
    engine: str
    """What runs it."""
    start_time: str | None = None
    """When the attempt started."""
    silent_since: str | None = None
    """Since when the engine has not answered about the run."""
    url: str | None = None
    """Where the engine shows the run to people."""


class StageStatus(Status):
    """How one stage went."""

    name: str
    """Name of the stage."""
    state: Literal['Pending', 'Running', 'Succeeded', 'Failed']
    """How it is going."""
    attempt: int | None = None
    """The attempt of the job that this is of."""
    start_time: str | None = None
    """When it started."""
    end_time: str | None = None
    """When it ended."""
    reason: str | None = None
    """Class of its failure."""
    message: str | None = None
    """The error, or the current activity."""
    fraction: float | None = None
    """How much of it is done, from 0 to 1."""
    cached: bool | None = None
    """Its result was taken from the store, since nothing that it depends on has changed."""
    metrics: dict[str, str] = {}
    """Its headline figures, such as accuracy or achieved sparsity."""


class Outcome(Status):
    """How the job ends. It is decided once and never changes, whatever happens while the run is wound up."""

    phase: Literal['Succeeded', 'Rejected', 'Inconclusive', 'Failed']
    """The final phase."""
    reason: str
    """Reason in one word, for programs."""
    message: str
    """Reason in a sentence, for people."""
    time: str
    """When it was decided."""


class GateStatus(Status):
    """How one gate was decided."""

    name: str
    """Name of the gate."""
    kind: str
    """Kind of the gate."""
    mode: Literal['Enforce', 'DryRun']
    """DryRun does not block."""
    verdict: Literal['Pass', 'Fail', 'Inconclusive', 'Anomalous']
    """What was decided."""
    reason: str
    """Why, in a sentence."""
    metric: str | None = None
    """The metric that it is about."""
    value: float | None = None
    """What was measured."""
    low: float | None = None
    """Lower end of its confidence interval."""
    high: float | None = None
    """Upper end of its confidence interval."""
    limit: float | None = None
    """What it was compared with."""
    samples: int | None = None
    """Test examples, groups or timed pairs that it rests on."""


class SliceChange(Status):
    """The slice with the largest delta."""

    name: str
    """Slice and value, such as class=7."""
    delta: float
    """Candidate minus baseline on it."""
    samples: int
    """Its test examples."""


class Results(Status):
    """The figures that people look for; all of them are in the evidence."""

    metric: str | None = None
    """The metric that baseline, candidate and delta are of."""
    baseline: float | None = None
    """The baseline's metric on the test set."""
    candidate: float | None = None
    """The candidate's metric on the test set."""
    delta: float | None = None
    """Candidate minus baseline."""
    delta_low: float | None = None
    """Lower end of the confidence interval of delta."""
    delta_high: float | None = None
    """Upper end of the confidence interval of delta."""
    samples: int | None = None
    """Test examples, or groups of them, that delta rests on."""
    speedup: float | None = None
    """Median latency of the baseline over that of the candidate."""
    speedup_low: float | None = None
    """Lower end of the confidence interval of speedup."""
    speedup_high: float | None = None
    """Upper end of the confidence interval of speedup."""
    size_ratio: float | None = None
    """Size of the baseline's file over that of the candidate's."""
    int8_coverage: float | None = None
    """Share of the multiply-accumulates that run in integers, read from the optimised graph."""
    best_slice: SliceChange | None = None
    """The slice with the largest delta."""
    worst_slice: SliceChange | None = None
    """The slice with the smallest delta."""


class Summary(Status):
    """Results as short texts, for the columns of kubectl get."""

    delta: str | None = None
    """Change of the metric, such as "-0.40 points"."""
    speedup: str | None = None
    """How many times faster, such as "x4.1"."""
    size: str | None = None
    """How many times smaller, such as "x13.8"."""


class EvidenceReference(Status):
    """The evidence that the verdict was decided from."""

    uri: str
    """Its path in the store."""
    digest: str
    """Its digest; a promotion must name it."""


class CandidateStatus(Status):
    """The compressed model, exactly as it was validated."""

    digest: str
    """Its digest."""
    uri: str
    """Its path in the store."""
    size_bytes: int | None = None
    """Size of the file."""


class PromotionStatus(Status):
    """The promotion of the candidate."""

    name: str
    """Name of the ModelPromotion."""
    phase: str | None = None
    """Its phase when it was last seen."""


class CompressionJobStatus(Status):
    """Observed state and decisions; only the operator writes it."""

    observed_generation: int | None = None
    """metadata.generation of the spec that this status is about."""
    phase: Literal['Pending', 'Suspended', 'Running', 'Evaluating', 'AwaitingApproval', 'Promoting', 'Succeeded', 'Rejected', 'Inconclusive', 'Failed'] | None = None
    """How it is going, in one word. Succeeded, Rejected, Inconclusive and Failed are final."""
    message: str | None = None
    """Why it is in this phase, in one sentence."""
    stage: str | None = None
    """The stage that runs now and how far it is, such as "finetune 40 %"."""
    conditions: tuple[Condition, ...] = ()
    """Conditions of the job, each with its reason: Accepted, Snapshotted, QuotaReserved, Submitted, Progressing, Evaluated, Reported, Promoted, Complete, Failed, Suspended."""
    snapshot: SnapshotReference | None = None
    """The specification that the job runs, fixed when it was accepted. Later changes of a recipe or gate policy do not affect it."""
    attempt: int = 0
    """Attempts started so far. It is written before an attempt is submitted."""
    run: AttemptStatus | None = None
    """The attempt that is under way; absent between attempts."""
    failures: dict[str, int] = {}
    """Failed attempts by class (user, quality, infrastructure, deadline, internal, evidence)."""
    next_attempt_time: str | None = None
    """Earliest start of the next attempt, after a failure that is tried again."""
    start_time: str | None = None
    """When the job was first started."""
    completion_time: str | None = None
    """When it reached its final phase."""
    active_since: str | None = None
    """Time that activeDeadlineSeconds counts from, which is the start or the last resume, plus the time that the run has waited in a queue of the cluster."""
    stages: tuple[StageStatus, ...] = ()
    """Each stage of the run, in the order in which they run."""
    outcome: Outcome | None = None
    """How the job ends. It is decided once and never changes, whatever happens while the run is wound up."""
    verdict: Literal['Pass', 'Fail', 'Inconclusive', 'Anomalous'] | None = None
    """The gates' verdict over all; only Pass is promoted by itself."""
    gates: tuple[GateStatus, ...] = ()
    """The verdict of each gate, with the figures that it was decided on."""
    results: Results | None = None
    """The figures that people look for; all of them are in the evidence."""
    summary: Summary | None = None
    """Results as short texts, for the columns of kubectl get."""
    evidence: EvidenceReference | None = None
    """The evidence that the verdict was decided from."""
    report: str | None = None
    """Address of the HTML report of the run, beside the evidence in the store. fulcrum report JOB copies it to a file. Absent if it could not be made; the condition Reported then says why."""
    candidate: CandidateStatus | None = None
    """The compressed model, exactly as it was validated."""
    promotion: PromotionStatus | None = None
    """The promotion of the candidate."""
