"""The inputs of a decision about a job: all observations, and nothing that can act.

Each value was true at some moment; the decision must be right even if the world has moved since.
Writes are compare-and-set for that, and engines are asked by key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fulcrum_operator.resources.compressionjob import CompressionJobStatus
from fulcrum_operator.resources.names import RUN_FINALIZER, asks_to_remeasure
from fulcrum_operator.resources.times import read_time
from fulcrum_pipelines.contract import ResolvedSpec
from fulcrum_pipelines.gates.assessment import Assessment, NoAssessment
from fulcrum_pipelines.resources.compressionjob import CompressionJobSpec
from fulcrum_pipelines.states import RunHandle, RunStatus, StageState


@dataclass(frozen=True)
class Job:
    """A CompressionJob as the API server gave it, parsed once.

    Attributes:
        deleted_at: When its deletion was requested, if it was.
        finalized: Whether it carries our finalizer.
        remeasure: Whether its annotation asks for new timings; read until an attempt is submitted.
    """

    name: str
    namespace: str
    uid: str
    generation: int
    resource_version: str
    created_at: datetime
    deleted_at: datetime | None
    finalized: bool
    labels: Mapping[str, str]
    spec: CompressionJobSpec
    status: CompressionJobStatus
    remeasure: bool = False

    @property
    def snapshot_name(self) -> str:
        """Name of the ConfigMap with what the job starts with; the uid keeps namesakes apart."""
        return f"{self.name}-{self.uid[:8]}"

    @property
    def promotion_name(self) -> str:
        """Name of the promotion that the job asks for by itself."""
        return f"{self.name}-{self.uid[:8]}"


def read_job(body: Mapping[str, Any]) -> Job:
    """Return the CompressionJob in `body`."""
    metadata = body["metadata"]
    deleted = metadata.get("deletionTimestamp")
    return Job(
        name=metadata["name"],
        namespace=metadata["namespace"],
        uid=metadata["uid"],
        generation=metadata.get("generation", 0),
        resource_version=metadata["resourceVersion"],
        created_at=read_time(metadata["creationTimestamp"]),
        deleted_at=read_time(deleted) if deleted else None,
        finalized=RUN_FINALIZER in metadata.get("finalizers", ()),
        labels=metadata.get("labels") or {},
        spec=CompressionJobSpec.model_validate(body["spec"]),
        status=CompressionJobStatus.model_validate(body.get("status") or {}),
        remeasure=asks_to_remeasure(metadata.get("annotations") or {}),
    )


@dataclass(frozen=True)
class Refusal:
    """Why a job cannot start in its present form.

    Attributes:
        reason: One CamelCase word.
        message: What is wrong, where, and what would be accepted.
    """

    reason: str
    message: str


@dataclass(frozen=True)
class Resolution:
    """A job's specification with its references replaced by what they name now."""

    spec: ResolvedSpec
    sources: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Snapshot:
    """The resolved inputs of a started job, as stored in its ConfigMap."""

    spec: ResolvedSpec
    digest: str
    sources: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """The report of a job that has a verdict; it is in the store.

    Attributes:
        uri: Its address.
    """

    uri: str


@dataclass(frozen=True)
class NoReport:
    """Why there is no report.

    Attributes:
        retryable: Whether another try may succeed, because the store did not answer.
    """

    message: str
    retryable: bool


@dataclass(frozen=True)
class PromotionSeen:
    """A ModelPromotion that refers to the job."""

    name: str
    phase: str
    reason: str
    message: str
    by: str


@dataclass(frozen=True)
class ChannelSeen:
    """The channel that the job promotes to; `digest` is empty before its first promotion."""

    digest: str


@dataclass(frozen=True)
class Observed:
    """Everything that the next decision about a job depends on.

    Attributes:
        job: As it was last seen.
        resolution: What its references name now, or why they cannot be followed; looked at only
            before the job has a snapshot.
        snapshot: What it started with, or None if there is no such ConfigMap.
        runs: The runs under its key, the oldest first.
        run: How the oldest goes.
        stages: How its stages go.
        headlines: A few figures of each stage that has finished, as people read them.
        assessment: Of its evidence, once it succeeded.
        report: Its report, made once it has a verdict, or the reason for its absence.
        promotion: The promotion that refers to it.
        channel: The channel that it promotes to, or None if it does not exist.
        slot: Whether the engine has room for it.
        engine_error: Why the engine did not answer, if it did not.
        submit_error: Why the last submission of the run failed, if it did.
    """

    job: Job
    resolution: Resolution | Refusal | None = None
    snapshot: Snapshot | None = None
    runs: tuple[RunHandle, ...] = ()
    run: RunStatus | None = None
    stages: tuple[StageState, ...] = ()
    headlines: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    assessment: Assessment | NoAssessment | None = None
    report: Report | NoReport | None = None
    promotion: PromotionSeen | None = None
    channel: ChannelSeen | None = None
    slot: bool = True
    engine_error: str = ""
    submit_error: str = ""

    @property
    def going(self) -> bool:
        """Whether a run may be going: one that is not known to have ended."""
        return bool(self.runs) and (self.run is None or not self.run.finished)
