"""A gate that cannot pass on the test data says so before anything is compressed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from outcome_makers import classifiers, labelled, regressors

from fulcrum_components.evaluation import (
    Outcomes,
    best_cases,
    compare_all,
    required_comparisons,
)
from fulcrum_pipelines.advice import advice
from fulcrum_pipelines.power import MOST_EXAMPLES
from fulcrum_pipelines.resources.compressionjob import Data, DataSource, Gate, GateSlice

Array = np.ndarray[Any, np.dtype[Any]]
TEST = DataSource(uri="test.npz")
CLASSES = Data(task="classification", test=TEST)
VALUES = Data(task="regression", test=TEST)


def gate(margin: float | None = None, metric: str | None = "accuracy", **changes: Any) -> Gate:
    return Gate.model_validate(
        {"name": "q", "kind": "nonInferiority", "metric": metric, "margin": margin} | changes
    )


def by_class(margin: float | None = None, min_samples: int = 30) -> tuple[GateSlice, ...]:
    return (GateSlice(by="class", margin=margin, min_samples=min_samples),)


def answers(counts: tuple[int, ...], wrong: int = 0) -> Outcomes:
    """Return a baseline that is right but for `wrong` examples, evenly over the classes."""
    targets = [label for label, count in enumerate(counts) for _ in range(count)]
    given = list(targets)
    for index in np.linspace(0, len(targets) - 1, wrong).astype(int):
        given[index] = (targets[index] + 1) % len(counts)
    return labelled(targets, given, len(counts))


def advised(wanted: Gate, baseline: Outcomes, groups: Array | None = None) -> tuple[str, ...]:
    data = CLASSES if baseline.targets.dtype.kind == "i" else VALUES
    share = float(np.mean(baseline.outputs.argmax(1) == baseline.targets)) if data is CLASSES else 0
    cases = best_cases([wanted], data, baseline, groups)
    return advice([wanted], cases, {"accuracy": share} if data is CLASSES else {})


TEN = (500,) * 10
EVEN = (5000, 5000)


@dataclass(frozen=True)
class Advised:
    """A gate on a test set, and parts of the expected advice; no parts mean no advice."""

    name: str
    gate: Gate
    baseline: Outcomes
    says: tuple[str, ...] = ()
    groups: Array | None = None


ADVISED = (
    Advised("enough", gate(0.02), answers(EVEN, 500)),
    Advised("few", gate(0.01), answers((750, 750), 75), ("1,500 test examples are few",)),
    Advised("margin-0", gate(0), answers(EVEN), ("with a margin of 0",)),
    Advised(
        "hopeless",
        gate(1e-4),
        answers(EVEN, 500),
        (
            "never passes on these test data",
            "limit is a margin of 0.0001",
            "above 0.00039",
            "39,000",
        ),
    ),
    Advised("too-few-samples", gate(0.5, minSamples=100), answers((40, 40)), ("80 examples",)),
    Advised(
        "slices-of-500-at-one-point-hardly",
        gate(0.02, slices=by_class(0.01)),
        answers(TEN, 250),
        ("of 500 examples or more", "all 10 pass in less than 1% of cases", "a margin of 0.0"),
    ),
    Advised("slices-of-500-at-five-points", gate(0.05, slices=by_class()), answers(TEN, 250)),
    Advised(
        "slices-of-500-at-half-a-point-cannot",
        gate(0.01, slices=by_class(0.005)),
        answers(TEN, 250),
        ("10 of 10 slices by class cannot", "above 0.0077", "about 770 examples"),
    ),
    Advised(
        "one-slice-too-small",
        gate(0.02, slices=by_class(0.02)),
        answers((2000, 2000, 50), 200),
        ("1 of 3 slices by class cannot. class=2", "above 0.072", "about 190 examples"),
    ),
    Advised(
        "slices-below-min-samples",
        gate(0.02, slices=by_class(0.02, 5000)),
        answers((2000, 2000), 200),
        ("no slice by class has minSamples 5,000 examples, the largest has 2,000",),
    ),
    Advised("small-slices-are-left-out", gate(0.03, slices=by_class()), answers((4000, 20), 200)),
    Advised(
        "auc-of-few-positives",
        gate(0.05, "auc"),
        answers((990, 10)),
        ("10 examples that count most", "about 9,800 examples"),
    ),
    Advised("auc-of-one-positive", gate(0.05, "auc"), answers((99, 1)), ("has no interval",)),
    Advised("auc-of-many", gate(0.05, "auc"), answers((900, 100))),
    Advised("f1-of-a-rare-class", gate(0.02, "macroF1"), answers((990, 10)), ("never passes",)),
    Advised(
        "f1-with-a-class-that-is-missing",
        gate(0.05, "macroF1"),
        answers((500, 500, 0)),
        ("(0.333 of that for classes without a test example)", "or examples of every class"),
    ),
    Advised("f1-with-a-missing-class-and-room", gate(0.4, "macroF1"), answers((500, 500, 0))),
    Advised(
        "f1-on-slices-by-class", gate(0.4, "macroF1", slices=by_class()), answers((500, 500, 0))
    ),
    Advised("f1-of-even-classes", gate(0.02, "macroF1"), answers((500, 500))),
    Advised(
        "groups",
        gate(0.02),
        answers(EVEN),
        ("with 50 groups", "above 0.075"),
        np.arange(10_000) % 50,
    ),
    Advised("log-loss", gate(0.001, "logLoss"), classifiers(500).baseline, ("never passes",)),
    Advised("rmse", gate(0.01, "rmse"), regressors(300).baseline, ("never passes", "margin above")),
    *(
        Advised(
            f"{metric}-of-a-baseline-worse-than-a-constant",
            gate(0.001, metric),
            Outcomes(-5 * regressors(300).baseline.outputs, regressors(300).baseline.targets),
            ("never passes", f"the baseline's {metric} of ", "of a constant answer", "mend the"),
        )
        for metric in ("rmse", "mse", "mae", "r2")
    ),
    Advised(
        "log-loss-of-a-baseline-worse-than-a-constant",
        gate(0.001, "logLoss"),
        labelled([0] * 50 + [1] * 50, [1] * 50 + [0] * 50, 2),
        ("the baseline's logLoss of ", "than the 0.693 of a constant answer", "mend the"),
    ),
    Advised("rmse-wide", gate(3.0, "rmse"), regressors(300).baseline),
    Advised(
        "churn",
        gate(None, None, kind="churn", max=0.01),
        answers((100, 100)),
        ("limit is max 0.01", "max above 0.019", "about 370 examples"),
    ),
    Advised("churn-wide", gate(None, None, kind="churn", max=0.05), answers((100, 100))),
    Advised(
        "calibration",
        gate(None, None, kind="calibration", max=0.01),
        answers((100, 100)),
        ("max above 0.0",),
    ),
    Advised(
        "threshold",
        gate(kind="threshold", min=0.99),
        answers((100, 100)),
        ("a min below 0.981", "about 370 examples"),
    ),
    Advised(
        "threshold-of-loss", gate(None, "logLoss", kind="threshold", max=1e-9), answers((40, 40))
    ),
    Advised(
        "relative",
        gate(None, "accuracy", kind="change", min=-0.01),
        answers((100, 100), 20),
        ("limit is min -0.01", "min below -0.02"),
    ),
    Advised(
        "relative-ece",
        gate(None, "ece", kind="change", max=0.5),
        answers((100, 100), 20),
        ("use kind calibration or nonInferiority",),
    ),
    Advised("of-size", Gate(name="small", kind="size", max=0.5), answers((40, 40))),
)


@pytest.mark.parametrize("row", ADVISED, ids=lambda row: row.name)
def test_a_gate_that_cannot_pass_says_what_could(row: Advised) -> None:
    found = advised(row.gate, row.baseline, row.groups)
    assert len(found) == (1 if row.says else 0), found
    for part in row.says:
        assert part in found[0]


CANNOT = [
    row
    for row in ADVISED
    if "margin above" in " ".join(advised(row.gate, row.baseline, row.groups))
]


@pytest.mark.parametrize("row", CANNOT, ids=lambda row: row.name)
def test_the_advised_margin_is_the_least_that_no_change_passes(row: Advised) -> None:
    (line,) = advised(row.gate, row.baseline, row.groups)
    advised_margin = float(re.findall(r"margin above ([\d.e-]+)", line)[0])
    data = CLASSES if row.baseline.targets.dtype.kind == "i" else VALUES
    requests = required_comparisons([row.gate], data, row.baseline)
    found = compare_all(row.baseline, row.baseline, requests, data.task, groups=row.groups)
    widths = [
        comparison.interval.high
        for comparison in found
        if comparison.metric == row.gate.metric and comparison.interval and comparison.margin
    ]
    assert max(widths) <= 1.001 * advised_margin
    assert any(width > 0.95 * advised_margin for width in widths)


def test_unrealistic_number_of_examples_is_not_advised() -> None:
    (line,) = advised(gate(1e-8), answers(EVEN))
    assert "examples of the same kind" not in line
    assert f"{MOST_EXAMPLES:,}" not in line
