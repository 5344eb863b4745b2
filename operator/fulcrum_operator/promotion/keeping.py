"""Keep a channel's status up to date between its moves, and bound its history."""

from __future__ import annotations

from datetime import datetime

from fulcrum_operator.lifecycle.actions import Announce
from fulcrum_operator.promotion.seen import Channel, ChannelDecision, short
from fulcrum_operator.resources.conditions import with_condition
from fulcrum_operator.resources.modelchannel import (
    CurrentModel,
    Hold,
    ModelChannelStatus,
    Move,
)
from fulcrum_operator.resources.names import ConditionStatus
from fulcrum_operator.resources.times import write_time

HOLD_LIMIT = 200
"""Of the schema. Any one hold holds, so the oldest may go."""


def keep_up(channel: Channel, now: datetime) -> ChannelDecision:
    """Return the status that `channel` should have by its specification, if it differs."""
    kept = settle(channel, channel.status, now)
    if kept == channel.status:
        return ChannelDecision()
    gone = [hold for hold in channel.status.holds if hold not in kept.holds]
    if not gone or kept.holds:
        return ChannelDecision(kept)
    names = ", ".join(hold.name for hold in gone)
    message = f"released {names}: promotions of channel {channel.name} may be automatic again"
    return ChannelDecision(kept, (Announce("Released", message, names),))


def settle(channel: Channel, status: ModelChannelStatus, now: datetime) -> ModelChannelStatus:
    """Return `status` bounded, without released holds, and with conditions that say what it is."""
    released = channel.spec.released_holds or ()
    holds = tuple(hold for hold in status.holds if hold.name not in released)[-HOLD_LIMIT:]
    bounded = status.model_copy(
        update={
            "observed_generation": channel.generation,
            "history": bound(status.history, channel.spec.history_limit),
            "holds": holds,
        }
    )
    return _with_conditions(channel, bounded, write_time(now))


def bound(history: tuple[Move, ...], limit: int) -> tuple[Move, ...]:
    """Return the newest `limit` moves, at least the one that made the current state."""
    return history[-max(limit, 1) :]


def _with_conditions(channel: Channel, status: ModelChannelStatus, now: str) -> ModelChannelStatus:
    conditions = status.conditions
    for kind, (state, reason, message) in (
        ("Ready", _ready(status.current)),
        ("Held", _held(channel.name, status.holds)),
    ):
        conditions = with_condition(
            conditions, kind, state, reason, message, generation=channel.generation, now=now
        )
    return status.model_copy(update={"conditions": conditions})


def _ready(current: CurrentModel | None) -> tuple[ConditionStatus, str, str]:
    if current is None:
        return "False", "NothingPromoted", "nothing has been promoted yet"
    message = f"holds {short(current.digest)} since promotion {current.promotion}"
    return "True", "Promoted", message


def _held(name: str, holds: tuple[Hold, ...]) -> tuple[ConditionStatus, str, str]:
    if not holds:
        return "False", "NoHold", "promotions may be automatic"
    names = ", ".join(hold.name for hold in holds)
    message = f"rolled back by {names}; fulcrum release {name} allows automatic promotions"
    return "True", "RolledBack", message
