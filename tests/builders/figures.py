"""Metrics, comparisons and latencies, as evidence has them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import NormalDist
from typing import Any

from fulcrum_pipelines.catalog import METRICS, SHARES
from fulcrum_pipelines.evidence import (
    Comparison,
    ConfusionMatrix,
    Counts,
    Interval,
    LatencyComparison,
    LatencyDistribution,
    Metric,
    OutputFidelity,
    RatioInterval,
)
from fulcrum_pipelines.latency_limits import CONTROL_LEVEL
from fulcrum_pipelines.statistics import (
    mcnemar_p,
    p_worse_than_margin,
    paired_difference_interval,
    proportion_interval,
)

TEST_EXAMPLES = 1500


def make_interval(low: float, high: float, level: float = 0.95, method: str = "test") -> Interval:
    """Return an interval with the given ends."""
    return Interval(level=level, low=low, high=high, method=method)


def make_metric(
    name: str = "accuracy",
    value: float | None = 0.978,
    *,
    half_width: float | None = 0.0075,
    **changes: Any,
) -> Metric:
    """Return one figure; its interval is `value` +- `half_width`, none if that is None."""
    fields: dict[str, Any] = {
        "name": name,
        "value": value,
        "direction": METRICS[name].direction,
        "n": TEST_EXAMPLES,
    }
    if value is not None and half_width is not None:
        low, high = value - half_width, value + half_width
        if name in SHARES:
            low, high = max(low, 0.0), min(high, 1.0)
        fields["interval"] = make_interval(low, high, method="percentile bootstrap")
    return Metric(**fields | changes)


def make_comparison(
    metric: str = "accuracy",
    *,
    n: int = TEST_EXAMPLES,
    right: int | None = None,
    broken: int = 12,
    fixed: int = 11,
    margin: float | None = 0.01,
    level: float = 0.95,
    **changes: Any,
) -> Comparison:
    """Return a paired comparison made from counts, every statistic of it consistent.

    Args:
        metric: Name of the metric.
        n: Pairs.
        right: Of those, how many the baseline answers right; 97.8 % by default.
        broken: Right by the baseline alone.
        fixed: Right by the candidate alone.
        margin: Margin of a gate, or None if no gate asked.
        level: Confidence of the interval.
        changes: Fields to set instead.
    """
    right = round(0.978 * n) if right is None else right
    counts = Counts(
        both_right=right - broken,
        only_baseline_right=broken,
        only_candidate_right=fixed,
        both_wrong=n - right - fixed,
    )
    churned = broken + fixed + 2
    fields: dict[str, Any] = {
        "metric": metric,
        "direction": "higher",
        "n": n,
        "baseline": right / n,
        "candidate": (right - broken + fixed) / n,
        "delta": (fixed - broken) / n,
        "interval": paired_difference_interval(counts, level),
        "margin": margin,
        "p_inferior": None if margin is None else p_worse_than_margin(counts, margin),
        "counts": counts,
        "mcnemar_p": mcnemar_p(counts),
        "churn": churned / n,
        "churn_interval": proportion_interval(min(churned, n), n, level),
    }
    return Comparison(**fields | changes)


def make_delta(
    metric: str, baseline: float, candidate: float, half_width: float, **changes: Any
) -> Comparison:
    """Return a comparison of a metric that is not counted but averaged, e.g. logLoss."""
    delta = candidate - baseline
    fields: dict[str, Any] = {
        "metric": metric,
        "direction": METRICS[metric].direction if metric in METRICS else "higher",
        "n": TEST_EXAMPLES,
        "baseline": baseline,
        "candidate": candidate,
        "delta": delta,
        "interval": make_interval(
            delta - half_width, delta + half_width, method="percentile bootstrap"
        ),
    }
    return Comparison(**fields | changes)


def make_distribution(
    median_ms: float, *, n: int = 400, spread: float = 0.03
) -> LatencyDistribution:
    """Return latencies that are log-normal round `median_ms`, with a slow tail as machines have."""
    quantiles = tuple(
        median_ms
        * math.exp(spread * _normal_score(percent / 100))
        * (1 + 0.4 * max(0.0, (percent - 96) / 4) ** 2)
        for percent in range(101)
    )
    return LatencyDistribution(
        n=n,
        median_ms=quantiles[50],
        mean_ms=sum(quantiles) / len(quantiles),
        percentiles_ms={"p95": quantiles[95]},
        histogram_ms=quantiles,
    )


def make_latency(
    batch: int = 1, *, baseline_ms: float = 1.72, speedup: float = 6.4, **changes: Any
) -> LatencyComparison:
    """Return a reliable timing in which the candidate is `speedup` times as fast."""
    fields: dict[str, Any] = {
        "batch": batch,
        "threads": 1,
        "pairs": 400,
        "sessions": 5,
        "warmup": 20,
        "optimization_level": "all",
        "baseline": make_distribution(baseline_ms),
        "candidate": make_distribution(baseline_ms / speedup, spread=0.045),
        "speedup": RatioInterval(
            ratio=speedup,
            interval=make_interval(0.975 * speedup, 1.028 * speedup, method="paired bootstrap"),
        ),
        "aa": RatioInterval(
            ratio=1.002, interval=make_interval(0.994, 1.011, CONTROL_LEVEL, "paired bootstrap")
        ),
        "reliable": True,
    }
    return LatencyComparison(**fields | changes)


def make_confusion(
    wrong: Iterable[tuple[int, int, int]] = (), *, classes: int = 10, per_class: int = 150
) -> ConfusionMatrix:
    """Return a matrix that is right everywhere but for `wrong`: (right class, answer, times)."""
    counts = [
        [per_class if row == column else 0 for column in range(classes)] for row in range(classes)
    ]
    for row, column, times in wrong:
        counts[row][row] -= times
        counts[row][column] += times
    return ConfusionMatrix(
        labels=tuple(str(index) for index in range(classes)),
        counts=tuple(tuple(row) for row in counts),
    )


def _normal_score(share: float) -> float:
    """Return the standard normal quantile, cut at +-2.6."""
    return NormalDist().inv_cdf(min(max(share, 0.005), 0.995))


def make_fidelity(
    output: str = "embedding", error: float = 0.02, half_width: float = 0.005, **changes: Any
) -> OutputFidelity:
    """Return how well an output of floating-point numbers is kept."""
    fields: dict[str, Any] = {
        "output": output,
        "kind": "float32",
        "n": TEST_EXAMPLES,
        "reference": "standard deviation",
        "relative_error": error,
        "relative_error_interval": make_interval(error - half_width, error + half_width),
        "answer": "largest value",
        "agreement": 0.99,
        "agreement_interval": make_interval(0.983, 0.994),
    }
    return OutputFidelity(**fields | changes)
