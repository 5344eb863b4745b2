"""Properties of a channel that hold for all requests in all orders."""

from __future__ import annotations

from dataclasses import replace

import pytest
from builders.plans import make_digest
from channels import NOW, World, make_assessment, make_channel, make_promotion, make_rollback
from hypothesis import given, settings
from hypothesis import strategies as st
from stored_runs import Outcome

from fulcrum_operator.promotion import decide
from fulcrum_operator.promotion.seen import PromotionDecision, Seen

untimed = settings(deadline=None, max_examples=200)
MODELS = st.sampled_from(["a", "b", "c", "d"])


@untimed
@given(
    targets=st.tuples(st.sampled_from(["b", "c"]), st.sampled_from(["b", "c", "old"])),
    steps=st.lists(st.tuples(st.sampled_from(["p1", "p2"]), st.sampled_from(["go", "crash"]))),
)
def test_of_two_with_the_same_origin_one_moves(
    targets: tuple[str, str], steps: list[tuple[str, str]]
) -> None:
    """A step is a look or the act that follows it; after a crash there is another look."""
    first = make_promotion(targets[0], from_="a", name="p1")
    second = make_promotion(targets[1], from_="a", name="p2")
    if targets[1] == "old":
        second = make_rollback("old", from_="a", name="p2")
    world = World.of(make_channel("old", "a"), [first, second])
    planned: dict[str, tuple[int, PromotionDecision]] = {}
    for name, what in steps:
        if what == "crash":
            planned.clear()
        elif name in planned:
            world.act(name, *planned.pop(name))
        else:
            planned[name] = world.look(name)
    for name, plan in planned.items():
        world.act(name, *plan)
    ended = [world.finish("p1"), world.finish("p2")]
    (winner,) = world.moved_by
    (loser,) = {"p1", "p2"} - {winner}
    assert {each.name: each.status.phase for each in ended} == {
        winner: "Promoted",
        loser: "Refused",
    }
    refused = world.promotions[loser].status
    assert refused.reason == "ChannelMoved"
    assert f"promotion {winner} moved it" in (refused.message or "")


@untimed
@given(
    outcome=st.sampled_from(["Fail", "Anomalous"]),
    approved_by=st.sampled_from(["", "eve"]),
    automatic=st.booleans(),
    approval=st.sampled_from(["None", "Required"]),
    to=MODELS,
)
def test_what_the_gates_rejected_never_moves(
    outcome: Outcome, approved_by: str, automatic: bool, approval: str, to: str
) -> None:
    promotion = make_promotion(
        to, from_="a", outcome=outcome, approved_by=approved_by, automatic=automatic
    )
    world = World.of(make_channel("a", approval=approval), [promotion], outcome=outcome)
    assert world.finish("p1").status.phase == "Refused"
    assert not world.moved_by


@untimed
@given(validated=MODELS, asked=MODELS, recorded=MODELS)
def test_only_the_judged_artifact_moves(validated: str, asked: str, recorded: str) -> None:
    """Forged evidence, consistent in itself, has another digest than the promotion names."""
    promotion = make_promotion(asked)
    named = promotion.spec.evidence
    assert named is not None
    digest = make_assessment(make_digest(recorded)).evidence_digest
    spec = promotion.spec.model_copy(
        update={"evidence": named.model_copy(update={"digest": digest})}
    )
    seen = Seen(
        replace(promotion, spec=spec), make_channel(), make_assessment(make_digest(validated))
    )
    moved = decide(seen, NOW).channel is not None
    assert moved == (validated == asked == recorded)


@untimed
@given(moves=st.lists(st.tuples(MODELS, st.booleans()), max_size=12), limit=st.integers(1, 5))
def test_history_only_grows_at_its_end(moves: list[tuple[str, bool]], limit: int) -> None:
    world = World.of(make_channel(history_limit=limit), [])
    for number, (model, back) in enumerate(moves):
        before, name = world.channel.status, f"p{number}"
        make = make_rollback if back else make_promotion
        promotion = make(model, name=name)
        spec = promotion.spec.model_copy(update={"from_": world.channel.digest})
        world.promotions[name] = replace(promotion, spec=spec)
        world.finish(name)
        after = world.channel.status
        if after.moves == before.moves:
            assert after == before
            continue
        assert after.moves == before.moves + 1
        assert after.history == (*before.history, after.history[-1])[-limit:]
        assert after.current is not None
        assert after.current.digest == after.history[-1].to == make_digest(model)
        assert after.history[-1].from_ == (before.current.digest if before.current else "")


@pytest.mark.parametrize("name", ["p1", "back"])
def test_one_promotion_moves_once(name: str) -> None:
    """Also where others have moved the channel back to where it began."""
    promotion = make_promotion("b", from_="a", name="p1")
    world = World.of(make_channel("c", "a"), [promotion, make_rollback("a", name="back")])
    world.act("p1", *world.look("p1"))
    world.finish("back")
    assert world.finish(name).status.phase == "Promoted"
    assert world.moved_by == ["p1", "back"]
