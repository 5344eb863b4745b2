"""Check a baseline from evidence alone: ranges of outputs, metrics of a constant."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import pytest
from builders.details import make_evaluate
from builders.figures import make_interval
from gate_subjects import make_gate

from fulcrum_pipelines.baselines import ENOUGH_EXAMPLES, contradiction, weaknesses
from fulcrum_pipelines.evidence import FirstOutput, Metric


@dataclass(frozen=True)
class Range:
    """Range of the first output; `says` is empty if the range is plausible."""

    name: str
    meaning: str
    low: float
    high: float
    sums: tuple[float, float] | None = None
    says: str = ""
    examples: int = 160
    allowed: bool = False


RANGES = (
    Range("logits", "logits", -3.0, 4.0, (-2.0, 5.0)),
    Range("one logit", "logits", -3.0, 4.0),
    Range("positive logits", "logits", 0.0, 30.0, (0.1, 90.0)),
    Range("log-probabilities", "logits", -9.0, -0.1, (-30.0, -2.0)),
    Range("softmax as logits", "logits", 0.0, 1.0, (1.0, 1.0), "do they mean probabilities"),
    Range("half softmax", "logits", 0.0, 1.0, (0.997, 1.003), "do they mean probabilities"),
    Range("softmax, 3 examples", "logits", 0.1, 0.9, (1.0, 1.0), "probabilities", examples=3),
    Range("softmax, allowed", "logits", 0.1, 0.9, (1.0, 1.0), "probabilities", allowed=True),
    Range("sigmoid as logit", "logits", 0.02, 0.98, None, "never leave \\[0, 1\\]"),
    Range("sigmoids as logits", "logits", 0.0, 1.0, (0.2, 2.7), "never leave \\[0, 1\\]"),
    Range("small logits, allowed", "logits", 0.02, 0.98, allowed=True),
    Range("few small logits", "logits", 0.02, 0.98, examples=ENOUGH_EXAMPLES - 1),
    Range("probabilities", "probabilities", 0.0, 1.0, (1.0, 1.0)),
    Range("one probability", "probabilities", 1e-7, 0.99),
    Range("half probabilities", "probabilities", 0.0, 1.0, (0.9993, 1.0007)),
    Range(
        "logits as probabilities", "probabilities", -3.0, 4.0, (-2.0, 5.0), "set meaning: logits"
    ),
    Range("percent", "probabilities", 0.0, 100.0, None, "set meaning: logits"),
    Range("sigmoids", "probabilities", 0.0, 1.0, (0.4, 1.2), "sigmoid for each class"),
    Range("a slice of a softmax", "probabilities", 0.0, 0.7, (0.1, 0.8), "not to 1"),
    Range("rounded sums", "probabilities", 0.0, 1.0, (0.97, 1.0), "not to 1"),
    Range("values", "value", 0.0, 1.0, (1.0, 1.0)),
)


@pytest.mark.parametrize("row", RANGES, ids=lambda row: row.name)
def test_range_of_outputs_is_held_against_their_meaning(row: Range) -> None:
    low, high = row.sums or (None, None)
    first = FirstOutput(meaning=row.meaning, low=row.low, high=row.high, sum_low=low, sum_high=high)
    found = contradiction(
        make_evaluate(
            first_output=first, test_examples=row.examples, weak_baseline_allowed=row.allowed
        )
    )
    if row.says:
        assert found is not None
        assert re.search(row.says, found)
    else:
        assert found is None


@dataclass(frozen=True)
class Skill:
    """The baseline's metrics beside those of a constant: (name, low, value, high, constant)."""

    name: str
    figures: tuple[tuple[str, float, float, float, float], ...]
    gates: tuple[dict[str, Any], ...] = ()
    says: str = ""
    first: dict[str, Any] = field(default_factory=dict)
    allowed: bool = False


