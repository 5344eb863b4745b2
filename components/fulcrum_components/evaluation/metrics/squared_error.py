"""Errors of values: mean squared, its root, and mean absolute.

For classification the mean squared error is that of probabilities against one-hot targets, a mean
over classes and examples: the Brier score divided by the number of classes.
"""

from __future__ import annotations

import numpy as np

from fulcrum_components.evaluation.metrics.accuracy import target_probabilities
from fulcrum_components.evaluation.metrics.definition import MetricDefinition
from fulcrum_components.evaluation.statistic import (
    Array,
    SumStatistic,
    mean_of_sums,
    mean_statistic,
)
from fulcrum_components.tasks import Outcomes


def example_squared_error(outcomes: Outcomes) -> Array:
    """Return each example's mean squared error over its outputs, (n,)."""
    if np.issubdtype(outcomes.targets.dtype, np.integer):
        return _one_hot_error(outcomes)
    difference = outcomes.outputs.astype(np.float64) - outcomes.targets
    result: Array = (difference**2).reshape(len(outcomes), -1).mean(axis=1)
    return result


def _one_hot_error(outcomes: Outcomes) -> Array:
    """Return sum_c (p_c - [c = t])^2 / C as (sum_c p_c^2 - 2 p_t + 1) / C, without one-hot rows."""
    p = outcomes.outputs
    squares = np.einsum("nc,nc->n", p, p, dtype=np.float64)
    result: Array = (squares - 2 * target_probabilities(outcomes) + 1) / p.shape[1]
    return np.maximum(result, 0.0)


def _absolute_error(outcomes: Outcomes) -> Array:
    difference = np.abs(outcomes.outputs.astype(np.float64) - outcomes.targets)
    result: Array = difference.reshape(len(outcomes), -1).mean(axis=1)
    return result


def _mse(outcomes: Outcomes, units: Array) -> SumStatistic:
    return mean_statistic(example_squared_error(outcomes), units)


def _mae(outcomes: Outcomes, units: Array) -> SumStatistic:
    return mean_statistic(_absolute_error(outcomes), units)


def _median(targets: Array) -> Array:
    result: Array = np.median(targets, axis=0)
    return result


def _root(sums: Array) -> Array:
    return np.sqrt(np.maximum(mean_of_sums(sums), 0.0))


def _rmse(outcomes: Outcomes, units: Array) -> SumStatistic:
    return SumStatistic(_mse(outcomes, units).features, _root)


MSE = MetricDefinition("mse", statistic=_mse)
MAE = MetricDefinition("mae", statistic=_mae, best_value=_median)
RMSE = MetricDefinition("rmse", statistic=_rmse)
