"""One model's metrics on all data and on slices, each with an interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fulcrum_components.evaluation.biased import biased
from fulcrum_components.evaluation.bootstrap import (
    Replicates,
    StatisticPair,
    paired_replicates,
    replicates_for,
    unit_numbers,
)
from fulcrum_components.evaluation.floor import floor_of, floored, influenced, widened
from fulcrum_components.evaluation.metrics import METRICS, MetricDefinition, find_metric
from fulcrum_components.evaluation.slices import WHOLE, Slice
from fulcrum_components.evaluation.statistic import Array
from fulcrum_components.evaluation.unseen import Lost, share_of_units
from fulcrum_components.tasks import Outcomes
from fulcrum_pipelines.catalog import TASKS
from fulcrum_pipelines.evidence import Interval, Metric
from fulcrum_pipelines.statistics import proportion_interval

NO_SPREAD = "no interval: it needs two examples or groups, for AUC two of each class"


def metric_value(outcomes: Outcomes, name: str) -> float | None:
    """Return the metric `name`, or None where it is undefined on `outcomes`."""
    metric = METRICS[name]
    if len(outcomes) == 0 or metric.undefined(outcomes):
        return None
    if metric.influence:
        return metric.influence(outcomes, True)[0]
    one_unit = np.zeros(len(outcomes), dtype=np.int64)
    value = float(metric.on_units(outcomes, one_unit).resampled(np.ones((1, 1)))[0])
    return value if math.isfinite(value) else None


def compute_metrics(
    outcomes: Outcomes,
    task: str,
    *,
    names: Sequence[str] | None = None,
    part: Slice = WHOLE,
    level: float = 0.95,
    groups: Array | None = None,
    seed: int = 0,
) -> tuple[Metric, ...]:
    """Return metrics of `outcomes` on the slice `part`, with intervals at `level`.

    Args:
        outcomes: Answers of the model to all examples.
        task: What the models are for.
        names: Which metrics; all of the task by default.
        part: The slice.
        level: Confidence of the intervals.
        groups: What examples belong together, (n,) for all; None where they are independent.
        seed: Of the bootstrap.

    Raises:
        UserError: If the task has no metric of such a name.
    """
    wanted = [find_metric(name, task) for name in names or TASKS[task].metrics]
    sliced = part.of(outcomes)
    if groups is not None and part.selected is not None:
        groups = groups[part.selected]
    known = _known(sliced, wanted, level, groups, seed, part)
    found = (_metric(sliced, metric, part.name, known.get(metric.name)) for metric in wanted)
    if groups is None:
        return tuple(found)
    count = len(np.unique(groups))
    return tuple(metric.model_copy(update={"groups": count}) for metric in found)


def _metric(
    outcomes: Outcomes, metric: MetricDefinition, name: str, known: _Bounded | None
) -> Metric:
    value = metric_value(outcomes, metric.name)
    note = "" if value is not None else _why_undefined(outcomes, metric)
    if value is not None and known is None:
        note = NO_SPREAD
    return Metric(
        name=metric.name,
        value=value,
        direction=metric.direction,
        unit=metric.unit,
        n=len(outcomes),
        slice=name,
        interval=None if known is None else within(known.interval, metric.kind.ends),
        effective_n=None if known is None else known.worst.units,
        unseen=None if known is None else known.worst.cost,
        untested=None if known is None else known.untested or None,
        note=note,
    )


def _why_undefined(outcomes: Outcomes, metric: MetricDefinition) -> str:
    if len(outcomes) == 0:
        return "no examples"
    return metric.undefined(outcomes) or "the metric is not finite on these examples"


@dataclass(frozen=True)
class _Bounded:
    """An interval of a metric, what one more lost unit costs, and what untested classes may."""

    interval: Interval
    worst: Lost
    untested: float = 0.0


def _known(
    outcomes: Outcomes,
    metrics: Sequence[MetricDefinition],
    level: float,
    groups: Array | None,
    seed: int,
    part: Slice,
) -> dict[str, _Bounded]:
    """Return the intervals of those metrics that are defined and have one."""
    metrics = [m for m in metrics if len(outcomes) and not m.undefined(outcomes)]
    resampled = _bootstrapped(outcomes, [m for m in metrics if m.statistic], level, groups, seed)
    found = {}
    for metric in metrics:
        if metric.correct is not None:
            bounded = _counted(metric.correct(outcomes), groups, level)
        else:
            seen = influenced(metric, [outcomes], groups)
            exact = seen.interval(level) if seen and seen.units > 1 else None
            interval = exact or resampled.get(metric.name)
            untested = part.untested(metric, outcomes)
            bounded = (
                _above_floor(outcomes, metric, groups, interval, untested) if interval else None
            )
        if bounded is not None:
            found[metric.name] = bounded
    return found


def _counted(right: Array, groups: Array | None, level: float) -> _Bounded | None:
    if groups is None:
        interval = proportion_interval(int(right.sum()), len(right), level)
        return _Bounded(interval, Lost(1 / len(right), len(right)))
    found = share_of_units(right.astype(np.float64), groups)
    return _Bounded(found.interval(level), found.worst) if found.units > 1 else None


def _above_floor(
    outcomes: Outcomes,
    metric: MetricDefinition,
    groups: Array | None,
    interval: Interval,
    untested: float,
) -> _Bounded | None:
    floor = floor_of(metric, [outcomes], groups)
    if floor is None:
        return None
    interval = floored(interval, floor.interval(interval.level))
    return _Bounded(widened(interval, untested), floor.worst, untested)


def within(interval: Interval, ends: tuple[float, float]) -> Interval:
    """Return `interval` without the values beyond `ends`, which no such figure has."""
    low, high = max(interval.low, ends[0]), min(interval.high, ends[1])
    return interval.model_copy(update={"low": low, "high": high})


def _bootstrapped(
    outcomes: Outcomes,
    metrics: Sequence[MetricDefinition],
    level: float,
    groups: Array | None,
    seed: int,
) -> dict[str, Interval]:
    if not metrics:
        return {}
    units = unit_numbers(outcomes, groups, seed)
    count = int(units.max()) + 1
    if count < 2:
        return {}
    statistics = {metric.name: metric.on_units(outcomes, units) for metric in metrics}
    noise = {m.name: m.noise(statistics[m.name]) for m in metrics if m.noise}
    pairs: list[StatisticPair] = [(s, None) for s in (*statistics.values(), *noise.values())]
    sampled = paired_replicates(pairs, count, replicates_for([level]), seed)
    found = dict(zip(statistics, sampled, strict=False))
    of_noise = dict(zip(noise, sampled[len(statistics) :], strict=True))
    return {
        name: _with_noise(replicates, of_noise.get(name), level)
        for name, replicates in found.items()
        if len(replicates.resampled)
    }


def _with_noise(replicates: Replicates, noise: Replicates | None, level: float) -> Interval:
    """Return the interval, from the value without the noise that may have raised it."""
    if noise is None:
        return replicates.interval(level)
    high = biased(replicates).interval(level).high
    most = float(np.quantile(noise.resampled, (1 + level) / 2))
    low = max(0.0, replicates.value - most)
    return Interval(level=level, low=low, high=high, method="bootstrap-noise-bound")
