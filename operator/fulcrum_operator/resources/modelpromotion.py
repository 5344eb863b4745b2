"""Generated from crds/modelpromotion.yaml by `make crds`; do not edit."""

# ruff: noqa: E501 - descriptions come from the schema as they are

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fulcrum_operator.resources.base import Spec, Status
from fulcrum_operator.resources.condition import Condition


class ModelReference(Spec):
    """The model that the channel should hold."""

    digest: Annotated[str, Field(max_length=71, pattern='^sha256:[0-9a-f]{64}$')]
    """Its digest."""
    uri: Annotated[str, Field(min_length=1, max_length=2048)]
    """Its path in the store."""


class JobReference(Spec):
    """The CompressionJob that made the model."""

    name: Annotated[str, Field(min_length=1, max_length=253)]
    """Its name."""
    uid: Annotated[str, Field(min_length=1, max_length=63)]
    """Its metadata.uid, since a name can be used again."""


class EvidenceOfRun(Spec):
    """The evidence that the gates were decided from. They are decided again before the channel moves."""

    run: Annotated[str, Field(min_length=1, max_length=253)]
    """Key of the run that measured it (status.run.key of the job)."""
    digest: Annotated[str, Field(max_length=71, pattern='^sha256:[0-9a-f]{64}$')]
    """Digest of the evidence (status.evidence.digest of the job)."""
    plan: Annotated[str, Field(max_length=71, pattern='^sha256:[0-9a-f]{64}$')] | None = None
    """Digest of the run's plan, for a run that no job owns, such as one of a recurring run in Kubeflow. Its gates are those of the plan."""


class Approval(Spec):
    """Approval by a user, given once. It needs the verb approve on the channel."""

    by: Annotated[str, Field(min_length=1, max_length=1024)]
    """Name of the user who approves; it must be your own."""
    comment: Annotated[str, Field(max_length=1024)] | None = None
    """The approver's comment."""


class ModelPromotionSpec(Spec):
    """The move that is asked for. It cannot be changed, except that an approval may be added."""

    channel: Annotated[str, Field(min_length=1, max_length=63)]
    """Name of the ModelChannel to move, in the same namespace."""
    kind: Literal['Promotion', 'Rollback'] = 'Promotion'
    """Promotion goes on to a job's candidate; Rollback goes back to a digest of the channel's history, and holds automatic promotions."""
    from_: Annotated[Annotated[str, Field(max_length=71, pattern='^(sha256:[0-9a-f]{64})?$')], Field(alias='from')]
    """Digest that the channel is expected to hold, or "" if it holds nothing yet. If it holds another, the promotion is refused."""
    to: ModelReference
    """The model that the channel should hold."""
    job: JobReference | None = None
    """The CompressionJob that made the model."""
    evidence: EvidenceOfRun | None = None
    """The evidence that the gates were decided from. They are decided again before the channel moves."""
    automatic: bool = False
    """The job's own spec.promotion asked for it, not a user; refused while the channel is held. It needs the verb automate on the channel."""
    requested_by: Annotated[str, Field(min_length=1, max_length=1024)]
    """Name of the user who asks; it must be your own."""
    reason: Annotated[str, Field(max_length=1024)] | None = None
    """Reason, for the channel's history."""
    approval: Approval | None = None
    """Approval by a user, given once. It needs the verb approve on the channel."""


class ModelPromotionStatus(Status):
    """Result of the promotion; only the operator writes it."""

    observed_generation: int | None = None
    """metadata.generation of the spec that this status is about."""
    phase: Literal['Pending', 'AwaitingApproval', 'Promoted', 'Refused'] | None = None
    """Phase, in one word. Promoted and Refused are final."""
    reason: str | None = None
    """Reason in one word, for programs."""
    message: str | None = None
    """Reason in a sentence, for people."""
    conditions: tuple[Condition, ...] = ()
    """Conditions of the promotion, each with its reason."""
    time: str | None = None
    """When it reached its final phase."""
    short_digest: str | None = None
    """The first characters of spec.to.digest, for the columns of kubectl get."""
