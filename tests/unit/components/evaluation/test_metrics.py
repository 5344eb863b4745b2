"""Compare every metric with scikit-learn, and check when it has no value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outcome_makers import Array, classifiers, labelled, regressors
from sklearn import metrics as reference

from fulcrum_components.evaluation import (
    METRICS,
    Outcomes,
    compute_metrics,
    confusion_matrix,
    metric_value,
)
from fulcrum_components.evaluation.metrics.auc import binary_auc, mid_ranks
from fulcrum_pipelines.catalog import TASKS
from fulcrum_pipelines.errors import UserError


@dataclass(frozen=True)
class Row:
    """A metric, and scikit-learn's."""

    name: str
    expected: Callable[[Outcomes], float]
    classes: int = 7


def one_hot(outcomes: Outcomes) -> Array:
    return np.eye(outcomes.outputs.shape[1])[outcomes.targets]


def published_ece(outcomes: Outcomes) -> float:
    """ECE written as Guo et al. 2017 have it, bin by bin."""
    confidence = outcomes.outputs.max(axis=1).astype(float)
    right = outcomes.outputs.argmax(axis=1) == outcomes.targets
    total = 0.0
    for bin_number in range(15):
        inside = (confidence > bin_number / 15) & (confidence <= (bin_number + 1) / 15)
        if inside.any():
            gap = abs(right[inside].mean() - confidence[inside].mean())
            total += inside.mean() * gap
    return total


CLASSIFICATION = (
    Row("accuracy", lambda o: reference.accuracy_score(o.targets, o.outputs.argmax(1))),
    Row("top5", lambda o: reference.top_k_accuracy_score(o.targets, o.outputs, k=5)),
    Row("macroF1", lambda o: reference.f1_score(o.targets, o.outputs.argmax(1), average="macro")),
    Row("logLoss", lambda o: reference.log_loss(o.targets, o.outputs.astype(np.float64))),
    Row("mse", lambda o: reference.mean_squared_error(one_hot(o), o.outputs)),
    Row("ece", published_ece),
    Row("auc", lambda o: reference.roc_auc_score(o.targets, o.outputs, multi_class="ovr")),
    Row("auc", lambda o: reference.roc_auc_score(o.targets, o.outputs[:, 1]), classes=2),
)

REGRESSION = (
    Row("rmse", lambda o: reference.root_mean_squared_error(o.targets, o.outputs)),
    Row("mae", lambda o: reference.mean_absolute_error(o.targets, o.outputs)),
    Row("mse", lambda o: reference.mean_squared_error(o.targets, o.outputs)),
    Row("r2", lambda o: reference.r2_score(o.targets, o.outputs)),
)


@pytest.mark.parametrize("row", CLASSIFICATION, ids=lambda row: f"{row.name}-{row.classes}")
def test_classification_metrics_are_those_of_scikit_learn(row: Row) -> None:
    outcomes = classifiers(500, row.classes).candidate
    exact = outcomes.outputs.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)
    expected = row.expected(Outcomes(exact, outcomes.targets))
    assert metric_value(outcomes, row.name) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("row", REGRESSION, ids=lambda row: row.name)
def test_regression_metrics_are_those_of_scikit_learn(row: Row) -> None:
    outcomes = regressors(500).candidate
    assert metric_value(outcomes, row.name) == pytest.approx(row.expected(outcomes), rel=1e-9)


def test_r2_of_several_outputs_weights_them_by_their_variance() -> None:
    first, second = regressors(200, 1).baseline, regressors(200, 2).baseline
    both = Outcomes(
        np.stack([first.outputs, 7 * second.outputs], 1),
        np.stack([first.targets, 7 * second.targets], 1),
    )
    expected = reference.r2_score(both.targets, both.outputs, multioutput="variance_weighted")
    assert metric_value(both, "r2") == pytest.approx(expected, rel=1e-6)
    assert metric_value(both, "mae") == pytest.approx(
        reference.mean_absolute_error(both.targets, both.outputs), rel=1e-6
    )


def test_r2_keeps_its_digits_where_targets_are_far_from_zero() -> None:
    outcomes = regressors(300).baseline
    far = Outcomes(outcomes.outputs.astype(np.float64) + 1e6, outcomes.targets + 1e6)
    assert metric_value(far, "r2") == pytest.approx(metric_value(outcomes, "r2"), rel=1e-6)


