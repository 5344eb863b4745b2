"""One question after the other about a promotion; the first that has an answer decides.

Nothing here moves a channel twice, for one promotion or from one digest: the channel's history
names every promotion that moved it, a promotion names the digest that it moves away from, and the
channel is written only if it was not written since it was read. Cheap checks come first, so that
the store is read only if the decision depends on it: `needs_proof` says so to the observer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from fulcrum_operator.lifecycle.actions import Announce
from fulcrum_operator.lifecycle.observation import Refusal
from fulcrum_operator.promotion.decisions import refuse, succeed, wait
from fulcrum_operator.promotion.moving import promote, roll_back, target_of
from fulcrum_operator.promotion.seen import Channel, PromotionDecision, Seen, short
from fulcrum_operator.resources.names import EventReason
from fulcrum_pipelines.gates.assessment import Assessment, NoAssessment

NOTHING = PromotionDecision()


def needs_proof(seen: Seen, now: datetime) -> bool:
    """Return whether `decide` depends on the store: on the evidence, or a rollback's artifact.

    Args:
        seen: The promotion and its channel; the rest is not looked at.
        now: The time.
    """
    if seen.promotion.is_final or seen.channel is None:
        return False
    return all(question(seen, seen.channel, now) is None for question in WITHOUT_PROOF)


def decide(seen: Seen, now: datetime) -> PromotionDecision:
    """Return what to do for a promotion that was observed as `seen` at `now`.

    Raises:
        ValueError: It needs proof from the store, and `seen` has none.
    """
    if seen.promotion.is_final:
        return NOTHING
    channel = seen.channel
    if channel is None:
        name, namespace = seen.promotion.spec.channel, seen.promotion.namespace
        message = f"there is no ModelChannel {name} in namespace {namespace}"
        return wait(seen.promotion, "Pending", "ChannelNotFound", message, now)
    for question in (*WITHOUT_PROOF, *WITH_PROOF):
        decision = question(seen, channel, now)
        if decision is not None:
            return decision
    return _move(seen, channel, now)


def moved_already(seen: Seen, channel: Channel, now: datetime) -> PromotionDecision | None:
    """A promotion that is in the history has done its work, even if the channel moved since."""
    uid = seen.promotion.uid
    move = next((each for each in channel.status.history if each.promotion_uid == uid), None)
    if move is None:
        return None
    text = f"channel {channel.name} moved from {short(move.from_) or 'nothing'} to {short(move.to)}"
    approved = f", approved by {move.approved_by}" if move.approved_by else ""
    message = f"{text}, asked by {move.by}{approved}"
    reason: EventReason = "RolledBack" if move.kind == "Rollback" else "Promoted"
    announcements = [Announce(reason, message, uid)]
    if move.kind == "Rollback":
        hold = f"promotions are not automatic until fulcrum release {channel.name}"
        announcements.append(Announce("Held", hold, uid))
    done = succeed(seen.promotion, reason, message, move.time, now)
    return replace(done, of_channel=tuple(announcements))


def moved_by_another(seen: Seen, channel: Channel, now: datetime) -> PromotionDecision | None:
    """Who asks for a move must know what the channel holds; else an older wish would win."""
    spec, current = seen.promotion.spec, channel.status.current
    if channel.digest == spec.from_:
        return None
    if current is None:
        holds = "holds nothing yet"
    else:
        holds = f"holds {short(current.digest)} since promotion {current.promotion} moved it"
    expected = short(spec.from_) or "nothing"
    message = f"channel {channel.name} {holds}, and spec.from expects {expected}; ask again"
    return refuse(seen.promotion, "ChannelMoved", message, now)


def rollback_impossible(seen: Seen, channel: Channel, now: datetime) -> PromotionDecision | None:
    """A rollback goes to what the channel held, and its hold must hold."""
    promotion, spec = seen.promotion, seen.promotion.spec
    if spec.kind != "Rollback":
        return None
    target = target_of(channel, spec.to.digest)
    if target is None:
        message = f"{short(spec.to.digest)} is not in the history of channel {channel.name}"
        return refuse(promotion, "NotInHistory", message, now)
    if spec.to.digest == channel.digest:
        message = f"channel {channel.name} holds {short(spec.to.digest)} already"
        return refuse(promotion, "AlreadyCurrent", message, now)
    if promotion.name in (channel.spec.released_holds or ()):
        message = f"its hold would be released by spec.releasedHolds of channel {channel.name}"
        return refuse(promotion, "NameReleased", f"{message}; choose another name", now)
    return _other_address(seen, target.uri, now)


def held(seen: Seen, channel: Channel, now: datetime) -> PromotionDecision | None:
    """Wait after a rollback: automatic promotions resume only when the hold is released."""
    if not seen.promotion.spec.automatic or not channel.active_holds:
        return None
    names = ", ".join(hold.name for hold in channel.active_holds)
    message = (
        f"channel {channel.name} is held since {names}; fulcrum release {channel.name} ends it"
    )
    return refuse(seen.promotion, "ChannelHeld", message, now)


def artifact_unproven(seen: Seen, channel: Channel, now: datetime) -> PromotionDecision | None:
    """A rollback needs the bytes that its digest names, and nothing more: it was judged before."""
    if seen.promotion.spec.kind != "Rollback":
        return None
    if seen.artifact is None:
        raise ValueError(f"rollback {seen.promotion.name}: its artifact was not read")
    return refuse(seen.promotion, "ArtifactLost", seen.artifact, now) if seen.artifact else None


def evidence_unproven(seen: Seen, channel: Channel, now: datetime) -> PromotionDecision | None:
    """Refuse unless the judged evidence and artifact are exactly the requested ones."""
    promotion, spec, found = seen.promotion, seen.promotion.spec, seen.assessment
    if spec.kind != "Promotion":
        return None
    match found:
        case None:
            raise ValueError(f"promotion {promotion.name}: its evidence was not read")
        case Refusal(reason, message):
            return refuse(promotion, reason, message, now)
        case NoAssessment(message, _):
            return refuse(promotion, "EvidenceUnreadable", message, now)
    if spec.evidence is None or found.evidence_digest != spec.evidence.digest:
        message = f"the evidence in the store has digest {found.evidence_digest}, not that of spec"
        return refuse(promotion, "EvidenceChanged", message, now)
    if found.candidate_digest != spec.to.digest:
        message = f"{short(found.candidate_digest)} was validated, not {short(spec.to.digest)}"
        return refuse(promotion, "OtherCandidate", message, now)
    return _other_address(seen, found.candidate_uri, now)


def not_passed(seen: Seen, channel: Channel, now: datetime) -> PromotionDecision | None:
    """People may decide what the gates could not; they cannot overrule them."""
    promotion, found = seen.promotion, seen.assessment
    if promotion.spec.kind != "Promotion" or not isinstance(found, Assessment):
        return None
    outcome, why = found.verdict.outcome, "; ".join(found.verdict.reasons)
    if outcome == "Pass" or (outcome == "Inconclusive" and promotion.spec.approval is not None):
        return None
    if outcome != "Inconclusive":
        reason = "GatesFailed" if outcome == "Fail" else "Anomalous"
        return refuse(promotion, reason, f"the gates say {outcome}: {why}", now)
    message = f"the gates could not decide ({why}); fulcrum approve {promotion.name} does"
    return wait(promotion, "AwaitingApproval", "Inconclusive", message, now)


def not_approved(seen: Seen, channel: Channel, now: datetime) -> PromotionDecision | None:
    """Some channels move only after a second look."""
    promotion = seen.promotion
    if channel.spec.approval != "Required" or promotion.spec.approval is not None:
        return None
    message = f"channel {channel.name} needs an approval: fulcrum approve {promotion.name}"
    if isinstance(seen.assessment, Assessment):
        verdict = seen.assessment.verdict
        message = f"{message}; the gates say {verdict.outcome} ({'; '.join(verdict.reasons)})"
    return wait(promotion, "AwaitingApproval", "ApprovalRequired", message, now)


def there_already(seen: Seen, channel: Channel, now: datetime) -> PromotionDecision | None:
    """The same bytes again are no move; a nightly job often makes them from unchanged inputs."""
    promotion = seen.promotion
    if promotion.spec.to.digest != channel.digest:
        return None
    message = f"channel {channel.name} holds {short(channel.digest)} already"
    return succeed(promotion, "AlreadyCurrent", message, None, now)


def _move(seen: Seen, channel: Channel, now: datetime) -> PromotionDecision:
    promotion, found = seen.promotion, seen.assessment
    target = target_of(channel, promotion.spec.to.digest)
    if promotion.spec.kind == "Rollback" and target is not None:
        return PromotionDecision(channel=roll_back(channel, promotion, target, now))
    if promotion.spec.kind == "Promotion" and isinstance(found, Assessment):
        verdict = found.verdict.outcome
        return PromotionDecision(
            channel=promote(channel, promotion, found.candidate_uri, verdict, now)
        )
    return NOTHING  # the questions before leave none of these


def _other_address(seen: Seen, uri: str, now: datetime) -> PromotionDecision | None:
    """Serving reads the address, so it must be where the proven bytes are."""
    given = seen.promotion.spec.to.uri
    if given == uri:
        return None
    message = f"spec.to.uri is {given}, and the model with that digest lies at {uri}"
    return refuse(seen.promotion, "OtherAddress", message, now)


PromotionQuestion = Callable[[Seen, Channel, datetime], PromotionDecision | None]

WITHOUT_PROOF: tuple[PromotionQuestion, ...] = (
    moved_already,
    moved_by_another,
    rollback_impossible,
    held,
)
WITH_PROOF: tuple[PromotionQuestion, ...] = (
    artifact_unproven,
    evidence_unproven,
    not_passed,
    not_approved,
    there_already,
)
