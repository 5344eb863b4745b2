"""The status of a channel after a move: a new value, made from the old one and the promotion."""

from __future__ import annotations

from datetime import datetime

from fulcrum_operator.promotion.keeping import settle
from fulcrum_operator.promotion.seen import Channel, Promotion, short
from fulcrum_operator.resources.modelchannel import (
    CurrentModel,
    Hold,
    ModelChannelStatus,
    Move,
)
from fulcrum_operator.resources.times import write_time


def target_of(channel: Channel, digest: str) -> Move | None:
    """Return the newest move that put `digest` into the channel, if it is remembered."""
    moves = reversed(channel.status.history)
    return next((move for move in moves if move.to == digest), None)


def promote(
    channel: Channel, promotion: Promotion, uri: str, verdict: str, now: datetime
) -> ModelChannelStatus:
    """Return the channel's status after `promotion` put the candidate of its job there.

    Args:
        channel: Before.
        promotion: The request.
        uri: Of the candidate, from the store.
        verdict: Of the gates over the evidence.
        now: The time.
    """
    spec = promotion.spec
    entry = _entry(channel, promotion, uri, now).model_copy(
        update={
            "evidence": spec.evidence.digest if spec.evidence else None,
            "verdict": verdict,
            "job": spec.job.name if spec.job else None,
            "run": spec.evidence.run if spec.evidence else None,
        }
    )
    return _after(channel, entry, channel.status.holds, now)


def roll_back(
    channel: Channel, promotion: Promotion, target: Move, now: datetime
) -> ModelChannelStatus:
    """Return the channel's status after `promotion` went back to what `target` put there.

    The model is what it was then, so evidence, verdict, job and run are those of `target`.
    """
    kept = {name: getattr(target, name) for name in ("evidence", "verdict", "job", "run")}
    entry = _entry(channel, promotion, target.uri, now).model_copy(update=kept)
    hold = Hold(
        name=promotion.name,
        reason=promotion.spec.reason,
        by=promotion.spec.requested_by,
        since=write_time(now),
    )
    return _after(channel, entry, (*channel.status.holds, hold), now)


def _entry(channel: Channel, promotion: Promotion, uri: str, now: datetime) -> Move:
    spec = promotion.spec
    return Move(
        promotion=promotion.name,
        promotion_uid=promotion.uid,
        kind=spec.kind,
        from_=channel.digest,
        to=spec.to.digest,
        uri=uri,
        by=spec.requested_by,
        approved_by=spec.approval.by if spec.approval else None,
        reason=spec.reason,
        time=write_time(now),
    )


def _after(
    channel: Channel, entry: Move, holds: tuple[Hold, ...], now: datetime
) -> ModelChannelStatus:
    current = CurrentModel(
        digest=entry.to,
        uri=entry.uri,
        evidence=entry.evidence,
        promotion=entry.promotion,
        job=entry.job,
        run=entry.run,
        by=entry.by,
        since=entry.time,
    )
    moved = channel.status.model_copy(
        update={
            "current": current,
            "history": (*channel.status.history, entry),
            "holds": holds,
            "moves": channel.status.moves + 1,
            "short_digest": short(entry.to),
        }
    )
    return settle(channel, moved, now)
