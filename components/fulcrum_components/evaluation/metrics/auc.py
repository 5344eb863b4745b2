"""Area under the ROC curve, with the variance of DeLong, DeLong and Clarke-Pearson (1988).

AUC is a mean over pairs of a positive and a negative example, not a function of sums over examples.
Its "structural components" say how much each example contributes; their sum of squares is DeLong's
variance, and that of the difference of two models' components the variance of a paired difference.
With more than two classes it is the mean over classes of one against the rest, whose components are
means of the classes' components. Components are found from mid-ranks (Sun and Xu 2014).
"""

from __future__ import annotations

import math

import numpy as np

from fulcrum_components.evaluation.metrics.definition import MetricDefinition
from fulcrum_components.evaluation.statistic import Array
from fulcrum_components.evaluation.unseen import Stratum
from fulcrum_components.tasks import Outcomes


def mid_ranks(values: Array) -> Array:
    """Return the ranks of `values` (n,) from 1; equals share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    result: Array = (ends - (counts - 1) / 2)[inverse]
    return result


def binary_auc(scores: Array, positive: Array, unbiased: bool) -> tuple[float, Array]:
    """Return AUC and the influence (n,) of each example; the sum of squares is the variance.

    Args:
        scores: Higher means more likely positive, (n,).
        positive: Mask (n,) with at least one positive and one negative.
        unbiased: Divide by m - 1 as DeLong does. Not for sums over groups, which correct for the
            number of groups instead.
    """
    ranks = mid_ranks(scores)
    count = int(positive.sum())
    others = len(scores) - count
    above = (ranks[positive] - mid_ranks(scores[positive])) / others
    below = 1 - (ranks[~positive] - mid_ranks(scores[~positive])) / count
    auc = float(above.mean())
    influence = np.empty(len(scores))
    influence[positive] = (above - auc) * _scale(count, unbiased)
    influence[~positive] = (below - auc) * _scale(others, unbiased)
    return auc, influence


def _scale(count: int, unbiased: bool) -> float:
    """Return what turns deviations into influence; of one example there is no deviation."""
    return 1 / math.sqrt(count * (count - 1)) if unbiased and count > 1 else 1 / count


def _auc(outcomes: Outcomes, unbiased: bool) -> tuple[float, Array]:
    classes = outcomes.outputs.shape[1]
    labels = [1] if classes == 2 else _rankable(outcomes)
    value, influence = 0.0, np.zeros(len(outcomes))
    for label in labels:
        one, ones = binary_auc(outcomes.outputs[:, label], outcomes.targets == label, unbiased)
        value += one / len(labels)
        influence += ones / len(labels)
    return value, influence


def _rankable(outcomes: Outcomes) -> list[int]:
    """Return the classes that occur among the targets, which are not all of one class."""
    return [int(label) for label in np.unique(outcomes.targets)]


def _one_class(outcomes: Outcomes) -> str:
    if len(np.unique(outcomes.targets)) > 1:
        return ""
    return "AUC needs examples of at least two classes"


def _costs(outcomes: Outcomes) -> tuple[Stratum, ...]:
    """Return what an example costs that goes from one end of the ranking to the other, by class.

    It is all of its share of its own class's AUC. With more than two classes, in which AUC is a
    mean over them, it is also first among the others of one more class.
    """
    labels, counts = np.unique(outcomes.targets, return_counts=True)
    classes = outcomes.outputs.shape[1]
    if classes == 2:
        costs = 1 / counts
    else:
        others = 1 / (len(outcomes) - counts)
        costs = (1 / counts + others.max()) / len(labels)
    pairs = zip(labels.tolist(), costs.tolist(), strict=True)
    return tuple(Stratum(cost, outcomes.targets == label) for label, cost in pairs)


AUC = MetricDefinition(
    "auc",
    influence=_auc,
    costs=_costs,
    undefined=_one_class,
    by_class=True,
)
