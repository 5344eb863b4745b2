"""Inputs and results of decisions about a channel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fulcrum_operator.lifecycle.actions import Announce
from fulcrum_operator.lifecycle.observation import Refusal
from fulcrum_operator.resources.modelchannel import Hold, ModelChannelSpec, ModelChannelStatus
from fulcrum_operator.resources.modelpromotion import ModelPromotionSpec, ModelPromotionStatus
from fulcrum_pipelines.gates.assessment import Assessment, NoAssessment

FINAL = ("Promoted", "Refused")
SHORT = 12
"""Characters of a digest that people see; as many as git and container tools show."""


@dataclass(frozen=True)
class Promotion:
    """A ModelPromotion as the API server gave it, parsed once."""

    name: str
    namespace: str
    uid: str
    generation: int
    spec: ModelPromotionSpec
    status: ModelPromotionStatus

    @property
    def is_final(self) -> bool:
        """Whether nothing can change about it any more."""
        return self.status.phase in FINAL


@dataclass(frozen=True)
class Channel:
    """A ModelChannel as the API server gave it, parsed once."""

    name: str
    namespace: str
    generation: int
    spec: ModelChannelSpec
    status: ModelChannelStatus

    @property
    def digest(self) -> str:
        """Digest of its model; empty before the first promotion."""
        return self.status.current.digest if self.status.current else ""

    @property
    def active_holds(self) -> tuple[Hold, ...]:
        """The holds that are not released."""
        released = self.spec.released_holds or ()
        return tuple(hold for hold in self.status.holds if hold.name not in released)


@dataclass(frozen=True)
class Seen:
    """Everything that the next decision about a promotion depends on.

    Attributes:
        promotion: As it is now.
        channel: As it is now, or None if it does not exist.
        assessment: Of the evidence in the store by the gates that the job started with, or why
            there is none; None if it was not read, since that is costly;
            `needs_proof` says when it is needed.
        artifact: Fault of the artifact of a rollback in the store, empty if it is sound; None
            if it was not read.
    """

    promotion: Promotion
    channel: Channel | None
    assessment: Assessment | NoAssessment | Refusal | None = None
    artifact: str | None = None


@dataclass(frozen=True)
class PromotionDecision:
    """The next step of a promotion: one of the first two, or nothing.

    Attributes:
        channel: The whole new status of the channel, if the channel was not written since; then
            look again.
        status: The whole new status of the promotion.
        announce: Events about the promotion. They come before its status, which ends the looking,
            so that a crash loses none.
        of_channel: Events about the channel, likewise.
    """

    channel: ModelChannelStatus | None = None
    status: ModelPromotionStatus | None = None
    announce: tuple[Announce, ...] = ()
    of_channel: tuple[Announce, ...] = ()


@dataclass(frozen=True)
class ChannelDecision:
    """The next step of a channel between its moves.

    Attributes:
        status: The whole new status, or None where it is right as it is.
        announce: Events about the channel.
    """

    status: ModelChannelStatus | None = None
    announce: tuple[Announce, ...] = ()


def read_promotion(body: Mapping[str, Any]) -> Promotion:
    """Return the ModelPromotion in `body`."""
    metadata = body["metadata"]
    return Promotion(
        name=metadata["name"],
        namespace=metadata["namespace"],
        uid=metadata["uid"],
        generation=metadata.get("generation", 0),
        spec=ModelPromotionSpec.model_validate(body["spec"]),
        status=ModelPromotionStatus.model_validate(body.get("status") or {}),
    )


def read_channel(body: Mapping[str, Any]) -> Channel:
    """Return the ModelChannel in `body`."""
    metadata = body["metadata"]
    return Channel(
        name=metadata["name"],
        namespace=metadata["namespace"],
        generation=metadata.get("generation", 0),
        spec=ModelChannelSpec.model_validate(body.get("spec") or {}),
        status=ModelChannelStatus.model_validate(body.get("status") or {}),
    )


def short(digest: str) -> str:
    """Return what people are shown of `digest`."""
    return digest.removeprefix("sha256:")[:SHORT]
