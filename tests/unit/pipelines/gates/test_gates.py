"""Verdicts of the gates, and the figures in their reasons."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest
from builders.details import make_validate
from builders.figures import make_comparison, make_delta, make_interval, make_latency, make_metric
from builders.plans import make_digest
from gate_situations import accuracy_gate
from gate_subjects import GOOD, GOOD_DETAILS, by_class, make_gate, with_details
from scipy import stats
from statsmodels.stats.multitest import multipletests

from fulcrum_pipelines.evidence import Comparison
from fulcrum_pipelines.gates import decide
from fulcrum_pipelines.gates.interval import Observation, examples_to_decide, p_of_break
from fulcrum_pipelines.gates.verdict import Limit, worst
from fulcrum_pipelines.gates.wording import about, number
from fulcrum_pipelines.statistics import p_worse_than_margin


def reason(gate: object, *comparisons: Comparison) -> str:
    details = GOOD_DETAILS.model_copy(update={"comparisons": comparisons})
    return decide(with_details(details), [gate]).gates[0].reason  # type: ignore[list-item]


def test_the_case_that_five_published_rules_let_pass() -> None:
    """98.27 to 97.53 % on 1500 images, 15 broken and 4 fixed: within one relative percent."""
    details = GOOD_DETAILS.model_copy(
        update={"comparisons": (make_comparison(right=1474, broken=15, fixed=4, margin=None),)}
    )
    verdict = decide(with_details(details), [make_gate(metric="accuracy", margin=0.001)])
    assert verdict.outcome == "Fail"
    assert verdict.reasons == (
        "under-test: accuracy on all data -0.73 points, 95 % interval [-1.41, -0.18] points, "
        "n = 1500 (15 broken, 4 fixed); must be above -0.10 points: none of the interval is",
    )


def test_an_inconclusive_gate_says_how_many_examples_would_decide() -> None:
    said = reason(make_gate(metric="accuracy", margin=0.005), make_comparison())
    assert "reaches across" in said
    assert "examples would decide it" in said


def test_small_test_set_without_discordant_pairs_is_not_advised_thousands() -> None:
    few = make_comparison(n=100, broken=0, fixed=0)
    said = reason(make_gate(metric="accuracy", margin=0.01, min_samples=50), few)
    assert "about 1,100 examples would decide it" in said


def test_the_advised_number_of_examples_gives_the_power() -> None:
    """At that n a normal estimate clears the limit in 80 % of repetitions."""
    low, high, value, n = -0.012, 0.008, -0.002, 1000
    seen = Observation("x", value, make_interval(low, high), n, number)
    needed = examples_to_decide(seen, Limit(minimum=-0.01, strict=True))
    assert needed is not None
    error = (high - low) / 2 / stats.norm.ppf(0.975) * (n / needed) ** 0.5
    power = stats.norm.cdf((value + 0.01) / error - stats.norm.ppf(0.975))
    assert power == pytest.approx(0.8, abs=1e-6)


def test_no_number_of_examples_decides_a_value_on_the_limit() -> None:
    on_limit = make_delta("logLoss", 0.08, 0.08 + 0.25, 0.1)
    said = reason(make_gate(metric="logLoss", margin=on_limit.delta), on_limit)
    assert "lies on the limit" in said


@pytest.mark.parametrize("metric", ["macroF1", "auc"])
@pytest.mark.parametrize(("half_width", "verdict"), [(0.3, "Inconclusive"), (0.1, "Anomalous")])
def test_classes_without_an_example_leave_a_gate_undecided(
    metric: str, half_width: float, verdict: str
) -> None:
    """And evidence that hides them is refused."""
    recorded = {"unseen": 1e-4, "effective_n": 1500.0, "untested": 0.25}
    change = make_delta(metric, 0.9, 0.9, half_width, **recorded)
    details = GOOD_DETAILS.model_copy(update={"comparisons": (change,)})
    (decided,) = decide(with_details(details), [make_gate(metric=metric, margin=0.02)]).gates
    assert decided.verdict == verdict
    words = {"Inconclusive": "it takes examples of every class", "Anomalous": "is narrower than"}
    assert words[verdict] in decided.reason


def test_slices_are_corrected_as_statsmodels_does() -> None:
    slices = tuple(
        make_comparison(
            n=150, right=140, broken=broken, fixed=1, margin=None, slice=f"class={index}"
        )
        for index, broken in enumerate((2, 30, 16, 1, 0, 3, 14, 2, 1, 0))
    )
    details = GOOD_DETAILS.model_copy(update={"comparisons": (make_comparison(), *slices)})
    gate = make_gate(metric="accuracy", margin=0.01, slices=by_class(margin=0.04))
    (result,) = decide(with_details(details), [gate]).gates
    p_values = [p_worse_than_margin(each.counts, 0.04) for each in slices if each.counts]
    expected = multipletests(p_values, method="holm")[1]
    assert [each.p_adjusted for each in result.slices] == pytest.approx(list(expected))
    assert {each.slice for each in result.slices if each.verdict == "Fail"} == {
        f"class={index}" for index, p in enumerate(expected) if p < 0.025
    }


def test_the_p_value_from_an_interval_is_that_of_the_normal() -> None:
    error = 0.01
    half_width = error * stats.norm.ppf(0.975)
    seen = Observation("x", 0.05, make_interval(0.05 - half_width, 0.05 + half_width), 9, number)
    assert p_of_break(seen, Limit(maximum=0.03)) == pytest.approx(stats.norm.sf(2.0))
    assert p_of_break(seen, Limit(minimum=0.06)) == pytest.approx(stats.norm.sf(1.0))
    assert p_of_break(seen, Limit(minimum=0.04)) == 1.0


def test_a_recorded_p_value_counts_only_for_its_own_margin() -> None:
    def verdict(margin: float) -> str:
        slices = tuple(
            make_delta(
                "logLoss", 0.1, 0.16, 0.039, n=750, slice=f"class={i}", margin=0.02, p_inferior=1e-9
            )
            for i in range(2)
        )
        whole = make_delta("logLoss", 0.1, 0.1, 0.001)
        details = GOOD_DETAILS.model_copy(update={"comparisons": (whole, *slices)})
        gate = make_gate(metric="logLoss", margin=0.02, slices=by_class(margin=margin))
        return decide(with_details(details), [gate]).outcome

    assert verdict(0.02) == "Fail"  # although the interval alone would not do for two slices
    assert verdict(0.0199) == "Inconclusive"


def test_groups_are_counted_instead_of_examples() -> None:
    comparison = make_comparison(groups=12, mcnemar_p=None)
    assert "only 12 groups, minSamples is 30" in reason(
        make_gate(metric="accuracy", margin=0.02), comparison
    )


def test_groups_are_decided_by_the_recorded_interval() -> None:
    wide = make_comparison(groups=100, mcnemar_p=None, interval=make_interval(-0.05, 0.05))
    assert "[-5.00, +5.00]" in reason(make_gate(metric="accuracy", margin=0.02), wide)


def test_a_leak_is_named() -> None:
    said = reason(
        make_gate(metric="accuracy", margin=0.02), make_comparison(right=1300, broken=0, fixed=120)
    )
    assert "leak" in said


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"delta": -0.1}, "the change of accuracy on all is recorded as -0.1"),
        ({"direction": "lower"}, "lower accuracy on all is better"),
        ({"n": 1501}, "counts of accuracy on all do not add up"),
        ({"mcnemar_p": 0.5}, "McNemar's p"),
        ({"p_inferior": 0.5}, "p_inferior"),
        ({"groups": 2000}, "2000 groups"),
        ({"metric": "logLoss"}, "not a share of right answers"),
    ],
)
def test_altered_evidence_is_noticed(change: dict[str, object], words: str) -> None:
    altered = make_comparison().model_copy(update=change)
    metric = str(change.get("metric", "accuracy"))
    if metric == "logLoss":
        altered = altered.model_copy(update={"direction": "lower"})
    assert words in reason(make_gate(metric=metric, margin=0.01), altered)


def test_comparisons_that_contradict_each_other_are_noticed() -> None:
    said = reason(
        make_gate(metric="accuracy", margin=0.01), make_comparison(), make_comparison(broken=11)
    )
    assert "contradict" in said


def test_of_several_comparisons_that_of_the_gates_confidence_decides() -> None:
    narrow = make_delta("logLoss", 0.1, 0.1, 0.01)
    wide = narrow.model_copy(update={"interval": make_interval(-0.03, 0.03, level=0.99)})
    gate = make_gate(metric="logLoss", margin=0.02)
    assert "[-0.01, +0.01]" in reason(gate, wide, narrow)
    assert "[-0.03, +0.03]" in reason(gate.model_copy(update={"confidence": 0.99}), narrow, wide)


def test_speed_names_the_batches_that_were_timed() -> None:
    verdict = decide(GOOD, [make_gate("speedup", min=2.0, batch=8)])
    assert "batch 8 was not timed (timed: 1, 32)" in verdict.reasons[0]


def test_identical_files_have_no_difference() -> None:
    details = make_validate(identical_models=True, latency=(make_latency(1, speedup=1.3),))
    result = decide(with_details(details), [make_gate("speedup", min=1.1)]).gates[0]
    assert (result.verdict, result.value) == ("Fail", 1.0)
    assert "no difference" in result.reason


def test_a_relative_change_needs_a_positive_baseline() -> None:
    said = reason(make_gate("change", metric="r2", min=-0.1), make_delta("r2", -0.2, -0.1, 0.01))
    assert "needs a value above 0" in said


def test_a_relative_change_needs_a_baseline_that_is_known_well() -> None:
    gate = make_gate("change", metric="logLoss", max=0.5)
    change = make_delta("logLoss", 0.08, 0.081, 0.001)

    def said(half_width: float | None) -> str:
        known = make_metric("logLoss", 0.08, half_width=half_width)
        details = GOOD_DETAILS.model_copy(
            update={"comparisons": (change,), "metrics_baseline": (known,)}
        )
        return decide(with_details(details), [gate]).reasons[0]

    assert "all of the interval is" in said(0.01)
    assert "not known well enough to divide by" in said(0.08)
    assert "the interval of the baseline's logLoss on all is missing" in said(None)


def test_a_relative_change_of_what_noise_raises_is_refused() -> None:
    said = reason(make_gate("change", metric="ece", max=0.5), make_delta("ece", 0.02, 0.02, 0.001))
    assert "use kind calibration or nonInferiority" in said


def test_a_relative_change_of_right_answers_is_decided_from_counts() -> None:
    gate = make_gate("change", metric="accuracy", min=-0.02)
    known = make_metric("accuracy", GOOD_DETAILS.comparisons[0].baseline, half_width=None)
    details = GOOD_DETAILS.model_copy(update={"metrics_baseline": (known,)})
    assert decide(with_details(details), [gate]).outcome == "Pass"


@dataclass(frozen=True)
class Width:
    """A recorded interval, with what its record says of changes that were not seen."""

    name: str
    half_width: float
    unseen: float | None
    effective_n: float | None
    verdict: str
    words: str


# 200 units that cost 0.01 each: the interval must reach 3.84 * 0.01 / (1 + 3.84 / 200) = 0.0377.
WIDTHS = (
    Width("none-in-old-evidence", 0.0, None, None, "Inconclusive", "has no width"),
    Width("some-in-old-evidence", 0.001, None, None, "Pass", "all of the interval is"),
    Width("enough", 0.038, 0.01, 200, "Pass", "all of the interval is"),
    Width("too-narrow", 0.03, 0.01, 200, "Anomalous", "narrower than 200 independent examples"),
    Width("none", 0.0, 0.01, 200, "Anomalous", "narrower than 200 independent examples"),
    Width("nothing-unseen", 0.01, 0.0, 200, "Anomalous", "nothing unseen could change it"),
)


@pytest.mark.parametrize("row", WIDTHS, ids=lambda row: row.name)
@pytest.mark.parametrize("groups", [None, 300])
def test_no_interval_is_narrower_than_the_examples_allow(row: Width, groups: int | None) -> None:
    unseen: dict[str, Any] = {
        "unseen": row.unseen,
        "effective_n": row.effective_n,
        "groups": groups,
    }
    change = make_delta("logLoss", 0.08, 0.08, row.half_width, **unseen)
    own = make_metric("logLoss", 0.08, half_width=row.half_width, **unseen)
    details = GOOD_DETAILS.model_copy(
        update={"comparisons": (change,), "metrics_candidate": (own,)}
    )
    gates = (
        make_gate(metric="logLoss", margin=0.05),
        make_gate("threshold", metric="logLoss", max=0.15),
    )
    for gate in gates:
        verdict = decide(with_details(details), [gate]).gates[0]
        assert (verdict.verdict, row.words in verdict.reason) == (row.verdict, True), verdict


def test_groups_of_one_model_are_counted_instead_of_examples() -> None:
    own = make_metric("logLoss", 0.08, half_width=0.01, groups=12)
    details = GOOD_DETAILS.model_copy(update={"metrics_candidate": (own,)})
    gate = make_gate("threshold", metric="logLoss", max=0.15)
    assert "only 12 groups, minSamples is 30" in decide(with_details(details), [gate]).reasons[0]


def test_slices_that_pass_are_counted_in_the_reason() -> None:
    assert "so do all 10 slices" in decide(GOOD, [accuracy_gate()]).reasons[0]


def test_nothing_is_never_a_pass() -> None:
    assert worst([]) == "Inconclusive"
    assert decide(GOOD, []).reasons == ("there are no gates, and nothing passes unproven",)


@pytest.mark.parametrize(
    ("count", "words"),
    [(7.2, "about 8"), (614, "about 620"), (4231, "about 4,300"), (3e9, "more than a billion")],
)
def test_numbers_of_examples_are_round(count: float, words: str) -> None:
    assert about(count) == words


def test_deciding_needs_no_numpy() -> None:
    """Nor torch, nor anything but the contract: what the operator's image and an auditor have."""
    code = (
        "import sys, fulcrum_pipelines.gates; "
        "print(sorted({'numpy', 'torch', 'yaml', 'typer', 'kfp'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("on_trust", "named"),
    [
        pytest.param((), None, id="files"),
        pytest.param(("train",), "in train is", id="a function gives train"),
        pytest.param(("train", "validation"), "in train or validation is", id="both"),
        pytest.param(None, "in train is", id="evidence of an earlier version"),
    ],
)
def test_verdict_names_data_whose_overlap_is_the_authors_word(
    on_trust: tuple[str, ...] | None, named: str | None
) -> None:
    found = with_details(GOOD_DETAILS.model_copy(update={"overlap_on_trust": on_trust}))
    evaluate = found.stages[0]
    inputs = {**evaluate.inputs, "data.train": make_digest("train data")}
    stages = (evaluate.model_copy(update={"inputs": inputs}), *found.stages[1:])
    caveats = decide(found.model_copy(update={"stages": stages}), [accuracy_gate()]).caveats
    assert len(caveats) == (named is not None)
    assert named is None or named in caveats[0]
