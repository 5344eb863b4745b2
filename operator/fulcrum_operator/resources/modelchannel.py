"""Generated from crds/modelchannel.yaml by `make crds`; do not edit."""

# ruff: noqa: E501 - descriptions come from the schema as they are

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fulcrum_operator.resources.base import Spec, Status
from fulcrum_operator.resources.condition import Condition


class ModelChannelSpec(Spec):
    """Rules for moving the channel."""

    description: Annotated[str, Field(max_length=1024)] | None = None
    """Purpose of the channel, for people."""
    approval: Literal['None', 'Required'] = 'None'
    """With Required, a promotion moves the channel only after a user with the verb approve on it has approved."""
    history_limit: Annotated[int, Field(ge=1, le=200)] = 50
    """Number of moves that status.history keeps; older ones are dropped. A rollback can only go to one that is kept."""
    released_holds: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=253)], ...], Field(max_length=200)] | None = None
    """Names of holds (status.holds) that are released, so that promotions may be automatic again."""


class CurrentModel(Status):
    """The model that the channel holds now; absent before the first promotion."""

    digest: str
    """Its digest."""
    uri: str
    """Its path in the store."""
    evidence: str | None = None
    """Digest of the evidence that it was promoted on."""
    promotion: str
    """The ModelPromotion that put it here."""
    job: str | None = None
    """The CompressionJob that made it; absent for a run that no job owns."""
    run: str | None = None
    """Key of the run whose evidence it is, runs/<key>/evidence.json in the store."""
    by: str
    """User who asked for the promotion."""
    since: str
    """Time of the move that brought it here."""


class Move(Status):
    """One move of the channel."""

    promotion: str
    """The ModelPromotion that moved it."""
    promotion_uid: Annotated[str, Field(alias='promotionUID')]
    """metadata.uid of the promotion; none moves a channel twice."""
    kind: Literal['Promotion', 'Rollback']
    """Whether it went on or back."""
    from_: Annotated[str, Field(alias='from')]
    """Digest before; empty for the first move."""
    to: str
    """Digest after."""
    uri: str
    """The model's path in the store."""
    evidence: str | None = None
    """Digest of the evidence that it rests on."""
    verdict: str | None = None
    """Verdict on that evidence; Inconclusive only if a user approved it."""
    job: str | None = None
    """The CompressionJob that made the model; absent for a run that no job owns."""
    run: str | None = None
    """Key of the run whose evidence it rests on, runs/<key>/evidence.json in the store."""
    by: str
    """User who asked for the move."""
    approved_by: str | None = None
    """User who approved it, if any."""
    reason: str | None = None
    """Reason given by the user who asked."""
    time: str
    """When the channel moved."""


class Hold(Status):
    """One hold."""

    name: str
    """Name of the hold, that of the rollback that set it."""
    reason: str | None = None
    """Reason given by the user who rolled back."""
    by: str
    """User who rolled back."""
    since: str
    """Time when the hold was set."""


class ModelChannelStatus(Status):
    """The model that the channel holds, and its history; only the operator writes it."""

    observed_generation: int | None = None
    """metadata.generation of the spec that this status is about."""
    conditions: tuple[Condition, ...] = ()
    """Conditions of the channel, each with its reason: Ready (it holds a model), Held (nothing is promoted automatically)."""
    current: CurrentModel | None = None
    """The model that the channel holds now; absent before the first promotion."""
    history: tuple[Move, ...] = ()
    """Every move of the channel, newest last. Moves are added and never rewritten."""
    holds: tuple[Hold, ...] = ()
    """Rollbacks after which nothing is promoted automatically, until their names are in spec.releasedHolds."""
    moves: int = 0
    """Number of moves of the channel, including those no longer in history."""
    short_digest: str | None = None
    """The first characters of the current digest, for the columns of kubectl get."""
