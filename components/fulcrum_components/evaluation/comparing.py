"""Candidate against baseline on the same examples.

Comparisons rest on these statistics: shares of right answers on the 2x2 counts (Tango's score
interval, McNemar's exact test), or with groups on a score interval over groups; AUC on DeLong's
variance; everything else on a paired bootstrap. The latter two are never narrower than what the
sample may lack allows (`unseen`), because a bootstrap of no differences has no width.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

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
from fulcrum_components.evaluation.measuring import NO_SPREAD, metric_value, within
from fulcrum_components.evaluation.metrics import MetricDefinition, find_metric
from fulcrum_components.evaluation.slices import WHOLE, Slice
from fulcrum_components.evaluation.statistic import Array
from fulcrum_components.evaluation.unseen import Lost, share_of_units
from fulcrum_components.tasks import Outcomes, find_task
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.evidence import Comparison, Counts, Interval
from fulcrum_pipelines.statistics import (
    mcnemar_p,
    p_worse_than_margin,
    paired_difference_interval,
    proportion_interval,
)

NO_EXAMPLES = "no examples"
NO_DIFFERENCE = "both models give the same outputs for every example"


@dataclass(frozen=True)
class Request:
    """One comparison to make.

    Attributes:
        metric: Name of the metric.
        part: On which examples.
        confidence: Of the two-sided interval.
        margin: Margin of a non-inferiority gate, in the metric's unit; None if none applies.
    """

    metric: str
    part: Slice = WHOLE
    confidence: float = 0.95
    margin: float | None = None


class Difference(Protocol):
    """Knowledge about candidate - baseline."""

    def interval(self, level: float) -> Interval:
        """Return a two-sided confidence interval."""
        ...

    def p_at_least(self, bound: float) -> float:
        """Return the one-sided p-value of "the difference is at least `bound`"."""
        ...

    def negated(self) -> Self:
        """Return the same about baseline - candidate."""
        ...


@dataclass(frozen=True)
class CountsDifference:
    """A difference of shares of right answers, known from the 2x2 table."""

    counts: Counts

    def interval(self, level: float) -> Interval:
        """See `Difference`."""
        return paired_difference_interval(self.counts, level)

    def p_at_least(self, bound: float) -> float:
        """See `Difference`."""
        return p_worse_than_margin(self.counts, -bound)

    def negated(self) -> CountsDifference:
        """See `Difference`."""
        broken, fixed = self.counts.only_baseline_right, self.counts.only_candidate_right
        swapped = {"only_baseline_right": fixed, "only_candidate_right": broken}
        return CountsDifference(self.counts.model_copy(update=swapped))


@dataclass(frozen=True)
class _Pair:
    """Both models' outcomes on one slice."""

    baseline: Outcomes
    candidate: Outcomes
    groups: Array | None
    part: Slice
    task: str

    @property
    def both(self) -> tuple[Outcomes, Outcomes]:
        """Baseline's and candidate's outcomes."""
        return self.baseline, self.candidate

    @property
    def changed(self) -> Array | None:
        """Whether the answer to each example changed, (n,); None if answers are numbers."""
        before, after = map(find_task(self.task).answers, self.both)
        return None if before is None or after is None else before != after

    def defines(self, metric: MetricDefinition) -> bool:
        """Whether both models have a value of `metric` here."""
        return len(self.baseline) > 0 and not any(map(metric.undefined, self.both))


def compare(
    baseline: Outcomes,
    candidate: Outcomes,
    metric: str,
    task: str,
    *,
    part: Slice = WHOLE,
    confidence: float = 0.95,
    margin: float | None = None,
    groups: Array | None = None,
    seed: int = 0,
) -> Comparison:
    """Return the comparison of one metric on one slice; see `compare_all`."""
    request = Request(metric, part, confidence, margin)
    return compare_all(baseline, candidate, [request], task, groups=groups, seed=seed)[0]


