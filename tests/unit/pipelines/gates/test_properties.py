"""Properties of every verdict, for all evidence."""

from __future__ import annotations

import math
import random
from typing import Any

from builders.details import make_validate
from builders.evidence import make_evidence
from builders.figures import make_comparison, make_delta
from gate_situations import accuracy_gate
from gate_subjects import GOOD, by_class, make_gate, with_details
from hypothesis import given, settings
from hypothesis import strategies as st

from fulcrum_pipelines.evidence import Comparison, Evidence
from fulcrum_pipelines.gates import Outcome, Verdict, decide
from fulcrum_pipelines.resources.compressionjob import Gate

# Machines under load are slow at random; a slow example is no failure.
untimed = settings(deadline=None, max_examples=40)

ORDER: tuple[Outcome, ...] = ("Fail", "Inconclusive", "Pass")
margins = st.floats(0.0, 0.2)
LARGE_GAIN = 1.0  # so that fixed answers do not become anomalous where that is not the question


def rank(outcome: Outcome) -> int:
    return ORDER.index(outcome)


def counted(broken: int, fixed: int, where: str = "all", n: int = 600) -> Comparison:
    return make_comparison(n=n, right=n // 2, broken=broken, fixed=fixed, margin=None, slice=where)


def evidence_of(*comparisons: Comparison) -> Evidence:
    return with_details(make_validate().model_copy(update={"comparisons": comparisons}))


def gate_with(margin: float, **changes: Any) -> Gate:
    return make_gate(metric="accuracy", margin=margin, max_gain=LARGE_GAIN, **changes)


@untimed
@given(st.integers(0, 80), st.integers(0, 80), st.integers(1, 100), margins)
def test_more_harm_never_helps(broken: int, fixed: int, more: int, margin: float) -> None:
    gates = [gate_with(margin)]
    before = decide(evidence_of(counted(broken, fixed)), gates).outcome
    harmed = decide(evidence_of(counted(broken + more, fixed)), gates).outcome
    unfixed = decide(evidence_of(counted(broken, max(0, fixed - more))), gates).outcome
    assert rank(harmed) <= rank(before)
    assert rank(unfixed) <= rank(before)


@untimed
@given(st.lists(st.integers(0, 60), min_size=5, max_size=5), st.integers(1, 60), margins)
def test_more_harm_on_a_slice_never_helps(harm: list[int], more: int, margin: float) -> None:
    def outcome(broken: list[int]) -> Outcome:
        slices = [counted(b, 3, f"class={i}", n=300) for i, b in enumerate(broken)]
        return decide(
            evidence_of(counted(0, 0, n=1500), *slices),
            [gate_with(margin, slices=by_class())],
        ).outcome

    assert rank(outcome([harm[0] + more, *harm[1:]])) <= rank(outcome(harm))


@untimed
@given(st.lists(st.integers(0, 60), min_size=3, max_size=3), margins, st.floats(0.0, 0.1))
def test_a_wider_margin_never_hurts(harm: list[int], margin: float, wider: float) -> None:
    slices = [counted(b, 3, f"class={i}", n=500) for i, b in enumerate(harm)]
    evidence = evidence_of(counted(sum(harm), 9, n=1500), *slices)
    narrow, wide = (
        decide(evidence, [gate_with(each, slices=by_class())]).outcome
        for each in (margin, margin + wider)
    )
    assert rank(wide) >= rank(narrow)


@untimed
@given(st.floats(-0.1, 0.1), st.floats(0, 0.1), margins, st.floats(0, 0.1))
def test_a_wider_margin_never_hurts_a_recorded_interval(
    delta: float, half_width: float, margin: float, wider: float
) -> None:
    evidence = evidence_of(make_delta("logLoss", 0.2, 0.2 + delta, half_width))
    narrow, wide = (
        decide(evidence, [make_gate(metric="logLoss", margin=each)]).outcome
        for each in (margin, margin + wider)
    )
    assert rank(wide) >= rank(narrow)


POLICY = (
    accuracy_gate(name="accuracy"),
    make_gate(name="loss", metric="logLoss", margin=0.02),
    make_gate("speedup", name="speed", min=5.7),
    make_gate("size", name="size", max=0.05),
    make_gate("churn", name="churn", max=0.001, mode="DryRun"),
    make_gate("calibration", name="calibration", max=0.01),
    make_gate("threshold", name="floor", metric="accuracy", min=0.95),
)
policies = st.lists(st.sampled_from(POLICY), unique_by=lambda gate: gate.name)


@untimed
@given(policies, st.randoms(use_true_random=False))
def test_the_order_of_gates_does_not_matter(policy: list[Gate], shuffle: random.Random) -> None:
    other = list(policy)
    shuffle.shuffle(other)
    first, second = decide(GOOD, policy), decide(GOOD, other)
    assert first.outcome == second.outcome
    assert first.policy == second.policy
    assert sorted(first.reasons) == sorted(second.reasons)
    assert {each.name: each for each in first.gates} == {each.name: each for each in second.gates}


@untimed
@given(policies, policies)
def test_a_dry_run_never_blocks_and_never_passes(policy: list[Gate], others: list[Gate]) -> None:
    dry = [
        gate.model_copy(update={"mode": "DryRun", "name": f"dry-{gate.name}"}) for gate in others
    ]
    assert decide(GOOD, [*policy, *dry]).outcome == decide(GOOD, policy).outcome
    assert decide(GOOD, dry).outcome == "Inconclusive"


@untimed
@given(policies, st.data())
def test_removing_evidence_never_makes_a_pass(policy: list[Gate], data: st.DataObject) -> None:
    details = make_validate()
    fields = ("comparisons", "metrics_baseline", "metrics_candidate", "latency")
    field = data.draw(st.sampled_from(fields))
    records = getattr(details, field)
    gone = data.draw(st.integers(0, len(records) - 1))
    left = details.model_copy(update={field: (*records[:gone], *records[gone + 1 :])})
    before, after = decide(GOOD, policy), decide(with_details(left), policy)
    assert before.outcome == "Pass" or after.outcome != "Pass"
    for had, has in zip(before.gates, after.gates, strict=True):
        assert had.verdict == "Pass" or has.verdict != "Pass"


def test_removing_a_failing_slice_is_noticed() -> None:
    slices = [counted(40 if i == 3 else 0, 0, f"class={i}", n=150) for i in range(10)]
    gates = [gate_with(0.05, slices=by_class())]
    whole = counted(0, 0, n=1500)
    assert decide(evidence_of(whole, *slices), gates).outcome == "Fail"
    del slices[3]
    assert decide(evidence_of(whole, *slices), gates).outcome == "Inconclusive"


numbers = st.one_of(st.none(), st.sampled_from([math.nan, math.inf, -math.inf]), st.floats(-2, 2))


@untimed
@given(st.data())
def test_no_evidence_whatsoever_raises(data: st.DataObject) -> None:
    spoiled = []
    for comparison in make_validate().comparisons[:4]:
        fields = ("baseline", "candidate", "delta", "p_inferior", "churn", "mcnemar_p", "margin")
        changes: dict[str, Any] = {
            name: data.draw(numbers) for name in data.draw(st.sets(st.sampled_from(fields)))
        }
        if data.draw(st.booleans()):
            changes["n"] = data.draw(st.integers(-1, 3))
        spoiled.append(comparison.model_copy(update=changes))
    verdict = decide(evidence_of(*spoiled), POLICY)
    assert verdict.outcome != "Pass"
    assert verdict.reasons


@untimed
@given(policies)
def test_verdict_can_be_recomputed_from_the_files(policy: list[Gate]) -> None:
    verdict = decide(make_evidence(), policy)
    read = Evidence.model_validate_json(make_evidence().model_dump_json())
    again = [Gate.model_validate_json(gate.model_dump_json(by_alias=True)) for gate in policy]
    assert decide(read, again) == verdict
    assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict
