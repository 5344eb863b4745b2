"""Paired comparisons: what they rest on, what they say in odd cases, how often they are right."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outcome_makers import Array, PairOfModels, classifiers, labelled, regressors, softmax
from scipy import stats

from fulcrum_components.evaluation import (
    METRICS,
    Outcomes,
    Request,
    Slice,
    compare,
    compare_all,
    compute_metrics,
    metric_value,
)
from fulcrum_components.evaluation.bootstrap import paired_replicates
from fulcrum_components.evaluation.comparing import NO_DIFFERENCE, NO_EXAMPLES, NO_SPREAD
from fulcrum_components.evaluation.floor import influenced
from fulcrum_components.evaluation.statistic import mean_statistic
from fulcrum_pipelines.catalog import TASKS
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.evidence import Comparison
from fulcrum_pipelines.statistics import paired_difference_interval

CLASSIFICATION = TASKS["classification"].metrics
REGRESSION = TASKS["regression"].metrics


def of_task(task: str, n: int, seed: int = 0) -> PairOfModels:
    return classifiers(n, 7, seed) if task == "classification" else regressors(n, seed)


ALL_METRICS = [("classification", m) for m in CLASSIFICATION] + [
    ("regression", m) for m in REGRESSION
]


@pytest.mark.parametrize(("task", "metric"), ALL_METRICS)
def test_a_comparison_holds_both_values_and_an_interval_around_their_difference(
    task: str, metric: str
) -> None:
    pair = of_task(task, 300)
    found = compare(pair.baseline, pair.candidate, metric, task, margin=0.01)
    assert found.baseline == metric_value(pair.baseline, metric)
    assert found.candidate == metric_value(pair.candidate, metric)
    assert found.delta == pytest.approx(found.candidate - found.baseline)
    assert found.interval is not None
    assert found.interval.low < found.delta < found.interval.high
    assert found.p_inferior is not None
    assert 0 < found.p_inferior < 1
    assert (found.churn is None) == (task == "regression")


@pytest.mark.parametrize(("task", "metric"), ALL_METRICS)
def test_swapping_the_models_turns_the_difference_around(task: str, metric: str) -> None:
    pair = of_task(task, 200)
    there = compare(pair.baseline, pair.candidate, metric, task)
    back = compare(pair.candidate, pair.baseline, metric, task)
    assert there.interval is not None
    assert back.interval is not None
    assert back.delta == pytest.approx(-there.delta)
    width = there.interval.high - there.interval.low
    assert back.interval.low == pytest.approx(-there.interval.high, abs=0.01 * width)
    assert back.interval.high == pytest.approx(-there.interval.low, abs=0.01 * width)


@pytest.mark.parametrize(("task", "metric"), ALL_METRICS)
def test_p_is_small_exactly_where_the_interval_is_beyond_the_margin(task: str, metric: str) -> None:
    pair = of_task(task, 300, seed=3)
    better_if_higher = compare(pair.baseline, pair.candidate, metric, task).direction == "higher"
    interval = compare(pair.baseline, pair.candidate, metric, task, confidence=0.9).interval
    assert interval is not None
    bound = interval.high if better_if_higher else -interval.low
    width = interval.high - interval.low
    for shift, small in ((-0.05 * width, False), (0.05 * width, True)):
        margin = -bound - shift
        moved = compare(pair.baseline, pair.candidate, metric, task, margin=margin)
        assert moved.p_inferior is not None
        assert (moved.p_inferior < 0.05) == small


def test_shares_of_right_answers_rest_on_counts() -> None:
    before = labelled([0] * 50, [0] * 40 + [1] * 10, 3)
    after = labelled([0] * 50, [0] * 35 + [2] * 5 + [0] * 3 + [2] * 7, 3)
    found = compare(before, after, "accuracy", "classification", margin=0.02)
    assert found.counts is not None
    assert found.counts.model_dump() == {
        "both_right": 35,
        "only_baseline_right": 5,
        "only_candidate_right": 3,
        "both_wrong": 7,
    }
    assert found.interval == paired_difference_interval(found.counts, 0.95)
    assert found.mcnemar_p == pytest.approx(stats.binomtest(3, 8).pvalue)
    assert found.churn == 15 / 50
    assert found.churn_interval is not None
    assert found.churn_interval.method == "clopper-pearson"


def test_auc_differs_by_delongs_variance() -> None:
    pair = classifiers(80, 2)
    found = influenced(METRICS["auc"], [pair.baseline, pair.candidate], None)
    assert found is not None
    assert found.error == pytest.approx(delong_error(pair), rel=1e-9)


def test_auc_has_the_degrees_of_freedom_of_the_class_that_varies() -> None:
    """Nine positives among 500: Student's t is about that of 8 degrees, not of 499."""
    generator = np.random.default_rng(0)
    targets = (np.arange(500) < 9).astype(np.int64)
    both = [
        Outcomes(softmax(generator.normal(size=(500, 2)) + np.eye(2)[targets]), targets)
        for _ in range(2)
    ]
    found = influenced(METRICS["auc"], both, None)
    assert found is not None
    assert 8 <= found.units - 1 <= 10


def delong_error(pair: PairOfModels) -> float:
    """The standard error as DeLong et al. 1988 write it, pair by pair of examples."""
    positive = pair.baseline.targets == 1
    above, below = [], []
    for outcomes in (pair.baseline, pair.candidate):
        scores = outcomes.outputs[:, 1]
        more = scores[positive][:, None] - scores[~positive][None, :]
        wins = (more > 0) + 0.5 * (more == 0)
        above.append(wins.mean(axis=1))
        below.append(wins.mean(axis=0))
    contrast = np.array([-1.0, 1.0])
    covariance = np.cov(above) / positive.sum() + np.cov(below) / (~positive).sum()
    return math.sqrt(contrast @ covariance @ contrast)


@dataclass(frozen=True)
class Odd:
    """A comparison without spread."""

    name: str
    pair: PairOfModels
    metric: str
    task: str
    note: str
    has_interval: bool


def same(outcomes: Outcomes) -> PairOfModels:
    return PairOfModels(outcomes, outcomes)


def only(pair: PairOfModels, n: int) -> PairOfModels:
    first = np.arange(n)
    return PairOfModels(pair.baseline.take(first), pair.candidate.take(first))


ODD = (
    Odd("loss-of-none", only(classifiers(9), 0), "logLoss", "classification", NO_EXAMPLES, False),
    Odd("accuracy-of-none", only(classifiers(9), 0), "accuracy", "classification", "", False),
    Odd("loss-of-one", only(classifiers(9), 1), "logLoss", "classification", NO_SPREAD, False),
    Odd("rmse-of-one", only(regressors(9), 1), "rmse", "regression", NO_SPREAD, False),
    Odd("r2-of-one", only(regressors(9), 1), "r2", "regression", "undefined", False),
    Odd("accuracy-of-one", only(classifiers(9), 1), "accuracy", "classification", "", True),
    Odd("same-loss", same(classifiers(50).baseline), "logLoss", "classification", "both", True),
    Odd("same-ece", same(classifiers(50).baseline), "ece", "classification", "both", True),
    Odd("same-auc", same(classifiers(50).baseline), "auc", "classification", "both", True),
    Odd("same-f1", same(classifiers(50).baseline), "macroF1", "classification", "both", True),
    Odd("same-r2", same(regressors(50).baseline), "r2", "regression", NO_DIFFERENCE, True),
    Odd("same-accuracy", same(classifiers(50).baseline), "accuracy", "classification", "", True),
    Odd(
        "auc-of-one-class",
        same(labelled([1] * 9, [1] * 9, 3)),
        "auc",
        "classification",
        "two",
        False,
    ),
)


@pytest.mark.parametrize("row", ODD, ids=lambda row: row.name)
def test_odd_cases_are_finite_and_noted(row: Odd) -> None:
    groups = [None, np.zeros(len(row.pair.baseline), dtype=int)]
    for group in groups:
        found = compare(
            row.pair.baseline, row.pair.candidate, row.metric, row.task, margin=0.1, groups=group
        )
        Comparison.model_validate_json(found.model_dump_json())
    found = compare(row.pair.baseline, row.pair.candidate, row.metric, row.task, margin=0.1)
    assert row.note in found.note
    assert (found.interval is not None) == row.has_interval
    assert (found.p_inferior is not None) == row.has_interval


def test_no_difference_in_right_answers_still_has_an_interval() -> None:
    outcomes = classifiers(100).baseline
    for groups in (None, np.arange(100) // 5):
        found = compare(outcomes, outcomes, "accuracy", "classification", groups=groups)
        assert found.interval is not None
        assert found.interval.low < -0.02
        assert found.churn_interval is not None
        assert found.churn_interval.high > 0.02


def test_a_shift_of_every_error_is_not_known_exactly() -> None:
    targets = np.arange(20.0)
    pair = PairOfModels(Outcomes(targets + 1, targets), Outcomes(targets + 2, targets))
    found = compare(pair.baseline, pair.candidate, "mae", "regression", margin=0.5)
    assert found.interval is not None
    assert found.unseen is not None
    assert found.interval.high - 1 > 3 * found.unseen
    assert found.interval.low == pytest.approx(2 - found.interval.high)
    assert found.interval.method == "bootstrap-bca, not below unseen-changes"


def test_groups_widen_the_interval_of_repeated_examples() -> None:
    pair = classifiers(60)
    copies = np.repeat(np.arange(60), 10)
    many = PairOfModels(pair.baseline.take(copies), pair.candidate.take(copies))
    for metric in ("accuracy", "logLoss", "auc", "macroF1"):
        widths = []
        for outcomes, groups in ((pair, None), (many, None), (many, copies)):
            found = compare(
                outcomes.baseline, outcomes.candidate, metric, "classification", groups=groups
            )
            assert found.interval is not None
            widths.append(found.interval.high - found.interval.low)
        alone, ignored, grouped = widths
        assert ignored < 0.5 * alone
        assert grouped == pytest.approx(alone, rel=0.25)


def test_grouped_comparisons_say_so() -> None:
    pair = classifiers(60)
    found = compare(
        pair.baseline, pair.candidate, "accuracy", "classification", groups=np.arange(60) % 12
    )
    assert found.groups == 12
    assert found.mcnemar_p is None
    assert found.interval is not None
    assert found.interval.method == "score-over-groups"
    assert found.effective_n == 12
    assert found.unseen == pytest.approx(1 / 12)


def test_a_slice_is_compared_as_if_it_were_all() -> None:
    pair = classifiers(200)
    mask = np.arange(200) < 80
    part = Slice("half=a", "half", mask)
    groups = np.arange(200) // 4
    sliced = compare(
        pair.baseline, pair.candidate, "logLoss", "classification", part=part, groups=groups
    )
    alone = compare(
        pair.baseline.take(mask),
        pair.candidate.take(mask),
        "logLoss",
        "classification",
        groups=groups[mask],
    )
    assert sliced == alone.model_copy(update={"slice": "half=a"})


def test_requests_are_answered_in_their_order_and_each_at_its_level() -> None:
    pair = classifiers(100)
    part = Slice("half=a", "half", np.arange(100) < 50)
    requests = [
        Request("logLoss", part, 0.9),
        Request("accuracy"),
        Request("logLoss", margin=0.1),
        Request("logLoss", part, 0.99),
    ]
    found = compare_all(pair.baseline, pair.candidate, requests, "classification")
    assert [(f.metric, f.slice, f.margin) for f in found] == [
        (r.metric, r.part.name, r.margin) for r in requests
    ]
    assert [f.interval.level for f in found if f.interval] == [0.9, 0.95, 0.95, 0.99]
    assert found[0].interval is not None
    assert found[3].interval is not None
    assert found[3].interval.low < found[0].interval.low


@dataclass(frozen=True)
class Unpaired:
    """Outcomes that do not belong together."""

    name: str
    candidate: Outcomes
    says: str


FOUR = labelled([0, 1, 2, 0], [0, 1, 2, 0], 3)
UNPAIRED = (
    Unpaired("fewer", labelled([0, 1, 2], [0, 1, 2], 3), "4 and 3 examples"),
    Unpaired("other-order", labelled([1, 0, 2, 0], [0, 1, 2, 0], 3), "same order"),
    Unpaired("more-classes", labelled([0, 1, 2, 0], [0, 1, 2, 0], 4), r"outputs \[3\]"),
)


@pytest.mark.parametrize("row", UNPAIRED, ids=lambda row: row.name)
def test_outcomes_of_other_examples_are_refused(row: Unpaired) -> None:
    with pytest.raises(UserError, match=row.says):
        compare(FOUR, row.candidate, "accuracy", "classification")


def test_equal_seeds_give_equal_evidence() -> None:
    pair = classifiers(100)
    requests = [Request(name, margin=0.01) for name in CLASSIFICATION if name != "top5"]
    first, again, other = (
        compare_all(pair.baseline, pair.candidate, requests, "classification", seed=seed)
        for seed in (5, 5, 6)
    )
    assert first == again
    assert first != other


def test_very_many_examples_are_pooled_into_parts() -> None:
    pair = regressors(100_000)
    found = compare(pair.baseline, pair.candidate, "mse", "regression")
    differences = (pair.candidate.outputs - pair.candidate.targets) ** 2
    differences -= (pair.baseline.outputs - pair.baseline.targets) ** 2
    half = NormalDist().inv_cdf(0.975) * differences.std() / math.sqrt(100_000)
    assert found.interval is not None
    width = found.interval.high - found.interval.low
    assert 2 * half < width < 2.6 * half  # the floor is a tenth of it here


@settings(max_examples=25, deadline=None)
@given(
    st.integers(2, 40), st.integers(0, 10_000), st.sampled_from(CLASSIFICATION), st.integers(1, 5)
)
def test_evidence_is_finite_for_all_outcomes(n: int, seed: int, metric: str, groups: int) -> None:
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, 3, n)
    both = []
    for _ in range(2):
        raw: Array = generator.integers(0, 3, (n, 3)) + 1e-3
        both.append(Outcomes((raw / raw.sum(1, keepdims=True)).astype(np.float32), targets))
    for units in (None, np.arange(n) % groups):
        found = compare(*both, metric, "classification", margin=0.02, groups=units, confidence=0.99)
        Comparison.model_validate_json(found.model_dump_json())
        if found.interval is not None:
            assert found.interval.low <= found.interval.high


