"""Refusing timings that contradict themselves.

Gates run without the timing of each call, so they cannot compute the interval again. They hold the
figures of one record against each other, by bounds that no measurement leaves, however skewed its
times are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from fulcrum_pipelines.evidence import LatencyComparison, LatencyDistribution, RatioInterval
from fulcrum_pipelines.gates import wording
from fulcrum_pipelines.gates.recompute import expect
from fulcrum_pipelines.gates.undecided import agree, anomalous, finite
from fulcrum_pipelines.latency_limits import CONTROL_LEVEL, FEWEST_CPU_SHARE, UNRELIABLE

QUANTILES = 101
"""Length of `histogram_ms`: one quantile a percent, both ends included."""


def check_timing(timing: LatencyComparison, what: str) -> None:
    """Refuse a timing, whose ratio is named `what`, if its figures contradict each other.

    Raises:
        Undecided: They do, or one is missing or not finite.
    """
    control = f"the A/A run of {what}"
    _check_ratio(timing.speedup, what)
    _check_ratio(timing.aa, control)
    level = finite(timing.aa.interval.level, f"the confidence of {control}")
    if not agree(level, CONTROL_LEVEL):
        raise anomalous(
            f"altered evidence: {control} has an interval at {level:.10g}, but it is measured at "
            f"{CONTROL_LEVEL:g}"
        )
    least = min(timing.threads, timing.warmup)
    if timing.sessions < 2 or timing.pairs < timing.sessions or least < 1:
        raise anomalous(
            f"altered evidence: {what} is recorded as of {timing.pairs} pairs in "
            f"{timing.sessions} sessions with {timing.threads} threads, after {timing.warmup} calls"
        )
    baseline, candidate = (
        _checked_median(side, timing.pairs, f"the {name}'s latency at batch {timing.batch}")
        for name, side in (("baseline", timing.baseline), ("candidate", timing.candidate))
    )
    expect(what, timing.speedup.ratio, baseline / candidate)
    _check_reliable(timing, what, control)


def _check_ratio(found: RatioInterval, what: str) -> None:
    ratio = finite(found.ratio, what)
    low = finite(found.interval.low, f"the lower bound of {what}")
    high = finite(found.interval.high, f"the upper bound of {what}")
    if min(ratio, low) <= 0:
        raise anomalous(
            f"{what} is recorded as {ratio}, at least {low}, but a ratio of times is above 0"
        )
    if not low <= ratio <= high:
        raise anomalous(
            f"altered evidence: {what} is recorded as {wording.times(ratio)}, outside its own "
            f"interval [{wording.times(low)}, {wording.times(high)}]"
        )


def _checked_median(found: LatencyDistribution, pairs: int, what: str) -> float:
    """Return the median of latencies, named `what`, if no other figure contradicts it."""
    if found.n != pairs:
        raise anomalous(f"altered evidence: {what} is of {found.n} calls, but pairs are {pairs}")
    median = finite(found.median_ms, f"the median of {what}")
    mean = finite(found.mean_ms, f"the mean of {what}")
    quantiles = [finite(each, f"a quantile of {what}") for each in found.histogram_ms]
    percentiles = sorted(
        (_percent(name, what), finite(value, f"{name} of {what}"))
        for name, value in found.percentiles_ms.items()
    )
    least = min(median, mean, *quantiles, *(value for _, value in percentiles))
    if median <= 0 or least < 0:
        raise anomalous(f"{what} is recorded as {least} ms, but every call takes time")
    if not (_rise(quantiles) and _rise([value for _, value in percentiles])):
        raise anomalous(f"altered evidence: a percentile of {what} is below a lower percentile")
    for percent, value in percentiles:
        between = (0.0, median) if percent <= 50 else (median, math.inf)
        _check_between(f"p{percent:g} of {what}", value, *between)
    if len(quantiles) != QUANTILES:
        raise anomalous(f"altered evidence: {what} has {len(quantiles)} quantiles, not 101")
    expect(f"the median of {what}", median, quantiles[50])
    _check_between(f"the mean of {what}", mean, quantiles[0], quantiles[-1])
    # A percentile is a timing, a quantile may lie between two: they are one timing apart.
    step = math.ceil(100 / (found.n - 1))
    for percent, value in percentiles:
        below, above = max(0, math.floor(percent) - step), min(100, math.ceil(percent) + step)
        _check_between(f"p{percent:g} of {what}", value, quantiles[below], quantiles[above])
    return median


def _percent(name: str, what: str) -> float:
    try:
        percent = float(name.removeprefix("p"))
    except ValueError:
        percent = math.nan
    if not 0 <= percent <= 100:
        raise anomalous(f"altered evidence: {what} has a percentile '{name}'")
    return percent


def _rise(values: Sequence[float]) -> bool:
    return all(low <= high or agree(low, high) for low, high in pairwise(values))


def _check_between(what: str, value: float, low: float, high: float) -> None:
    if not _rise([low, value, high]):
        raise anomalous(
            f"altered evidence: {what} is recorded as {value:.6g} ms, but follows as between "
            f"{low:.6g} and {high:.6g} ms from the rest of the record"
        )


def _check_reliable(timing: LatencyComparison, what: str, control: str) -> None:
    """Refuse a record that says it is reliable although its own figures say that it is not."""
    low, high, share = timing.aa.interval.low, timing.aa.interval.high, timing.cpu_share
    # Nothing else in the process computes meanwhile, which one more CPU allows for with room.
    most = timing.threads + 1
    if share is not None and not 0 <= finite(share, f"the CPU share of {what}") <= most:
        raise anomalous(f"altered evidence: the CPU share of {what} is recorded as {share:.6g}")
    if not timing.reliable:
        return
    if UNRELIABLE in timing.note:
        raise anomalous(
            f"altered evidence: {what} is recorded as reliable, but its note says that it is not"
        )
    if share is not None and share < FEWEST_CPU_SHARE:
        raise anomalous(
            f"altered evidence: {what} is recorded as reliable, but calls had a CPU for "
            f"{share:.0%} of their time, and {FEWEST_CPU_SHARE:.0%} is needed"
        )
    if not low <= 1 <= high:
        raise anomalous(
            f"altered evidence: {what} is recorded as reliable, but {control} gave "
            f"[{wording.times(low)}, {wording.times(high)}], which excludes 1"
        )
