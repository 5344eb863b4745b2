"""Bootstrap intervals: BCa (Efron 1987), over examples or over groups of them.

Resampling units are examples; or groups where examples are not independent (Davison and Hinkley
1997, section 3.8); or, of very many examples, random parts of them, since sums of independent
examples are independent too and an interval needs no more than some thousand units.

BCa corrects for the bias and the skewness of the resampled values. Quantiles are those of Student's
t for the number of units (`student`), because BCa alone is too narrow for few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from fulcrum_components.evaluation.statistic import Array, SumStatistic
from fulcrum_components.student import expanded_cdf, expanded_quantile
from fulcrum_components.tasks import Outcomes
from fulcrum_pipelines.evidence import Interval

FEWEST_REPLICATES = 2000
MOST_REPLICATES = 20_000
MOST_UNITS = 20_000
FEWEST_POOLED_UNITS = 1000
_REPLICATES_BEYOND = 20
"""Resamples that shall lie beyond each end of an interval."""
_CELLS = 4_000_000
"""Counts held at once (32 MB), for any number of examples."""
_FEATURE_CELLS = 5_000_000
"""Sums of all units held at once for one statistic (40 MB)."""
_JACKKNIFE_UNITS = 2000

_NORMAL = NormalDist()

StatisticPair = tuple[SumStatistic, SumStatistic | None]
"""Baseline's and candidate's statistic, or one model's and None."""


@dataclass(frozen=True)
class Replicates:
    """Resampled values of one statistic (or of a difference), and what BCa needs besides.

    Attributes:
        value: The statistic on the data themselves.
        resampled: Its values on the resamples, finite, (b,).
        acceleration: Rate at which its standard error changes with its value.
        units: Number of resampling units.
    """

    value: float
    resampled: Array
    acceleration: float
    units: int

    @property
    def constant(self) -> bool:
        """Whether all resamples agree, so that they say nothing about spread."""
        spread = float(np.ptp(self.resampled)) if len(self.resampled) else 0.0
        return spread <= 1e-12 * max(1.0, abs(self.value))

    @property
    def bias(self) -> float:
        """BCa's z0: the normal quantile of the share of resamples below the value."""
        below = np.count_nonzero(self.resampled < self.value)
        equal = np.count_nonzero(self.resampled == self.value)
        return clipped_quantile((below + equal / 2) / len(self.resampled), len(self.resampled))

    def interval(self, level: float) -> Interval:
        """Return the two-sided BCa interval, of no width where all resamples agree."""
        if self.constant:
            return Interval(level=level, low=self.value, high=self.value, method="bootstrap-bca")
        z = expanded_quantile(level, self.units)
        low, high = (float(np.quantile(self.resampled, self._share(s))) for s in (-z, z))
        return Interval(level=level, low=low, high=high, method="bootstrap-bca")

    def p_at_least(self, bound: float) -> float:
        """Return the one-sided p-value of "the statistic is at least `bound`".

        It is the inverse of the interval: below (1 - level) / 2 where its upper end is below
        `bound`. Shares of resamples are taken as (k + 1) / (b + 1), so it is never 0.
        """
        if self.constant:
            return 1.0 if self.value >= bound else 1 / (len(self.resampled) + 1)
        share = (np.count_nonzero(self.resampled < bound) + 1) / (len(self.resampled) + 1)
        z0 = self.bias
        distance = clipped_quantile(share, len(self.resampled)) - z0
        scale = 1 + self.acceleration * distance
        z = distance / scale - z0 if scale > 0 else float("inf")
        return max(1 - expanded_cdf(z, self.units), 1 / (len(self.resampled) + 1))

    def negated(self) -> Replicates:
        """Return the same of the negative statistic."""
        turned = -self.resampled
        return replace(self, value=-self.value, resampled=turned, acceleration=-self.acceleration)

    def _share(self, z: float) -> float:
        """Return the share of resamples to cut off for the normal quantile `z`."""
        shifted = self.bias + z
        scale = 1 - self.acceleration * shifted
        return _NORMAL.cdf(self.bias + shifted / scale) if scale > 0 else float(z > 0)


