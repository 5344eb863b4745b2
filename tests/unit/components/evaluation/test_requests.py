"""Compute what gates need once, at their confidence and on their slices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from outcome_makers import classifiers, regressors

from fulcrum_components.evaluation import (
    Outcomes,
    declared_slices,
    metrics_for,
    required_comparisons,
    required_metrics,
    slices_by,
)
from fulcrum_pipelines.catalog import TASKS
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.resources.compressionjob import Data, DataSlice, DataSource, Gate, GateSlice

TEST = DataSource(uri="test.npz")
SITES = Data(
    task="classification",
    test=TEST,
    classes=("cat", "dog", "cow"),
    slices=(DataSlice(name="site", column="hospital"),),
)


def sites(n: int = 60) -> Outcomes:
    outcomes = classifiers(n, 3).baseline
    return Outcomes(outcomes.outputs, outcomes.targets, {"hospital": np.arange(n) % 2})


@dataclass(frozen=True)
class Row:
    """A gate, and (metric, slice, confidence, margin) of what it needs."""

    name: str
    gate: Gate
    comparisons: tuple[tuple[str, str, float, float | None], ...]
    metrics: tuple[tuple[str, str, float], ...] = ()


ROWS = (
    Row(
        "margin",
        Gate(name="a", kind="nonInferiority", metric="accuracy", margin=0.01, confidence=0.9),
        (("accuracy", "all", 0.9, 0.01),),
    ),
    Row(
        "margin-on-slices",
        Gate(
            name="a",
            kind="nonInferiority",
            metric="logLoss",
            margin=0.01,
            slices=(GateSlice(by="site", margin=0.05), GateSlice(by="class")),
        ),
        (
            ("logLoss", "all", 0.95, 0.01),
            ("logLoss", "site=0", 0.95, 0.05),
            ("logLoss", "site=1", 0.95, 0.05),
            ("logLoss", "class=cat", 0.95, 0.01),
            ("logLoss", "class=dog", 0.95, 0.01),
            ("logLoss", "class=cow", 0.95, 0.01),
        ),
    ),
    Row(
        "threshold",
        Gate(name="a", kind="threshold", metric="auc", min=0.9, confidence=0.8),
        (("auc", "all", 0.8, None),),
        (("auc", "all", 0.8),),
    ),
    Row(
        "change",
        Gate(name="a", kind="change", metric="mse", max=0.1, confidence=0.8),
        (("mse", "all", 0.8, None),),
        (("mse", "all", 0.8),),
    ),
    Row(
        "churn",
        Gate(name="a", kind="churn", max=0.1, slices=(GateSlice(by="site"),), confidence=0.8),
        (
            ("accuracy", "all", 0.8, None),
            ("accuracy", "site=0", 0.8, None),
            ("accuracy", "site=1", 0.8, None),
        ),
    ),
    Row(
        "calibration",
        Gate(name="a", kind="calibration", max=0.1, confidence=0.99),
        (("ece", "all", 0.99, None),),
        (("ece", "all", 0.99),),
    ),
    Row("speedup", Gate(name="a", kind="speedup", min=2), ()),
    Row("size", Gate(name="a", kind="size", max=0.5), ()),
)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_gate_finds_what_it_needs(row: Row) -> None:
    outcomes = sites()
    found = required_comparisons([row.gate], SITES, outcomes)
    keys = [(r.metric, r.part.name, r.confidence, r.margin) for r in found]
    assert set(row.comparisons) <= set(keys)
    assert len(keys) == len(set(keys))
    metrics = required_metrics([row.gate], SITES, outcomes)
    assert tuple((r.metric, r.part.name, r.confidence) for r in metrics) == row.metrics
    levels = [
        (m.name, m.slice, m.interval and m.interval.level)
        for m in metrics_for(outcomes, [row.gate], SITES)
    ]
    assert set(row.metrics) <= set(levels)


def test_a_report_gets_every_metric_and_the_main_one_on_each_slice() -> None:
    outcomes = sites()
    found = required_comparisons([], SITES, outcomes)
    names = TASKS["classification"].metrics
    slices = ["class=cat", "class=dog", "class=cow", "site=0", "site=1"]
    assert [(r.metric, r.part.name) for r in found] == [(name, "all") for name in names] + [
        ("accuracy", name) for name in slices
    ]


def test_a_margin_answers_what_the_report_asks_too() -> None:
    gate = Gate(name="a", kind="nonInferiority", metric="accuracy", margin=0.01)
    found = required_comparisons([gate, gate], SITES, sites())
    assert [r.margin for r in found if (r.metric, r.part.name) == ("accuracy", "all")] == [0.01]


def test_slices_cover_all_examples_once() -> None:
    outcomes = sites()
    parts = declared_slices(outcomes, SITES)
    for by in ("class", "site"):
        masks = [part.selected for part in parts if part.by == by and part.selected is not None]
        assert np.array_equal(np.sum(masks, axis=0), np.ones(60))


@dataclass(frozen=True)
class Refused:
    """Slices that cannot be made."""

    name: str
    outcomes: Outcomes
    data: Data
    by: str
    says: str


MANY = Outcomes(np.arange(1500.0), np.arange(1500.0), {"hospital": np.arange(1500)})
REGRESSION = Data(task="regression", test=TEST, slices=(DataSlice(name="site", column="hospital"),))
TWO_NAMES = Data(task="classification", test=TEST, classes=("cat", "dog"))
SAME_NAMES = Data(task="classification", test=TEST, classes=("cat", "dog", "cat"))
REFUSED = (
    Refused("undeclared", sites(), SITES, "user", r"known: class, site"),
    Refused("column-missing", regressors(9).baseline, REGRESSION, "site", "no column 'hospital'"),
    Refused("too-many", MANY, REGRESSION, "site", "1500 distinct values, at most 1000"),
    Refused("class-of-values", MANY, REGRESSION, "class", "has no classes to slice by"),
    Refused("too-few-names", sites(), TWO_NAMES, "class", "spec.data.classes: has 2 names"),
    Refused("equal-names", sites(), SAME_NAMES, "class", "2 of them different"),
)


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row.name)
def test_slices_that_cannot_be_made_are_refused(row: Refused) -> None:
    with pytest.raises(UserError, match=row.says):
        slices_by(row.outcomes, row.by, row.data)
