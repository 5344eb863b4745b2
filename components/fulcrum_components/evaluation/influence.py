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


def estimate(value: float, influence: Array, targets: Array, groups: Array | None) -> Estimate:
    """Return `value` with the error that `influence` (n,) gives, summed within `groups` (n,).

    Without groups the influence is expected to be scaled so that its squares sum to the variance.
    Classes vary apart, each with its own number of units, so the degrees of freedom are those of
    Satterthwaite (1946): hardly more than those of the class that varies most.
    """
    variances, counts = _by_class(influence, targets, groups)
    variance = float(variances.sum())
    degrees = float(counts.min()) - 1
    if variance > 0 and degrees > 0:
        degrees = variance**2 / float((variances**2 / (counts - 1)).sum())
    if groups is not None:
        sums = np.bincount(np.unique(groups, return_inverse=True)[1], weights=influence)
        variance = float(sums @ sums) * len(sums) / max(len(sums) - 1, 1)
    return Estimate(value, math.sqrt(variance), int(degrees) + 1)


def _by_class(influence: Array, targets: Array, groups: Array | None) -> tuple[Array, Array]:
    """Return each class's sum of squared influence, and the number of units that have examples."""
    variances, counts = [], []
    for label in np.unique(targets):
        own = influence[targets == label]
        if groups is not None:
            numbers = np.unique(groups[targets == label], return_inverse=True)[1]
            own = np.bincount(numbers, weights=own)
        variances.append(float(own @ own))
        counts.append(float(len(own)))
    return np.array(variances), np.array(counts)
