"""Mean cubed absolute error, an example of how to add a metric."""

from __future__ import annotations

import numpy as np

from fulcrum_components.evaluation.metrics.definition import MetricDefinition
from fulcrum_components.evaluation.statistic import Array, SumStatistic, mean_statistic
from fulcrum_components.tasks import Outcomes


def _statistic(outcomes: Outcomes, units: Array) -> SumStatistic:
    errors = np.abs(outcomes.outputs.astype(np.float64) - outcomes.targets)
    return mean_statistic((errors**3).reshape(len(outcomes), -1).mean(axis=1), units)


CUBED_ERROR = MetricDefinition("cubedError", statistic=_statistic)
