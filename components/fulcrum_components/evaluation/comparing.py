"""Candidate against baseline on the same examples.

What each comparison rests on: shares of right answers on the 2x2 counts (Tango's score interval,
McNemar's exact test); AUC on DeLong's variance; everything else on a paired bootstrap. With groups,
shares are bootstrapped over groups too, and the interval is never narrower than Tango's, because a
bootstrap of no differences has no width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np

from fulcrum_components.evaluation.biased import biased
from fulcrum_components.evaluation.bootstrap import (
    Pair,
    Replicates,
    hull,
    paired_replicates,
    replicates_for,
    unit_numbers,
)
from fulcrum_components.evaluation.influence import estimate
from fulcrum_components.evaluation.measuring import metric_value
from fulcrum_components.evaluation.metrics import MetricDefinition, find_metric
from fulcrum_components.evaluation.metrics.accuracy import answers
from fulcrum_components.evaluation.outcomes import Outcomes
from fulcrum_components.evaluation.slices import WHOLE, Slice
from fulcrum_components.evaluation.statistic import Array, mean_statistic
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.evidence import Comparison, Counts, Interval
from fulcrum_pipelines.statistics import (
    mcnemar_p,
    p_worse_than_margin,
    paired_difference_interval,
    wilson_interval,
)

_CHURN = "churn"

NO_EXAMPLES = "no examples"
NO_DIFFERENCE = "both models do equally well on every example"
NO_SPREAD = "one example or group has no spread"


@dataclass(frozen=True)
class Request:
    """One comparison to make.

    Attributes:
        metric: Name of the metric.
        part: On which examples.
        confidence: Of the two-sided interval.
        margin: Margin of a non-inferiority gate, in the metric's unit; None where none applies.
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
    def changed(self) -> Array:
        """Whether the answer to each example of a classification changed, (n,)."""
        result: Array = answers(self.baseline) != answers(self.candidate)
        return result

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
        task: `classification` or `regression`.
        groups: What examples belong together, (n,); None where they are independent.
        seed: Of the bootstrap. Requests on one slice share their resamples.

    Raises:
        UserError: Where the outcomes are not of the same examples, or the task lacks the metric.
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
    pairs: dict[str, Pair] = {
        m.name: (m.on_units(pair.baseline, units), m.on_units(pair.candidate, units))
        for m in metrics
        if not m.influence and (not m.correct or pair.groups is not None) and pair.defines(m)
    }
    if pair.groups is not None and pair.task == "classification":
        pairs[_CHURN] = (mean_statistic(pair.changed.astype(np.float64), units), None)
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
    sources = [] if delta is None else _sources(pair, metric, counts, sampled)
    interval, p_inferior = _bounded(sources, metric, request)
    churn, churn_interval = _churn(pair, request.confidence, sampled.get(_CHURN))
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
        note=_note(pair, metric, interval),
    )


def _sources(
    pair: _Pair, metric: MetricDefinition, counts: Counts | None, sampled: dict[str, Replicates]
) -> list[Difference]:
    """Return what bounds the difference; where it is several, the weakest conclusion holds."""
    found: list[Difference] = []
    if counts is not None:
        found.append(CountsDifference(counts))
    if metric.name in sampled:
        replicates = sampled[metric.name]
        found.append(biased(replicates) if metric.noise else replicates)
    if metric.influence:
        before, after = (metric.influence(o, pair.groups is None) for o in pair.both)
        difference = estimate(after[0] - before[0], after[1] - before[1], pair.groups)
        found += [difference] if difference.units > 1 else []
    return found


def _bounded(
    sources: Sequence[Difference], metric: MetricDefinition, request: Request
) -> tuple[Interval | None, float | None]:
    """Return the interval of the difference, and the p-value of no worse than -margin."""
    if not sources:
        return None, None
    outer = hull([source.interval(request.confidence) for source in sources])
    if request.margin is None:
        return outer, None
    oriented = [s if metric.direction == "higher" else s.negated() for s in sources]
    return outer, max(source.p_at_least(-request.margin) for source in oriented)


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
    return NO_DIFFERENCE if interval.low == interval.high else ""


def _churn(
    pair: _Pair, level: float, sampled: Replicates | None
) -> tuple[float | None, Interval | None]:
    """Return the share of changed answers; None for regression, where all change a little."""
    if pair.task != "classification" or len(pair.baseline) == 0:
        return None, None
    changed = pair.changed
    interval = wilson_interval(int(changed.sum()), len(changed), level)
    if sampled is not None:
        interval = hull([interval, sampled.interval(level)])
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
