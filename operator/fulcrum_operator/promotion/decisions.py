"""Decisions that end or delay a promotion: its phase, the reason, and the Events."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from fulcrum_operator.lifecycle.actions import Announce
from fulcrum_operator.promotion.seen import Promotion, PromotionDecision, short
from fulcrum_operator.resources.conditions import cut, with_condition
from fulcrum_operator.resources.modelpromotion import ModelPromotionStatus
from fulcrum_operator.resources.names import ConditionStatus, EventReason, PromotionPhase
from fulcrum_operator.resources.times import write_time

NOTHING = PromotionDecision()


def succeed(
    promotion: Promotion, reason: str, message: str, moved_at: str | None, now: datetime
) -> PromotionDecision:
    """Return the end of a promotion whose model is, or was, in its channel.

    Args:
        promotion: Which.
        reason: Promoted, RolledBack or AlreadyCurrent.
        message: A sentence.
        moved_at: When the channel moved, if it did.
        now: When this is written.
    """
    status = _status(promotion, "Promoted", "True", reason, message, now)
    status = status.model_copy(update={"time": moved_at or write_time(now)})
    word: EventReason = "RolledBack" if reason == "RolledBack" else "Promoted"
    return PromotionDecision(status=status, announce=(Announce(word, message),))


def refuse(promotion: Promotion, reason: str, message: str, now: datetime) -> PromotionDecision:
    """Return the end of a promotion that moves nothing."""
    status = _status(promotion, "Refused", "False", reason, message, now)
    status = status.model_copy(update={"time": write_time(now)})
    announce = Announce("PromotionRefused", f"{reason}: {message}", warning=True)
    return PromotionDecision(status=status, announce=(announce,))


def wait(
    promotion: Promotion,
    phase: Literal["Pending", "AwaitingApproval"],
    reason: str,
    message: str,
    now: datetime,
) -> PromotionDecision:
    """Return a wait for something else; nothing if the status says so already."""
    status = _status(promotion, phase, "False", reason, message, now)
    if status == promotion.status:
        return NOTHING
    if phase == "Pending":
        return PromotionDecision(status=status)
    return PromotionDecision(status=status, announce=(Announce(phase, message, reason),))


def _status(
    promotion: Promotion,
    phase: PromotionPhase,
    state: ConditionStatus,
    reason: str,
    message: str,
    now: datetime,
) -> ModelPromotionStatus:
    conditions = with_condition(
        promotion.status.conditions,
        *("Promoted", state, reason, message),
        generation=promotion.generation,
        now=write_time(now),
    )
    return promotion.status.model_copy(
        update={
            "observed_generation": promotion.generation,
            "phase": phase,
            "reason": reason,
            "message": cut(message),
            "conditions": conditions,
            "short_digest": short(promotion.spec.to.digest),
        }
    )