def replicates_for(levels: Sequence[float]) -> int:
    """Return how many resamples intervals at `levels` need."""
    wanted = [_REPLICATES_BEYOND / ((1 - level) / 2) for level in levels]
    return int(min(max([FEWEST_REPLICATES, *wanted]), MOST_REPLICATES))


def unit_numbers(outcomes: Outcomes, groups: Array | None, seed: int) -> Array:
    """Return the unit number, from 0, of each example, (n,).

    Examples or groups that are more than needed are pooled at random; with many classes fewer are
    needed, since macro F1 has three sums a class.
    """
    if groups is None:
        numbers = np.arange(len(outcomes))
    else:
        numbers = np.unique(groups, return_inverse=True)[1].astype(np.int64)
    count = int(numbers.max()) + 1
    width = outcomes.outputs.shape[-1] if outcomes.outputs.ndim > 1 else 1
    most = int(np.clip(_FEATURE_CELLS // (3 * width), FEWEST_POOLED_UNITS, MOST_UNITS))
    if count <= most:
        return numbers
    pooled = np.random.default_rng(seed).permutation(np.arange(count) % most)
    return pooled[numbers]


def paired_replicates(
    pairs: Sequence[StatisticPair], units: int, count: int, seed: int
) -> list[Replicates]:
    """Return resampled differences second - first of each pair, or of the first alone.

    All statistics see the same resamples, both of a pair and the pairs among each other.

    Args:
        pairs: What to resample.
        units: Number of units, at least 2.
        count: Number of resamples.
        seed: Equal seeds give equal resamples.
    """
    generator = np.random.default_rng(seed)
    rows = max(1, _CELLS // units)
    parts: list[list[Array]] = [[] for _ in pairs]
    for start in range(0, count, rows):
        weights = _draw(generator, min(rows, count - start), units)
        for part, pair in zip(parts, pairs, strict=True):
            part.append(_difference(pair, weights))
    return [
        _collect(pair, np.concatenate(part), units) for pair, part in zip(pairs, parts, strict=True)
    ]


def _draw(generator: np.random.Generator, rows: int, units: int) -> Array:
    """Return how often each unit was drawn in `rows` resamples of `units` draws, (rows, units)."""
    drawn = generator.integers(0, units, size=(rows, units))
    drawn += np.arange(rows)[:, None] * units
    counts = np.bincount(drawn.ravel(), minlength=rows * units)
    return counts.reshape(rows, units).astype(np.float64)


def _difference(pair: StatisticPair, weights: Array) -> Array:
    first, second = pair
    values = first.resampled(weights)
    return values if second is None else second.resampled(weights) - values


def _collect(pair: StatisticPair, drawn: Array, units: int) -> Replicates:
    value = float(_difference(pair, np.ones((1, units)))[0])
    chosen = np.unique(np.linspace(0, units - 1, min(units, _JACKKNIFE_UNITS)).astype(np.int64))
    first, second = pair
    left_out = first.leave_one_out(chosen)
    if second is not None:
        left_out = second.leave_one_out(chosen) - left_out
    return Replicates(value, drawn[np.isfinite(drawn)], _acceleration(left_out, units), units)


def _acceleration(left_out: Array, units: int) -> float:
    """Return Efron's acceleration from values without one unit each (some of `units`)."""
    finite = left_out[np.isfinite(left_out)]
    if len(finite) < 2:
        return 0.0
    influence = finite.mean() - finite
    square = float(np.mean(influence**2))
    if square <= 0:
        return 0.0
    skewness = float(np.mean(influence**3)) / square**1.5
    return float(np.clip(skewness / (6 * np.sqrt(units)), -0.3, 0.3))


def clipped_quantile(share: float, count: int) -> float:
    """Return the normal quantile of `share`, limited to what `count` resamples can resolve."""
    return _NORMAL.inv_cdf(min(max(share, 1 / (count + 1)), count / (count + 1)))
