"""Mean of -log p(right class), in nats."""

from __future__ import annotations

import numpy as np

from fulcrum_components.evaluation.metrics.accuracy import target_probabilities
from fulcrum_components.evaluation.metrics.definition import MetricDefinition
from fulcrum_components.evaluation.statistic import Array, SumStatistic, mean_statistic
from fulcrum_components.tasks import Outcomes

SMALLEST_PROBABILITY = float(np.finfo(np.float32).eps)
"""Probabilities are clipped to this, as scikit-learn does for float32, so that one certain and
wrong answer costs 15.9 nats and not infinity."""


def example_log_loss(outcomes: Outcomes) -> Array:
    """Return each example's loss, (n,)."""
    clipped = np.clip(target_probabilities(outcomes), SMALLEST_PROBABILITY, 1.0)
    result: Array = -np.log(clipped)
    return result


def _statistic(outcomes: Outcomes, units: Array) -> SumStatistic:
    return mean_statistic(example_log_loss(outcomes), units)


LOG_LOSS = MetricDefinition("logLoss", statistic=_statistic)
