"""Gates that a constant answer keeps, and gates that only seem to be such."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from builders.details import make_evaluate
from builders.figures import make_interval
from gate_subjects import by_class, make_gate

from fulcrum_pipelines.baselines import weaknesses
from fulcrum_pipelines.catalog import METRICS
from fulcrum_pipelines.evidence import ConfusionMatrix, FirstOutput, Metric
from fulcrum_pipelines.gates.constant_answer import too_loose

FREQUENT = ConfusionMatrix(labels=("0", "1"), counts=((880, 10), (20, 90)))
"""97 % are right; always answering 0 is right on 89 %, and changes 10 % of the answers."""


@dataclass(frozen=True)
class Policy:
    """Gates on metrics given as (baseline, constant), and whether a constant keeps them all."""

    name: str
    figures: dict[str, tuple[float, float]]
    gates: tuple[dict[str, Any], ...]
    keeps: bool
    confusion: ConfusionMatrix | None = None
    allowed: bool = field(default=False)


ACCURACY = {"accuracy": (0.97, 0.89)}
ERRORS = {"rmse": (0.32, 0.40), "mae": (0.18, 0.21)}
POLICIES = (
    Policy("wide margin", ACCURACY, ({"metric": "accuracy", "margin": 0.09},), True),
    Policy("wide margin, allowed", ACCURACY, ({"metric": "accuracy", "margin": 0.09},), False,
           allowed=True),
    Policy("margin", ACCURACY, ({"metric": "accuracy", "margin": 0.07},), False),
    Policy("wide margin in a dry run", ACCURACY,
           ({"metric": "accuracy", "margin": 0.09, "mode": "DryRun"},), False),
    Policy("strict on slices", ACCURACY,
           ({"metric": "accuracy", "margin": 0.09, "slices": by_class(margin=0.1)},), False),
    Policy("churn above a constant's", ACCURACY, ({"kind": "churn", "max": 0.11},), True, FREQUENT),
    Policy("churn below a constant's", ACCURACY, ({"kind": "churn", "max": 0.09},), False,
           FREQUENT),
    Policy("churn, nothing known", ACCURACY, ({"kind": "churn", "max": 0.5},), False),
    Policy("low threshold", ACCURACY,
           ({"kind": "threshold", "metric": "accuracy", "min": 0.88},), True),
    Policy("one of two stops it", ACCURACY | {"auc": (0.9, 0.5)},
           ({"metric": "accuracy", "margin": 0.09}, {"metric": "auc", "margin": 0.05}), False),
    Policy("both are loose", ACCURACY | {"auc": (0.9, 0.5)},
           ({"metric": "accuracy", "margin": 0.09}, {"metric": "auc", "margin": 0.5}), True),
    Policy("the mean keeps one, the median the other", ERRORS,
           ({"metric": "rmse", "margin": 0.09}, {"metric": "mae", "margin": 0.05}), False),
    Policy("the mean keeps it", ERRORS, ({"metric": "rmse", "margin": 0.09},), True),
    Policy("relative change", ERRORS, ({"kind": "change", "metric": "rmse", "max": 0.3},), True),
    Policy("unlimited log loss", {"logLoss": (0.1, 2.3)},
           ({"metric": "logLoss", "margin": 999999},), True),
    Policy("confidence alone", {"ece": (0.01, 0.0)}, ({"kind": "calibration", "max": 0.9},), False),
)  # fmt: skip


def metric(name: str, value: float, half: float = 0.01, **more: Any) -> Metric:
    return Metric(
        name=name,
        value=value,
        direction=METRICS[name].direction,
        n=1000,
        **{"interval": make_interval(value - half, value + half)} | more,
    )


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_policy_keeps_a_constant_answer(policy: Policy) -> None:
    details = make_evaluate(
        constant_answer=tuple(metric(name, pair[1]) for name, pair in policy.figures.items()),
        confusion=policy.confusion,
        weak_baseline_allowed=policy.allowed,
    )
    baseline = [metric(name, pair[0]) for name, pair in policy.figures.items()]
    gates = [make_gate(**gate) for gate in policy.gates]
    assert bool(list(too_loose(details, baseline, gates))) == policy.keeps


def test_rare_events_that_are_only_ranked_are_no_fault_if_a_gate_looks_at_ranks() -> None:
    """No probability is above a half, and the ranks are good."""
    first = FirstOutput(meaning="logits", low=-9.0, high=-0.1, only_class=0)
    details = make_evaluate(
        first_output=first, constant_answer=(metric("accuracy", 0.985), metric("auc", 0.5))
    )
    baseline = [metric("accuracy", 0.985), metric("auc", 0.79, half=0.12)]
    ranks = make_gate(metric="auc", margin=0.1)
    assert not list(weaknesses(details, baseline, [ranks]))
    assert list(weaknesses(details, baseline, [make_gate(metric="accuracy", margin=0.01)]))
    assert list(weaknesses(details, [metric("auc", 0.55, half=0.1)], [ranks]))


def test_of_one_group_nothing_is_shown() -> None:
    details = make_evaluate(constant_answer=(metric("accuracy", 0.5),))
    known = metric("accuracy", 0.98)
    one_group = metric("accuracy", 0.98, interval=None, groups=1)
    size = [make_gate("size", max=0.9)]
    assert not list(weaknesses(details, [known], size))
    (said,) = weaknesses(details, [one_group], size)
    assert "too few groups for an interval: 1" in said