def test_macro_f1_leaves_out_classes_that_never_occur() -> None:
    outcomes = labelled([0, 0, 1, 1], [0, 2, 1, 1], classes=3)
    assert metric_value(outcomes, "macroF1") == pytest.approx((2 / 3 + 1) / 2)


def test_top5_gives_ties_to_the_smaller_label() -> None:
    flat = np.full((10, 10), 0.1, dtype=np.float32)
    outcomes = Outcomes(flat, np.arange(10))
    assert metric_value(outcomes, "top5") == 0.5
    assert metric_value(outcomes, "accuracy") == 0.1


def test_a_certain_and_wrong_answer_costs_a_finite_loss() -> None:
    outcomes = Outcomes(np.array([[1.0, 0.0]], dtype=np.float32), np.array([1]))
    assert metric_value(outcomes, "logLoss") == pytest.approx(15.94, abs=0.01)


@dataclass(frozen=True)
class Undefined:
    """Outcomes on which a metric has no value."""

    name: str
    outcomes: Outcomes
    task: str
    metric: str
    note: str


NOTHING = Outcomes(np.zeros((0, 3), dtype=np.float32), np.zeros(0, dtype=np.int64))
CONSTANT = Outcomes(np.arange(4.0), np.full(4, 2.0))

UNDEFINED = (
    Undefined("auc-of-one-class", labelled([1, 1], [0, 1], 3), "classification", "auc", "two"),
    Undefined("top5-of-five", labelled([1, 1], [0, 1], 5), "classification", "top5", "5 classes"),
    Undefined("r2-of-constant", CONSTANT, "regression", "r2", "equal"),
    Undefined("accuracy-of-none", NOTHING, "classification", "accuracy", "no examples"),
    Undefined("ece-of-none", NOTHING, "classification", "ece", "no examples"),
)


@pytest.mark.parametrize("row", UNDEFINED, ids=lambda row: row.name)
def test_an_undefined_metric_is_absent_and_says_why(row: Undefined) -> None:
    (metric,) = compute_metrics(row.outcomes, row.task, names=[row.metric])
    assert metric.value is None
    assert metric.interval is None
    assert row.note in metric.note


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("n", [1, 2, 60])
def test_all_metrics_say_what_they_are(task: str, n: int) -> None:
    outcomes = classifiers(n, 6).baseline if task == "classification" else regressors(n).baseline
    metrics = compute_metrics(outcomes, task, groups=np.arange(n) // 2)
    assert [m.name for m in metrics] == list(TASKS[task].metrics)
    for metric in metrics:
        assert metric.n == n
        assert metric.direction == METRICS[metric.name].direction
        assert metric.value is not None or metric.note
        if metric.interval is None:
            assert metric.note
        else:
            assert metric.interval.low <= metric.interval.high


def test_an_unknown_metric_is_named_with_those_there_are() -> None:
    with pytest.raises(UserError, match=r"no metric 'rmse' for classification; use one of accur"):
        compute_metrics(classifiers(5).baseline, "classification", names=["rmse"])


def test_confusion_matrix_is_scikit_learns() -> None:
    outcomes = classifiers(300, 4).baseline
    targets, answers = outcomes.targets, outcomes.outputs.argmax(1)
    found = confusion_matrix(targets, answers, tuple("abcd"))
    expected = reference.confusion_matrix(targets, answers)
    assert found is not None
    assert np.array_equal(found.counts, expected)
    assert confusion_matrix(targets, answers, tuple(map(str, range(101)))) is None


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=60).filter(
        lambda rows: len({positive for _, positive in rows}) == 2
    )
)
def test_auc_with_ties_is_scikit_learns(rows: list[tuple[int, bool]]) -> None:
    scores = np.array([score / 6 for score, _ in rows])
    positive = np.array([is_positive for _, is_positive in rows])
    auc, _ = binary_auc(scores, positive, unbiased=True)
    assert auc == pytest.approx(reference.roc_auc_score(positive, scores))


def test_ranks_of_equals_are_shared() -> None:
    assert mid_ranks(np.array([0.5, 0.1, 0.5, 0.9])).tolist() == [2.5, 1, 2.5, 4]