def compare_all(
    baseline: Outcomes,
    candidate: Outcomes,
    requests: Sequence[Request],
    task: str,
    *,
    groups: Array | None = None,
    seed: int = 0,
) -> tuple[Comparison, ...]:
    """Return the comparison that each of `requests` asks for, in their order.

    Args:
        baseline: Answers of the baseline to all test examples.
        candidate: Answers of the candidate to the same examples in the same order.
        requests: What to compare.
        task: What the models are for.
        groups: What examples belong together, (n,); None where they are independent.
        seed: Of the bootstrap. Requests on one slice share their resamples.

    Raises:
        UserError: If the outcomes are not of the same examples, or the task lacks the metric.
    """
    _check_same_examples(baseline, candidate)
    made: dict[int, Comparison] = {}
    for name in dict.fromkeys(request.part.name for request in requests):
        chosen = {i: r for i, r in enumerate(requests) if r.part.name == name}
        pair = _pair(baseline, candidate, next(iter(chosen.values())).part, groups, task)
        made.update(zip(chosen, _compare_on(pair, list(chosen.values()), seed), strict=True))
    return tuple(made[index] for index in range(len(requests)))


def _pair(
    baseline: Outcomes, candidate: Outcomes, part: Slice, groups: Array | None, task: str
) -> _Pair:
    if groups is not None and part.selected is not None:
        groups = groups[part.selected]
    return _Pair(part.of(baseline), part.of(candidate), groups, part, task)


def _compare_on(pair: _Pair, requests: Sequence[Request], seed: int) -> list[Comparison]:
    """Return the comparisons of `requests`, which are all on the slice of `pair`."""
    metrics = {r.metric: find_metric(r.metric, pair.task) for r in requests}
    levels = [request.confidence for request in requests]
    sampled = _bootstrapped(pair, list(metrics.values()), levels, seed)
    return [_comparison(pair, metrics[r.metric], r, sampled) for r in requests]


def _bootstrapped(
    pair: _Pair, metrics: Sequence[MetricDefinition], levels: Sequence[float], seed: int
) -> dict[str, Replicates]:
    """Return the resampled differences of those metrics that need them, by name."""
    if len(pair.baseline) == 0:
        return {}
    units = unit_numbers(pair.baseline, pair.groups, seed)
    count = int(units.max()) + 1
    pairs: dict[str, StatisticPair] = {
        m.name: (m.on_units(pair.baseline, units), m.on_units(pair.candidate, units))
        for m in metrics
        if m.statistic and pair.defines(m)
    }
    if not pairs or count < 2:
        return {}
    sampled = paired_replicates(list(pairs.values()), count, replicates_for(levels), seed)
    found = zip(pairs, sampled, strict=True)
    return {name: replicates for name, replicates in found if len(replicates.resampled)}


def _comparison(
    pair: _Pair, metric: MetricDefinition, request: Request, sampled: dict[str, Replicates]
) -> Comparison:
    before, after = (metric_value(outcomes, metric.name) for outcomes in pair.both)
    delta = None if before is None or after is None else after - before
    counts = None if delta is None else _counts(pair, metric)
    known = None if delta is None else _known(pair, metric, counts, sampled)
    interval, p_inferior = _bounded(known, metric, request)
    churn, churn_interval = _churn(pair, request.confidence)
    return Comparison(
        metric=metric.name,
        direction=metric.direction,
        unit=metric.unit,
        slice=pair.part.name,
        n=len(pair.baseline),
        groups=None if pair.groups is None else len(np.unique(pair.groups)),
        baseline=before,
        candidate=after,
        delta=delta,
        interval=interval,
        margin=request.margin,
        p_inferior=p_inferior,
        counts=counts,
        mcnemar_p=mcnemar_p(counts) if counts and pair.groups is None else None,
        churn=churn,
        churn_interval=churn_interval,
        effective_n=known.worst.units if known else None,
        unseen=known.worst.cost if known else None,
        untested=known.untested or None if known else None,
        note=_note(pair, metric, interval),
    )


@dataclass(frozen=True)
class _Known:
    """Bounds of a difference.

    Attributes:
        sources: What was seen, and the floor if that needs one; the weaker conclusion holds.
        worst: What a lost unit costs.
        untested: How far classes without an example may be off.
    """

    sources: tuple[Difference, ...]
    worst: Lost
    untested: float = 0.0

    def interval(self, level: float) -> Interval:
        """Return the interval that holds those of all sources."""
        first, *others = (source.interval(level) for source in self.sources)
        return widened(functools.reduce(floored, others, first), self.untested)