# Coverage: 120 simulated test sets each. With a true coverage of 95 % the number of intervals that
# hold the truth is Binomial(120, 0.95): below 106 in 1 of 500 draws, and the seeds are fixed.
# Bootstrap intervals of 80 examples are allowed three points less.
RUNS, EXAMPLES, FEWEST_HITS = 120, 80, 103


@pytest.mark.parametrize(
    ("task", "metric"), [row for row in ALL_METRICS if row[1] not in ("top5", "r2")]
)
def test_95_percent_intervals_hold_the_truth_about_as_often(task: str, metric: str) -> None:
    truth = 0.0
    for seed in range(3):
        pair = simulated(task, 60_000, (1, seed))
        before, after = (metric_value(o, metric) for o in (pair.baseline, pair.candidate))
        assert before is not None
        assert after is not None
        truth += (after - before) / 3
    hits = 0
    for seed in range(RUNS):
        pair = simulated(task, EXAMPLES, (2, seed))
        interval = compare(pair.baseline, pair.candidate, metric, task, seed=seed).interval
        assert interval is not None
        hits += interval.low <= truth <= interval.high
    assert hits >= FEWEST_HITS


def simulated(task: str, n: int, seed: tuple[int, ...]) -> PairOfModels:
    return classifiers(n, 3, seed) if task == "classification" else regressors(n, seed)


def test_bootstrap_intervals_agree_with_textbook_ones() -> None:
    outcomes = regressors(400).baseline
    errors = np.abs(outcomes.outputs - outcomes.targets)
    statistic = mean_statistic(errors, np.arange(400))
    (replicates,) = paired_replicates([(statistic, None)], 400, 2000, 0)
    interval = replicates.interval(0.95)
    expected = stats.t.interval(0.95, 399, errors.mean(), stats.sem(errors))
    assert interval.high - interval.low == pytest.approx(expected[1] - expected[0], rel=0.1)
    assert interval.low > expected[0]  # skewed errors: BCa reaches further up


def test_noise_does_not_make_a_calibrated_model_fail() -> None:
    """ECE of few examples is far above the true one; its interval must reach down to it."""
    truth = metric_value(simulated("classification", 60_000, (1, 0)).baseline, "ece")
    assert truth is not None
    hits = seen_above = 0
    for seed in range(60):
        outcomes = simulated("classification", EXAMPLES, (2, seed)).baseline
        (metric,) = compute_metrics(outcomes, "classification", names=["ece"], seed=seed)
        assert metric.value is not None
        assert metric.interval is not None
        hits += metric.interval.low <= truth <= metric.interval.high
        seen_above += metric.value > truth
    assert seen_above > 55
    assert hits >= 51
