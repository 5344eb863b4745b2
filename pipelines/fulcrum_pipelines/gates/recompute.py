"""Refusing evidence that does not add up.

Evidence comes from a place where user code ran. Every number that can be
computed again from simpler numbers is; if the two differ, the evidence was altered or is broken.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from fulcrum_pipelines.catalog import COUNTED, METRICS, SHARES
from fulcrum_pipelines.evidence import Comparison, Counts, Interval, Metric
from fulcrum_pipelines.gates.undecided import SAME, agree, anomalous, finite, inconclusive
from fulcrum_pipelines.statistics import (
    mcnemar_p,
    normal_quantile,
    p_worse_than_margin,
    paired_difference_interval,
    pairs,
    proportion_interval,
    unseen_half_width,
)


def check_comparison(comparison: Comparison) -> None:
    """Refuse a comparison whose numbers are missing, not finite, or contradict each other.

    Raises:
        Undecided: They are.
    """
    what = name_of(comparison)
    baseline = finite(comparison.baseline, f"the baseline's {what}", comparison.note)
    candidate = finite(comparison.candidate, f"the candidate's {what}", comparison.note)
    delta = finite(comparison.delta, f"the change of {what}", comparison.note)
    known = METRICS.get(comparison.metric)
    if known is not None and comparison.direction != known.direction:
        raise anomalous(f"altered evidence: it says that {comparison.direction} {what} is better")
    expect(f"the change of {what}", delta, candidate - baseline)
    if comparison.n < 0 or (comparison.groups or 0) > comparison.n:
        raise anomalous(f"{what} has n = {comparison.n} and {comparison.groups} groups")
    if comparison.counts is not None:
        _check_counts(comparison, comparison.counts)


def name_of(comparison: Comparison) -> str:
    """Return how messages name what was compared."""
    return f"{comparison.metric} on {comparison.slice}"


def counts_of(comparison: Comparison) -> Counts | None:
    """Return the counts that the comparison can be decided from, exactly.

    None if it has none, or if its examples are not independent.
    """
    return comparison.counts if comparison.groups is None and comparison.n > 0 else None


def paired_interval(comparison: Comparison, level: float) -> Interval:
    """Return the interval of the change at `level`.

    It is computed from the counts where that is possible, and the recorded one is only checked.
    Otherwise it is the recorded one.

    Raises:
        Undecided: It is missing, it is at another level, it does not follow from the counts, or it
            is narrower than the examples allow.
    """
    what = f"the change of {name_of(comparison)}"
    counts = counts_of(comparison)
    if counts is None:
        interval = recorded_interval(comparison.interval, level, what)
        ends = (-1.0, 1.0) if comparison.metric in SHARES else (-math.inf, math.inf)
        _check_width(comparison, comparison.delta or 0.0, interval, ends, what)
        return interval
    computed = paired_difference_interval(counts, level)

    def at_level(recorded: float) -> Interval:
        return computed if recorded == level else paired_difference_interval(counts, recorded)

    _recheck(comparison.interval, "tango-score", at_level, what)
    return computed


def share_interval(
    recorded: Interval | None, successes: int, n: int, level: float, what: str
) -> Interval:
    """Return the interval at `level` of a share of independent examples, from their number.

    Raises:
        Undecided: The recorded interval does not follow from that number.
    """
    _recheck(recorded, "clopper-pearson", lambda at: proportion_interval(successes, n, at), what)
    return proportion_interval(successes, n, level)


def metric_interval(metric: Metric, level: float, what: str) -> Interval:
    """Return the recorded interval of one model's figure at `level`.

    Raises:
        Undecided: As `recorded_interval`, or it is narrower than the examples allow.
    """
    interval = recorded_interval(metric.interval, level, what)
    _check_width(metric, metric.value or 0.0, interval, METRICS[metric.name].ends, what)
    return interval


def recorded_interval(interval: Interval | None, level: float, what: str) -> Interval:
    """Return the interval as it is recorded, if it can be used at `level`.

    Raises:
        Undecided: It is missing, not finite, upside down or at another level.
    """
    if interval is None:
        raise inconclusive(f"the interval of {what} is missing")
    low = finite(interval.low, f"the lower bound of {what}")
    high = finite(interval.high, f"the upper bound of {what}")
    if low > high:
        raise anomalous(f"altered evidence: the interval of {what} ends before it begins")
    if not agree(finite(interval.level, f"the confidence of {what}"), level):
        raise inconclusive(
            f"the interval of {what} is at {100 * interval.level:.4g} % confidence, "
            f"but the gate asks for {100 * level:.4g} %"
        )
    return interval


def expect(what: str, recorded: float | None, computed: float) -> None:
    """Refuse a recorded number, if there is one, that differs from the computed one.

    Raises:
        Undecided: They differ by more than rounding.
    """
    if recorded is not None and not agree(recorded, computed):
        raise anomalous(
            f"altered evidence: {what} is recorded as {recorded:.6g}, "
            f"but follows as {computed:.6g} from the rest of the record"
        )


def _check_width(
    record: Comparison | Metric,
    value: float,
    interval: Interval,
    ends: tuple[float, float],
    what: str,
) -> None:
    """Refuse an interval that is narrower than changes which the sample lacks allow.

    `ends` are what no such figure is beyond. Evidence of older versions does not say how much one
    more changed example costs; then the interval must have a width at least.
    """
    if record.unseen is None or record.effective_n is None:
        if interval.low == interval.high:
            raise inconclusive(
                f"the interval of {what} has no width, which no number of examples gives; "
                "run validate again with this version"
            )
        return
    unseen = finite(record.unseen, f"unseen of {what}")
    untested = finite(record.untested or 0.0, f"untested of {what}")
    effective_n = finite(record.effective_n, f"effective_n of {what}")
    if unseen <= 0 or effective_n <= 0 or untested < 0:
        raise anomalous(f"altered evidence: {what} says that nothing unseen could change it")
    half = unseen_half_width(normal_quantile(interval.level), 0.0, unseen, effective_n) + untested
    low, high = max(value - half, ends[0]), min(value + half, ends[1])
    if interval.low > low + SAME or interval.high < high - SAME:
        raise anomalous(
            f"altered evidence: the interval of {what} is narrower than {effective_n:.4g} "
            f"independent examples allow, [{low:.4g}, {high:.4g}]"
        )


def _check_counts(comparison: Comparison, counts: Counts) -> None:
    what = name_of(comparison)
    if comparison.metric not in COUNTED:
        raise anomalous(f"{what} is not a share of right answers, but has counts")
    if min(counts.model_dump().values()) < 0 or pairs(counts) != comparison.n:
        raise anomalous(f"altered evidence: the counts of {what} do not add up to its n")
    if comparison.n == 0:
        return
    n, broken, fixed = comparison.n, counts.only_baseline_right, counts.only_candidate_right
    expect(f"the baseline's {what}", comparison.baseline, (counts.both_right + broken) / n)
    expect(f"the change of {what}", comparison.delta, (fixed - broken) / n)
    expect(f"McNemar's p of {what}", comparison.mcnemar_p, mcnemar_p(counts))
    if comparison.margin is not None and comparison.groups is None:
        margin = finite(comparison.margin, f"the margin of {what}")
        p = p_worse_than_margin(counts, margin)
        expect(f"p_inferior of {what}", comparison.p_inferior, p)


def _recheck(
    recorded: Interval | None, method: str, compute: Callable[[float], Interval], what: str
) -> None:
    if recorded is None:
        return
    low = finite(recorded.low, f"the lower bound of {what}")
    high = finite(recorded.high, f"the upper bound of {what}")
    if recorded.method == method and 0 < recorded.level < 1:
        computed = compute(recorded.level)
        expect(f"the lower bound of {what}", low, computed.low)
        expect(f"the upper bound of {what}", high, computed.high)