LOWER = ("rmse", "mae", "mse", "logLoss")
ACCURACY = {"metric": "accuracy", "margin": 0.01}
AUC = {"metric": "auc", "margin": 0.01}
GOOD_ACCURACY = ("accuracy", 0.88, 0.9, 0.92, 0.5)
BAD_ACCURACY = ("accuracy", 0.48, 0.52, 0.56, 0.5)
RARE = ("accuracy", 0.985, 0.99, 0.994, 0.99)
SKILLS = (
    Skill("good", (GOOD_ACCURACY,), (ACCURACY,)),
    Skill("good, no gate", (GOOD_ACCURACY,)),
    Skill("a coin", (BAD_ACCURACY,), (ACCURACY,), "accuracy of 0.52"),
    Skill("a coin, only a size gate", (BAD_ACCURACY,), ({"kind": "size", "max": 0.5},), "0.52"),
    Skill("a coin, dry run of AUC", (BAD_ACCURACY, ("auc", 0.8, 0.9, 0.95, 0.5)),
          (ACCURACY, {**AUC, "mode": "DryRun"}), "0.52"),
    Skill("a coin, allowed", (BAD_ACCURACY,), (ACCURACY,), allowed=True),
    Skill("touching", (("accuracy", 0.5, 0.55, 0.6, 0.5),), (ACCURACY,), "0.55"),
    Skill("labels swapped", (("accuracy", 0.03, 0.05, 0.07, 0.5),), (ACCURACY,), "in the order"),
    Skill("rare events, by AUC", (RARE, ("auc", 0.85, 0.9, 0.95, 0.5)), (ACCURACY, AUC)),
    Skill("rare events, by accuracy", (RARE,), (ACCURACY,), "0.99"),
    Skill("one class", (GOOD_ACCURACY,), (ACCURACY,), "class 1 on all", {"only_class": 1}),
    Skill("one class, allowed", (GOOD_ACCURACY,), (ACCURACY,), "", {"only_class": 1}, True),
    Skill("cut at 0.5", (GOOD_ACCURACY,), (ACCURACY,), "cut at 0.5",
          {"right_at_zero": 4, "right_at_half": 200}),
    Skill("cut at 0.5, no gate", (GOOD_ACCURACY,), (), "cut at 0.5",
          {"right_at_zero": 4, "right_at_half": 200}),
    Skill("cut at 0.5, allowed", (GOOD_ACCURACY,), (ACCURACY,), "",
          {"right_at_zero": 4, "right_at_half": 200}, True),
    Skill("ranks need no cut", (("auc", 0.85, 0.9, 0.95, 0.5),), (AUC,), "",
          {"right_at_zero": 4, "right_at_half": 200}),
    Skill("cut is a matter of taste", (GOOD_ACCURACY,), (ACCURACY,), "",
          {"right_at_zero": 20, "right_at_half": 60}),
    Skill("cut at 0", (GOOD_ACCURACY,), (ACCURACY,), "",
          {"right_at_zero": 200, "right_at_half": 4}),
    Skill("depends on its batch", (GOOD_ACCURACY,), (ACCURACY,), "others in its batch",
          {"alone_error": 0.11}),
    Skill("depends on its batch, allowed", (GOOD_ACCURACY,), (ACCURACY,), "",
          {"alone_error": 1.4}, True),
    Skill("integers of its batch", (GOOD_ACCURACY,), (ACCURACY,), "", {"alone_error": 0.04}),
    Skill("values of its batch", (("rmse", 0.9, 1.0, 1.1, 2.0),), (), "others in its batch",
          {"meaning": "value", "alone_error": 0.3}),
    Skill("regression", (("rmse", 0.9, 1.0, 1.1, 2.0),), (), "", {"meaning": "value"}),
    Skill("the mean", (("rmse", 1.9, 1.95, 2.02, 2.0),), (), "unit", {"meaning": "value"}),
    Skill("by R2", (("r2", 0.2, 0.3, 0.4, 0.0), ("rmse", 1.9, 1.95, 2.02, 2.0)),
          ({"metric": "r2", "margin": 0.01},), "", {"meaning": "value"}),
)  # fmt: skip


@pytest.mark.parametrize("row", SKILLS, ids=lambda row: row.name)
def test_baseline_must_be_better_than_a_constant(row: Skill) -> None:
    metrics, constant = [], []
    for name, low, value, high, of_constant in row.figures:
        direction = "lower" if name in LOWER else "higher"
        metric = Metric(name=name, value=value, direction=direction, n=160)
        metrics.append(metric.model_copy(update={"interval": make_interval(low, high)}))
        constant.append(metric.model_copy(update={"value": of_constant}))
    first = FirstOutput(**{"meaning": "logits", "low": -1.0, "high": 1.0} | row.first)
    details = make_evaluate(
        first_output=first, constant_answer=tuple(constant), weak_baseline_allowed=row.allowed
    )
    gates = [make_gate(**gate) for gate in row.gates]
    found = list(weaknesses(details, metrics, gates))
    assert len(found) == bool(row.says)
    assert row.says in "".join(found)


def test_evidence_without_these_fields_says_nothing() -> None:
    details = make_evaluate(first_output=None, constant_answer=())
    assert contradiction(details) is None
    assert not list(weaknesses(details, details.metrics, []))
