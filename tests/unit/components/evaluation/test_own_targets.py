"""Evaluate outputs after the first that have their own targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from two_outputs import data

from fulcrum_components.evaluation.differing import Differences
from fulcrum_components.evaluation.own_targets import compare_with_target, read_targets
from fulcrum_components.models.signature import TensorSpec
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.resources.compressionjob import Data

N = 120
GENERATOR = np.random.default_rng(5)
LOGITS = GENERATOR.normal(size=(N, 3)).astype(np.float32)
LABELS = LOGITS.argmax(1).astype(np.float64)
VALUES = GENERATOR.normal(size=(N, 2)).astype(np.float32)
WHOLE = np.arange(N) % 5 + 10.0
ONE = GENERATOR.normal(size=N).astype(np.float32)


def softmax(values: Any) -> Any:
    shares = np.exp(values)
    return (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)


def kept(baseline: Any, candidate: Any = None, *, by_call: bool = False) -> Differences:
    """Return differences of an output whose values were kept."""
    none = np.zeros(len(baseline))
    spec = TensorSpec("head", ("batch", *baseline.shape[1:]), str(baseline.dtype))
    candidate = baseline if candidate is None else candidate
    no = none.astype(bool)
    return Differences(spec, by_call, "", none, none, none, None, no, no, baseline, candidate)


@dataclass(frozen=True)
class Case:
    """Values of an output, their targets, and the metric and value that must be found."""

    name: str
    values: Any
    target: Any
    metric: str
    value: float
    task: str = "classification"


CASES = [
    Case("logits", LOGITS, LABELS, "accuracy", 1),
    Case("logits of a regression job", LOGITS, LABELS, "accuracy", 1, "regression"),
    Case("probabilities", softmax(LOGITS), LABELS, "accuracy", 1),
    Case("labels of shape (n, 1)", LOGITS, LABELS[:, None], "accuracy", 1),
    Case("one logit", ONE, (ONE > 0).astype(float), "accuracy", 1),
    Case("one logit of shape (n, 1)", ONE[:, None], (ONE > 0).astype(float), "accuracy", 1),
    Case("one probability", 1 / (1 + np.exp(-ONE)), (ONE > 0).astype(float), "accuracy", 1),
    Case("labels as output", LOGITS.argmax(1), LABELS, "accuracy", 1),
    Case("values", VALUES, VALUES.astype(float) + 0.5, "rmse", 0.5),
    Case("values of a regression job", ONE, ONE.astype(float) + 0.5, "rmse", 0.5, "regression"),
    Case("whole targets", (WHOLE + 0.5).astype(np.float32), WHOLE, "mae", 0.5, "regression"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_metric_follows_output_and_target(case: Case) -> None:
    found = compare_with_target(kept(case.values), case.target, case.task)
    metric = next(each for each in found if each.metric == case.metric)
    assert metric.baseline == pytest.approx(case.value, abs=1e-6)  # float32
    assert metric.delta == pytest.approx(0)
    assert metric.interval is not None


def test_ruined_candidate_is_worse() -> None:
    found = compare_with_target(kept(LOGITS, -LOGITS), LABELS, "classification")
    accuracy = next(each for each in found if each.metric == "accuracy")
    assert accuracy.candidate == 0
    assert accuracy.interval is not None
    assert accuracy.interval.high < -0.9


@pytest.mark.parametrize(
    ("differences", "target", "words"),
    [
        pytest.param(kept(LOGITS), LABELS + 1, "knows 0 to 2", id="label too high"),
        pytest.param(kept(VALUES), VALUES[:, :1] + 0.5, "shape [2]", id="another shape"),
        pytest.param(kept(LOGITS, by_call=True), LABELS, "without the axis 'batch'", id="by call"),
    ],
)
def test_target_that_does_not_fit_is_refused(
    differences: Differences, target: Any, words: str
) -> None:
    with pytest.raises(UserError) as caught:
        compare_with_target(differences, target, "classification")
    assert words in str(caught.value)
    assert "spec.data.targets.head" in str(caught.value)


def spec() -> Data:
    return Data.model_validate(
        {"task": "classification", "test": {"uri": "t.npz"}, "targets": {"head": "y2"}}
    )


def test_targets_are_read_as_numbers() -> None:
    dataset = data(10, y2=np.arange(20.0).reshape(10, 2))
    assert np.array_equal(read_targets(dataset, spec())["head"], np.arange(20.0).reshape(10, 2))


@pytest.mark.parametrize(
    ("column", "words"),
    [
        pytest.param(np.array(["a"] * 10), "must hold numbers", id="text"),
        pytest.param(np.array([1.0] * 9 + [np.nan]), "nan for example 9", id="NaN"),
    ],
)
def test_target_without_numbers_is_refused(column: Any, words: str) -> None:
    with pytest.raises(UserError) as caught:
        read_targets(data(10, y2=column), spec())
    assert words in str(caught.value)
    assert "spec.data.targets.head" in str(caught.value)
