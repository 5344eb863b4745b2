"""Expected calibration error (Guo et al. 2017, equation 3): is the confidence earned?

Noise alone raises it: a perfectly calibrated model shows 0.1 on sixty examples. No resampling of
the biased figure finds the true one below, so the lower end of its interval comes from the triangle
inequality instead: true error >= seen error - noise, where sum_b |noise_b| is bootstrapped.
"""

from __future__ import annotations

import numpy as np

from fulcrum_components.evaluation.metrics.definition import MetricDefinition
from fulcrum_components.evaluation.statistic import Array, SumStatistic, summed_by_unit
from fulcrum_components.evaluation.unseen import Stratum
from fulcrum_components.tasks import Outcomes
from fulcrum_components.tasks.classification import most_probable

BINS = 15
"""Equally wide bins of confidence, (0, 1/15], (1/15, 2/15] ..., as in the paper."""


def confidence_bins(confidence: Array) -> Array:
    """Return the bin of each confidence, 0 to `BINS` - 1."""
    result: Array = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    return result


def _gaps(sums: Array) -> Array:
    """Return ECE of rows (right - confidence summed in each bin, count).

    sum_b n_b/n |accuracy_b - confidence_b| is sum_b |sum over b of (right - confidence)| / n.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        result: Array = np.abs(sums[:, :BINS]).sum(axis=1) / sums[:, BINS]
    return result


def _statistic(outcomes: Outcomes, units: Array) -> SumStatistic:
    confidence = outcomes.outputs.max(axis=1).astype(np.float64)
    right = most_probable(outcomes) == outcomes.targets
    features = np.zeros((len(outcomes), BINS + 1))
    features[np.arange(len(outcomes)), confidence_bins(confidence)] = right - confidence
    features[:, BINS] = 1
    return SumStatistic(summed_by_unit(features, units), _gaps)


def _noise(statistic: SumStatistic) -> SumStatistic:
    """Return the statistic of the gaps' deviations from those seen, 0 on the data themselves."""
    features = statistic.features
    seen = features[:, :BINS].sum(axis=0) / features[:, BINS].sum()
    centred = features.copy()
    centred[:, :BINS] -= features[:, BINS:] * seen
    return SumStatistic(centred, _gaps)


def _costs(outcomes: Outcomes) -> tuple[Stratum, ...]:
    """Return that a certain answer which becomes wrong moves the gap of its bin by one example."""
    return (Stratum(1 / len(outcomes)),)


ECE = MetricDefinition(
    "ece",
    statistic=_statistic,
    noise=_noise,
    costs=_costs,
)
