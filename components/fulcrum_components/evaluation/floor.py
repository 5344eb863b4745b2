"""The floor of a metric's interval: see `unseen`. It needs no bootstrap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fulcrum_components.evaluation.bootstrap import unit_numbers
from fulcrum_components.evaluation.influence import Estimate, estimate
from fulcrum_components.evaluation.metrics import MetricDefinition
from fulcrum_components.evaluation.statistic import Array
from fulcrum_components.evaluation.unseen import Lost, Stratum, Unseen, effective_units, lost_units
from fulcrum_components.tasks import Outcomes
from fulcrum_pipelines.evidence import Interval

_MOST_BEYOND = 5.0
_FEWEST_IN_TAIL = 5


def floor_of(
    metric: MetricDefinition, models: Sequence[Outcomes], groups: Array | None, seed: int = 0
) -> Unseen | None:
    """Return what a metric may be, or its difference, with changes that the sample lacks.

    Args:
        metric: One that is not a share of right answers.
        models: Outcomes of one model, or of baseline and candidate on the same examples; what is
            lost costs what it does to the one that loses more.
        groups: What examples belong together, (n,); None where they are independent.
        seed: Of how very many examples are pooled.

    Returns:
        None if there are fewer than two units, or nothing that can be lost.
    """
    known, changes = _seen(metric, models, groups, seed)
    if known.units < 2:
        return None
    n = len(models[0])
    effective = effective_units(groups, None, n)
    both = [metric.strata(outcomes, effective) for outcomes in models]
    strata = [
        Stratum(max(each.cost for each in same), same[0].selected)
        for same in zip(*both, strict=True)
    ]
    lost = lost_units(strata, groups, n)
    if len(strata) == 1:  # unseen changes are taken to be no smaller than those seen
        unbounded = np.issubdtype(models[0].targets.dtype, np.floating)
        worst = float(changes.max(initial=0.0)) * (beyond_worst(changes) if unbounded else 1.0)
        lost = (Lost(max(lost[0].cost, worst), lost[0].units),)
    costs = [each.cost for each in lost]
    if not math.isfinite(sum(costs)) or max(costs) <= 0:
        return None
    return replace(known, lost=lost)


def influenced(
    metric: MetricDefinition, models: Sequence[Outcomes], groups: Array | None
) -> Estimate | None:
    """Return the estimate of a metric with an influence, or of its difference; None for others."""
    if metric.influence is None:
        return None
    value, influence = metric.influence(models[-1], groups is None)
    if len(models) > 1:
        before, influence_before = metric.influence(models[0], groups is None)
        value, influence = value - before, influence - influence_before
    return estimate(value, influence, models[0].targets, groups)


def _seen(
    metric: MetricDefinition, models: Sequence[Outcomes], groups: Array | None, seed: int
) -> tuple[Unseen, Array]:
    """Return value, variance and units; and how much the value changes without each unit.

    The variance is DeLong's, or the jackknife's (Efron and Tibshirani 1993, equation 11.5).
    """
    if found := influenced(metric, models, groups):
        return Unseen(found.value, found.error**2, found.units), np.zeros(0)
    units = unit_numbers(models[0], groups, seed)
    count = int(units.max()) + 1
    value, left_out = 0.0, np.zeros(count)
    for sign, outcomes in zip((1, -1), reversed(models), strict=False):
        statistic = metric.on_units(outcomes, units)
        value += sign * float(statistic.resampled(np.ones((1, count)))[0])
        left_out += sign * statistic.leave_one_out(np.arange(count))
    left_out = left_out[np.isfinite(left_out)]
    deviations = left_out - left_out.mean() if len(left_out) else left_out
    variance = float(deviations @ deviations) * (count - 1) / count
    return Unseen(value, variance, count), np.abs(left_out - value)


def beyond_worst(changes: Array) -> float:
    """Return how much larger than the worst of `changes` (u,) an unseen one is taken to be.

    Costs in classification have an end, errors of values have none. Of those whose tail has the
    index a, what is beyond the worst of a sample has a mean of a / (a - 1) times the worst. The
    index is estimated from the largest k = sqrt(u) (Hill 1975), and taken to be lower by its
    standard error, a / sqrt(k). The factor is at most 5, which belongs to an index of 1.25:
    squares of errors that have Student's t with 2.5 degrees of freedom, and so no variance.
    """
    largest = np.sort(changes)[::-1][: max(_FEWEST_IN_TAIL, math.isqrt(len(changes))) + 1]
    if len(largest) < 3 or largest[-1] <= 0:
        return _MOST_BEYOND
    logs = np.log(largest[:-1] / largest[-1])
    inverse_index = float(logs.mean()) / (1 - 1 / math.sqrt(len(logs)))
    return 1 / max(1 - inverse_index, 1 / _MOST_BEYOND)


def widened(interval: Interval, untested: float) -> Interval:
    """Return `interval`, wider at both ends by what classes without an example may be off."""
    if untested <= 0:
        return interval
    method = f"{interval.method}, and untested classes"
    low, high = interval.low - untested, interval.high + untested
    return Interval(level=interval.level, low=low, high=high, method=method)


def floored(interval: Interval, floor: Interval) -> Interval:
    """Return `interval`, widened to hold `floor`; its method says so where that made a difference.

    Both are at one level.
    """
    low, high = min(interval.low, floor.low), max(interval.high, floor.high)
    if (low, high) == (interval.low, interval.high):
        return interval
    method = f"{interval.method}, not below {floor.method}"
    return Interval(level=interval.level, low=low, high=high, method=method)