def _known(
    pair: _Pair, metric: MetricDefinition, counts: Counts | None, sampled: dict[str, Replicates]
) -> _Known | None:
    """Return what bounds the difference, or None if too few units do."""
    if counts is not None:
        return _counted(pair, metric, counts)
    seen: Difference | None = influenced(metric, pair.both, pair.groups)
    if metric.name in sampled:
        seen = biased(sampled[metric.name]) if metric.noise else sampled[metric.name]
    floor = None if seen is None else floor_of(metric, pair.both, pair.groups)
    if seen is None or floor is None:
        return None
    untested = pair.part.untested(metric, pair.baseline)
    return _Known((seen, floor), floor.worst, untested)


def _counted(pair: _Pair, metric: MetricDefinition, counts: Counts) -> _Known | None:
    """Return what counts say, which need no floor; and of groups their own score interval."""
    if pair.groups is None:
        n = len(pair.baseline)
        return _Known((CountsDifference(counts),), Lost(1 / n, n))
    assert metric.correct is not None
    before, after = (metric.correct(outcomes).astype(np.float64) for outcomes in pair.both)
    seen = share_of_units(after - before, pair.groups)
    return _Known((seen,), seen.worst) if seen.units > 1 else None


def _bounded(
    known: _Known | None, metric: MetricDefinition, request: Request
) -> tuple[Interval | None, float | None]:
    """Return the interval of the difference, and the p-value of no worse than -margin."""
    if known is None:
        return None, None
    interval = known.interval(request.confidence)
    if metric.kind.share:
        interval = within(interval, (-1.0, 1.0))
    if request.margin is None:
        return interval, None
    higher = metric.direction == "higher"
    oriented = [each if higher else each.negated() for each in known.sources]
    bound = -request.margin - known.untested
    return interval, max(each.p_at_least(bound) for each in oriented)


def _counts(pair: _Pair, metric: MetricDefinition) -> Counts | None:
    if metric.correct is None:
        return None
    before, after = metric.correct(pair.baseline), metric.correct(pair.candidate)
    return Counts(
        both_right=int(np.sum(before & after)),
        only_baseline_right=int(np.sum(before & ~after)),
        only_candidate_right=int(np.sum(~before & after)),
        both_wrong=int(np.sum(~before & ~after)),
    )


def _note(pair: _Pair, metric: MetricDefinition, interval: Interval | None) -> str:
    if len(pair.baseline) == 0:
        return NO_EXAMPLES
    why = next((metric.undefined(o) for o in pair.both if metric.undefined(o)), "")
    if why:
        return why
    if interval is None:
        return NO_SPREAD
    return NO_DIFFERENCE if np.array_equal(pair.baseline.outputs, pair.candidate.outputs) else ""


def _churn(pair: _Pair, level: float) -> tuple[float | None, Interval | None]:
    """Return the share of changed answers; None for numbers, all of which change a little."""
    changed = pair.changed
    if changed is None or len(pair.baseline) == 0:
        return None, None
    if pair.groups is None:
        interval = proportion_interval(int(changed.sum()), len(changed), level)
    else:
        over_groups = share_of_units(changed.astype(np.float64), pair.groups)
        if over_groups.units < 2:
            return float(changed.mean()), None
        interval = within(over_groups.interval(level), (0.0, 1.0))
    return float(changed.mean()), interval


def _check_same_examples(baseline: Outcomes, candidate: Outcomes) -> None:
    if len(baseline) != len(candidate):
        message = f"outcomes of {len(baseline)} and {len(candidate)} examples cannot be paired"
        raise UserError(message, where="spec.data.test")
    if not np.array_equal(baseline.targets, candidate.targets):
        message = "the two models were not tested on the same examples in the same order"
        raise UserError(message, where="spec.data.test")
    if baseline.outputs.shape != candidate.outputs.shape:
        message = (
            f"the baseline gives outputs {list(baseline.outputs.shape[1:])} an example, "
            f"the candidate {list(candidate.outputs.shape[1:])}"
        )
        raise UserError(message, where="spec.model")
