"""Intervals from the influence of each example: AUC, whose bootstrap would sort every resample."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fulcrum_components.evaluation.statistic import Array
from fulcrum_components.student import t_cdf, t_quantile
from fulcrum_pipelines.evidence import Interval


@dataclass(frozen=True)
class Estimate:
    """A value with a standard error of `units` independent units."""

    value: float
    error: float
    units: int

    def interval(self, level: float) -> Interval:
        """Return the two-sided interval with Student's quantile."""
        half = t_quantile(level, self.units - 1) * self.error
        low, high = self.value - half, self.value + half
        return Interval(level=level, low=low, high=high, method="delong")

    def p_at_least(self, bound: float) -> float:
        """Return the one-sided p-value of "the value is at least `bound`"."""
        if self.error == 0:
            return 1.0 if self.value >= bound else 0.0
        return t_cdf((self.value - bound) / self.error, self.units - 1)

    def negated(self) -> Estimate:
        """Return the same of the negative value."""
        return Estimate(-self.value, self.error, self.units)


def estimate(value: float, influence: Array, groups: Array | None) -> Estimate:
    """Return `value` with the error that `influence` (n,) gives, summed within `groups` (n,).

    Without groups the influence is expected to be scaled so that its squares sum to the variance.
    """
    if groups is None:
        return Estimate(value, math.sqrt(float(influence @ influence)), len(influence))
    numbers = np.unique(groups, return_inverse=True)[1]
    sums = np.bincount(numbers, weights=influence)
    variance = float(sums @ sums) * len(sums) / max(len(sums) - 1, 1)
    return Estimate(value, math.sqrt(variance), len(sums))
