"""The interval of a ratio of median latencies.

Calls in one pair of sessions are more alike than calls in different ones, so the bootstrap draws
rounds first and pairs within them second (Davison and Hinkley 1997, section 3.8). With five rounds
its interval would be far too narrow; it is stretched on the logarithmic scale by what Student's t
says for so few (`student`).
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from fulcrum_components.latency.interleaving import Array, Timings
from fulcrum_components.student import expanded_quantile
from fulcrum_pipelines.evidence import Interval, RatioInterval

REPLICATES = 4000
_CELLS = 2_000_000

METHOD = "paired-hierarchical-bootstrap"


def median_ratio(timings: Timings, level: float, seed: int) -> RatioInterval:
    """Return median(first) / median(second) over all pairs, with its interval at `level`.

    Args:
        timings: Of at least two rounds.
        level: Confidence.
        seed: Of the bootstrap.
    """
    ratio = float(np.median(timings.first) / np.median(timings.second))
    resampled = np.log(_resampled_ratios(timings, seed) / ratio)
    normal = NormalDist().inv_cdf((1 + level) / 2)
    stretch = expanded_quantile(level, len(timings.first)) / normal
    ends = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    low, high = (ratio * np.exp(stretch * ends)).tolist()
    interval = Interval(level=level, low=min(low, ratio), high=max(high, ratio), method=METHOD)
    return RatioInterval(ratio=ratio, interval=interval)


def geometric_mean(ratios: Sequence[RatioInterval]) -> RatioInterval:
    """Return the mean of independent ratios on the logarithmic scale.

    Its interval combines theirs as those of independent errors: by the root of the sum of squares.
    """
    logs = np.log([(each.ratio, each.interval.low, each.interval.high) for each in ratios])
    middle = logs[:, 0].mean()
    below, above = (
        float(np.sqrt(np.square(logs[:, end] - logs[:, 0]).sum()) / len(ratios)) for end in (1, 2)
    )
    low, high = np.exp([middle - below, middle + above]).tolist()
    interval = Interval(
        level=ratios[0].interval.level, low=low, high=high, method=f"geometric mean, {METHOD}"
    )
    return RatioInterval(ratio=float(np.exp(middle)), interval=interval)


def _resampled_ratios(timings: Timings, seed: int) -> Array:
    """Return the ratio on `REPLICATES` resamples, (REPLICATES,)."""
    rounds, pairs = timings.first.shape
    generator = np.random.default_rng(seed)
    rows = max(1, _CELLS // (rounds * pairs))
    parts = []
    for start in range(0, REPLICATES, rows):
        count = min(rows, REPLICATES - start)
        drawn_rounds = generator.integers(0, rounds, (count, rounds, 1))
        drawn_pairs = generator.integers(0, pairs, (count, rounds, pairs))
        medians = [
            np.median(times[drawn_rounds, drawn_pairs].reshape(count, -1), axis=1)
            for times in (timings.first, timings.second)
        ]
        parts.append(medians[0] / medians[1])
    return np.concatenate(parts)
