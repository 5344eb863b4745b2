"""From this state, expect this: every way in which a promotion ends, waits or moves."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import pytest
from builders.plans import make_digest
from channels import (
    NOW,
    World,
    make_assessment,
    make_channel,
    make_promotion,
    make_rollback,
    make_uri,
)

from fulcrum_operator.lifecycle.observation import Refusal
from fulcrum_operator.promotion import decide, keep_up, needs_proof
from fulcrum_operator.promotion.seen import Channel, Promotion, Seen
from fulcrum_operator.resources.modelchannel import Hold
from fulcrum_operator.resources.modelpromotion import ModelPromotionStatus
from fulcrum_pipelines.gates.assessment import Assessment, NoAssessment

B = make_digest("b")
PASS = make_assessment(B)
HOLD = Hold(name="old-rollback", by="bob", since="2026-11-23T10:00:00Z")


def held(channel: Channel) -> Channel:
    return replace(channel, status=channel.status.model_copy(update={"holds": (HOLD,)}))


@dataclass(frozen=True)
class Unmoved:
    """Observed objects, and the phase, reason and message they lead to without a move."""

    name: str
    promotion: Promotion
    channel: Channel | None
    phase: str
    reason: str
    message: str
    assessment: Assessment | NoAssessment | Refusal | None = PASS
    artifact: str | None = ""


UNMOVED = (
    Unmoved("no channel", make_promotion(), None, "Pending", "ChannelNotFound", "no ModelChannel"),
    Unmoved(
        "channel holds another model",
        make_promotion(from_="a"),
        make_channel("a", "c"),
        *("Refused", "ChannelMoved", r"since promotion to-c moved it, and spec.from expects"),
        assessment=None,
    ),
    Unmoved(
        "channel holds nothing",
        make_promotion(from_="a"),
        make_channel(),
        *("Refused", "ChannelMoved", "holds nothing yet"),
        assessment=None,
    ),
    Unmoved(
        "channel was expected to hold nothing",
        make_promotion(),
        make_channel("a"),
        *("Refused", "ChannelMoved", "since promotion to-a moved it, and .* expects nothing"),
    ),
    Unmoved(
        "automatic while held",
        make_promotion(from_="a", automatic=True),
        held(make_channel("a")),
        *("Refused", "ChannelHeld", "held since old-rollback; fulcrum release production"),
        assessment=None,
    ),
    Unmoved(
        "job is gone",
        make_promotion(),
        make_channel(),
        *("Refused", "JobNotFound", "it is gone"),
        assessment=Refusal("JobNotFound", "it is gone"),
    ),
    Unmoved(
        "evidence is gone",
        make_promotion(),
        make_channel(),
        *("Refused", "EvidenceUnreadable", "it is missing"),
        assessment=NoAssessment("it is missing", "infrastructure"),
    ),
    Unmoved(
        "other evidence",
        make_promotion(evidence={"run": "r-1", "digest": make_digest("other")}),
        make_channel(),
        *("Refused", "EvidenceChanged", f"has digest {PASS.evidence_digest}"),
    ),
    Unmoved(
        "another artifact was validated",
        make_promotion(target={"digest": make_digest("c"), "uri": make_uri(B)}),
        make_channel(),
        *("Refused", "OtherCandidate", f"{B[7:19]} was validated, not "),
    ),
    Unmoved(
        "address elsewhere",
        make_promotion(target={"digest": B, "uri": "s3://elsewhere/b"}),
        make_channel(),
        *("Refused", "OtherAddress", "is s3://elsewhere/b, and .* lies at s3://models/"),
    ),
    Unmoved(
        "gates failed",
        make_promotion(outcome="Fail", approved_by="eve"),
        make_channel(),
        *("Refused", "GatesFailed", "the gates say Fail: accuracy: "),
        assessment=make_assessment(B, "Fail"),
    ),
    Unmoved(
        "anomalous",
        make_promotion(outcome="Anomalous", approved_by="eve"),
        make_channel(),
        *("Refused", "Anomalous", "test examples are also in train"),
        assessment=make_assessment(B, "Anomalous"),
    ),
    Unmoved(
        "inconclusive",
        make_promotion(outcome="Inconclusive"),
        make_channel(),
        *("AwaitingApproval", "Inconclusive", "fulcrum approve p1 does"),
        assessment=make_assessment(B, "Inconclusive"),
    ),
    Unmoved(
        "approval required",
        make_promotion(),
        make_channel(approval="Required"),
        *("AwaitingApproval", "ApprovalRequired", "fulcrum approve p1"),
    ),
    Unmoved(
        "rollback waits for approval too",
        make_rollback(),
        make_channel("a", "b", approval="Required"),
        *("AwaitingApproval", "ApprovalRequired", "fulcrum approve back"),
    ),
    Unmoved(
        "same model again",
        make_promotion("b", from_="b"),
        make_channel("a", "b"),
        *("Promoted", "AlreadyCurrent", "holds .* already"),
    ),
    Unmoved(
        "moved before a crash",
        replace(make_promotion("b", from_="a"), uid="uid-to-b"),
        make_channel("a", "b", "c"),
        *("Promoted", "Promoted", f"moved from .* to {B[7:19]}, asked by bob"),
        assessment=None,
    ),
    Unmoved(
        "rollback to what was never there",
        make_rollback("z"),
        make_channel("a", "b"),
        *("Refused", "NotInHistory", "is not in the history"),
    ),
    Unmoved(
        "rollback to what is there",
        make_rollback("b", from_="b"),
        make_channel("a", "b"),
        *("Refused", "AlreadyCurrent", "already"),
    ),
    Unmoved(
        "rollback whose hold would not hold",
        make_rollback(name="back"),
        make_channel("a", "b", released_holds=("back",)),
        *("Refused", "NameReleased", "choose another name"),
    ),
    Unmoved(
        "rollback to an address elsewhere",
        make_rollback(target={"digest": make_digest("a"), "uri": "s3://elsewhere/a"}),
        make_channel("a", "b"),
        *("Refused", "OtherAddress", "s3://elsewhere/a"),
    ),
    Unmoved(
        "rollback to a lost artifact",
        make_rollback(),
        make_channel("a", "b"),
        *("Refused", "ArtifactLost", "it is corrupt"),
        artifact="it is corrupt",
    ),
)


@pytest.mark.parametrize("case", UNMOVED, ids=lambda case: case.name)
def test_without_a_move(case: Unmoved) -> None:
    seen = Seen(case.promotion, case.channel, case.assessment, case.artifact)
    decision = decide(seen, NOW)
    assert decision.channel is None
    status = decision.status
    assert status is not None
    assert (status.phase, status.reason) == (case.phase, case.reason)
    assert status.message is not None
    assert re.search(case.message, status.message)
    assert status.conditions[0].type == "Promoted"
    assert (status.conditions[0].status == "True") == (case.phase == "Promoted")
    assert (status.time is not None) == (case.phase in ("Promoted", "Refused"))
    decided = replace(seen, promotion=replace(case.promotion, status=status))
    assert decide(decided, NOW).status is None, "it says so once"


@dataclass(frozen=True)
class Moves:
    """Observed objects, and the last move they lead to."""

    name: str
    promotion: Promotion
    channel: Channel
    verdict: str | None = "Pass"
    approved_by: str | None = None
    assessment: Assessment = PASS


MOVES = (
    Moves("first", make_promotion(), make_channel()),
    Moves("next", make_promotion(from_="a"), make_channel("a")),
    Moves("automatic", make_promotion(from_="a", automatic=True), make_channel("a")),
    Moves("by hand while held", make_promotion(from_="a"), held(make_channel("a"))),
    Moves(
        "automatic once released",
        make_promotion(from_="a", automatic=True),
        held(make_channel("a", released_holds=("old-rollback",))),
    ),
    Moves(
        "approved",
        make_promotion(from_="a", approved_by="eve"),
        make_channel("a", approval="Required"),
        approved_by="eve",
    ),
    Moves(
        "inconclusive and approved",
        make_promotion(from_="a", outcome="Inconclusive", approved_by="eve"),
        make_channel("a"),
        verdict="Inconclusive",
        approved_by="eve",
        assessment=make_assessment(B, "Inconclusive"),
    ),
)


@pytest.mark.parametrize("case", MOVES, ids=lambda case: case.name)
def test_moves(case: Moves) -> None:
    after = decide(Seen(case.promotion, case.channel, case.assessment), NOW).channel
    assert after is not None
    move = after.history[-1]
    assert after.history[:-1] == case.channel.status.history
    assert (move.promotion, move.promotion_uid, move.kind) == ("p1", "uid-p1", "Promotion")
    assert (move.from_, move.to, move.uri) == (case.channel.digest, B, make_uri(B))
    assert (move.verdict, move.approved_by, move.by) == (case.verdict, case.approved_by, "ann")
    assert (move.evidence, move.job) == (case.assessment.evidence_digest, "mnist")
    assert after.current is not None
    assert (after.current.digest, after.current.uri) == (B, make_uri(B))
    assert (after.moves, after.short_digest) == (case.channel.status.moves + 1, B[7:19])
    assert after.conditions[0].model_dump(include={"type", "status", "reason"}) == {
        "type": "Ready",
        "status": "True",
        "reason": "Promoted",
    }


def test_rollback_goes_to_the_model_as_it_was_and_holds() -> None:
    world = World.of(make_channel("a", "b"), [make_rollback(reason="slow in production")])
    assert world.finish("back").status.reason == "RolledBack"
    status, (first, _) = world.channel.status, make_channel("a", "b").status.history
    assert status.history[-1].kind == "Rollback"
    for name in ("to", "uri", "evidence", "verdict", "job"):
        assert getattr(status.history[-1], name) == getattr(first, name)
    assert status.holds == (
        Hold(name="back", by="ann", reason="slow in production", since=status.history[-1].time),
    )
    assert status.conditions[1].status == "True"
    assert "fulcrum release production" in status.conditions[1].message


def test_rollback_goes_to_the_newest_of_equal_models() -> None:
    channel = make_channel("a", "b", "a", "c")
    twice = channel.status.history[2].model_copy(update={"job": "job-a-again"})
    history = (*channel.status.history[:2], twice, channel.status.history[3])
    status = channel.status.model_copy(update={"history": history})
    world = World.of(replace(channel, status=status), [make_rollback(from_="c")])
    world.finish("back")
    assert world.channel.status.history[-1].job == "job-a-again"


@pytest.mark.parametrize(
    ("promotion", "channel"),
    [
        *(pytest.param(case.promotion, case.channel, id=case.name) for case in UNMOVED),
        pytest.param(make_promotion(from_="b"), make_channel("a", "b"), id="promotion"),
        pytest.param(make_rollback(), make_channel("a", "b"), id="rollback"),
    ],
)
def test_proof_is_needed_only_if_the_decision_depends_on_it(
    promotion: Promotion, channel: Channel | None
) -> None:
    """The observer reads the store only then; a decision without the proof is impossible."""
    seen = Seen(promotion, channel)
    if needs_proof(seen, NOW):
        with pytest.raises(ValueError, match="was not read"):
            decide(seen, NOW)
    else:
        assert decide(seen, NOW) == decide(Seen(promotion, channel, PASS, "lost"), NOW)


@pytest.mark.parametrize("promotion", [make_promotion(from_="b"), make_rollback()])
def test_move_needs_proof(promotion: Promotion) -> None:
    assert needs_proof(Seen(promotion, make_channel("a", "b")), NOW)


@pytest.mark.parametrize("phase", ["Promoted", "Refused"])
def test_final_promotion_does_nothing(phase: str) -> None:
    status = ModelPromotionStatus.model_validate({"phase": phase})
    seen = Seen(replace(make_promotion(), status=status), make_channel(), PASS)
    assert decide(seen, NOW).status is decide(seen, NOW).channel is None


def test_approval_ends_the_wait() -> None:
    world = World.of(make_channel(approval="Required"), [make_promotion()])
    waiting = world.finish("p1")
    assert waiting.status.phase == "AwaitingApproval"
    approved = make_promotion(approved_by="eve").spec
    world.promotions["p1"] = replace(waiting, spec=approved, generation=2)
    done = world.finish("p1").status
    assert (done.phase, done.observed_generation) == ("Promoted", 2)
    assert done.message is not None
    assert done.message.endswith("asked by ann, approved by eve")


def test_time_of_a_promotion_is_that_of_its_move() -> None:
    world = World.of(make_channel(), [make_promotion()])
    world.act("p1", *world.look("p1"))  # then a crash, and a long night
    world.now = NOW.replace(day=25)
    assert world.finish("p1").status.time == world.channel.status.history[0].time


def test_channel_says_what_it_is_before_its_first_move() -> None:
    status = keep_up(make_channel(), NOW).status
    assert status is not None
    assert [(each.type, each.status, each.reason) for each in status.conditions] == [
        ("Ready", "False", "NothingPromoted"),
        ("Held", "False", "NoHold"),
    ]
    assert keep_up(replace(make_channel(), status=status), NOW.replace(day=25)).status is None


def test_released_holds_are_removed_and_announced() -> None:
    before = held(make_channel("a"))
    assert keep_up(before, NOW).announce == ()
    decision = keep_up(
        replace(before, spec=make_channel(released_holds=("old-rollback",)).spec), NOW
    )
    assert decision.status is not None
    assert decision.status.holds == ()
    assert [each.reason for each in decision.announce] == ["Released"]
    assert decision.status.conditions[1].status == "False"


def test_shorter_history_is_cut_but_never_the_current() -> None:
    status = keep_up(make_channel("a", "b", "c", history_limit=1), NOW).status
    assert status is not None
    assert [move.promotion for move in status.history] == ["to-c"]
    assert (status.moves, status.current) == (3, make_channel("a", "b", "c").status.current)
