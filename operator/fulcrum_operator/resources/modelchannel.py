"""Generated from crds/modelchannel.yaml by `make crds`; do not edit."""

# ruff: noqa: E501 - descriptions come from the schema as they are

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fulcrum_operator.resources.base import Spec, Status
from fulcrum_operator.resources.condition import Condition


class ModelChannelSpec(Spec):
    """How the channel may move."""

    description: Annotated[str, Field(max_length=1024)] | None = None
    """What the channel is for, for people."""
    approval: Literal['None', 'Required'] = 'None'
    """Required lets a promotion move the channel only after somebody with the verb approve on it has approved."""
    history_limit: Annotated[int, Field(ge=1, le=200)] = 50
    """How many moves are kept in status.history; older ones are dropped. A rollback can only go to one that is kept."""
    released_holds: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=253)], ...], Field(max_length=200)] | None = None
    """Names of holds (status.holds) that count no more, so that promotions may be automatic again."""


class CurrentModel(Status):
    """The model that the channel holds now; absent before the first promotion."""

    digest: str
    """Its digest."""
    uri: str
    """Where it is in the store."""
    evidence: str | None = None
    """Digest of the evidence that it was promoted on."""
    promotion: str
    """The ModelPromotion that put it here."""
    job: str | None = None
    """The CompressionJob that made it."""
    by: str
    """Who asked for the promotion."""
    since: str
    """Since when it is here."""


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
    """Where the model is in the store."""
    evidence: str | None = None
    """Digest of the evidence that it rests on."""
    verdict: str | None = None
    """Verdict over that evidence; Inconclusive only where somebody approved it."""
    job: str | None = None
    """The CompressionJob that made the model."""
    by: str
    """Who asked for the move."""
    approved_by: str | None = None
    """Who approved it, where somebody did."""
    reason: str | None = None
    """Why, in the words of who asked."""
    time: str
    """When the channel moved."""


class Hold(Status):
    """One hold."""

    name: str
    """Name of the hold, that of the rollback that set it."""
    reason: str | None = None
    """Why, in the words of who rolled back."""
    by: str
    """Who rolled back."""
    since: str
    """Since when it holds."""


class ModelChannelStatus(Status):
    """What the channel holds, and how it came to; written by the operator only."""

    observed_generation: int | None = None
    """metadata.generation of the spec that this status is about."""
    conditions: tuple[Condition, ...] = ()
    """What holds of the channel, each with its reason: Ready (it holds a model), Held (nothing is promoted automatically)."""
    current: CurrentModel | None = None
    """The model that the channel holds now; absent before the first promotion."""
    history: tuple[Move, ...] = ()
    """Every move of the channel, newest last. Moves are added and never rewritten."""
    holds: tuple[Hold, ...] = ()
    """Rollbacks after which nothing is promoted automatically, until their names are in spec.releasedHolds."""
    moves: int = 0
    """How often the channel has moved, those no longer in history included."""
    short_digest: str | None = None
    """The first characters of the current digest, for the columns of kubectl get."""
