"""Metrics as functions of weighted sums, so that one bootstrap serves all of them.

A bootstrap resample gives each example (or group) a count. Every metric here except AUC depends on
the examples only through sums over them, so its value on B resamples is one matrix product of the
counts with the examples' features: exact, vectorised, and without touching the outputs again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

Evaluate = Callable[[Array], Array]
"""Metric values (b,) of b rows of sums (b, d); NaN if undefined."""


@dataclass(frozen=True)
class SumStatistic:
    """A metric of one model on u units: examples, or groups of them.

    Attributes:
        features: What each unit adds, (u, d), float64.
        evaluate: The metric of the sums.
    """

    features: Array
    evaluate: Evaluate

    def resampled(self, weights: Array) -> Array:
        """Return the values (b,) where unit j counts `weights[i, j]` times; weights are (b, u)."""
        return self.evaluate(weights @ self.features)

    def leave_one_out(self, chosen: Array) -> Array:
        """Return the values (c,), each without one of the `chosen` units (c,)."""
        return self.evaluate(self.features.sum(axis=0) - self.features[chosen])


def summed_by_unit(features: Array, units: Array) -> Array:
    """Return the sums (u, d) of `features` (n, d) over examples with the same unit number."""
    count = int(units.max()) + 1
    if count == len(units) and np.array_equal(units, np.arange(count)):
        return features
    return np.stack(
        [np.bincount(units, weights=column, minlength=count) for column in features.T], axis=1
    )


def mean_statistic(contributions: Array, units: Array) -> SumStatistic:
    """Return the mean of `contributions` (n,) over examples."""
    features = np.stack([contributions, np.ones(len(contributions))], axis=1).astype(np.float64)
    return SumStatistic(summed_by_unit(features, units), mean_of_sums)


def mean_of_sums(sums: Array) -> Array:
    """Return sum / count for rows (sum, count)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        result: Array = sums[:, 0] / sums[:, 1]
    return result
