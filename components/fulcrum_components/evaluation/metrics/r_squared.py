"""Share of the targets' variance that the model explains; 1 is perfect, 0 as good as their mean."""

from __future__ import annotations

import numpy as np

from fulcrum_components.evaluation.metrics.definition import MetricDefinition
from fulcrum_components.evaluation.statistic import Array, SumStatistic, summed_by_unit
from fulcrum_components.tasks import Outcomes


def _statistic(outcomes: Outcomes, units: Array) -> SumStatistic:
    """Return R2 pooled over k outputs, weighted by their variance.

    Targets are centred first: their variance is then not the difference of two large sums.
    """
    targets = outcomes.targets.reshape(len(outcomes), -1).astype(np.float64)
    outputs = outcomes.outputs.reshape(len(outcomes), -1).astype(np.float64)
    centred = targets - targets.mean(axis=0)
    residual = ((outputs - targets) ** 2).sum(axis=1)
    square = (centred**2).sum(axis=1)
    features = np.column_stack([residual, square, np.ones(len(outcomes)), centred])
    return SumStatistic(summed_by_unit(features, units), _r_squared)


def _r_squared(sums: Array) -> Array:
    """Return 1 - SS_residual / SS_total of rows (SS_residual, sum y^2, count, sum y ...)."""
    residual, square, count, centred = sums[:, 0], sums[:, 1], sums[:, 2], sums[:, 3:]
    with np.errstate(invalid="ignore", divide="ignore"):
        total = square - (centred**2).sum(axis=1) / count
        result: Array = np.where(total > 1e-12 * square, 1 - residual / total, np.nan)
    return result


def _constant(outcomes: Outcomes) -> str:
    if len(outcomes) > 1 and np.ptp(outcomes.targets, axis=0).any():
        return ""
    return "R2 is undefined if all targets are equal"


R2 = MetricDefinition("r2", statistic=_statistic, undefined=_constant)
