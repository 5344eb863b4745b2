"""Mean of the classes' F1 scores, which a rare class moves as much as a common one."""

from __future__ import annotations

import numpy as np

from fulcrum_components.evaluation.metrics.definition import MetricDefinition
from fulcrum_components.evaluation.statistic import Array, SumStatistic
from fulcrum_components.evaluation.unseen import Stratum
from fulcrum_components.tasks import Outcomes
from fulcrum_components.tasks.classification import most_probable


def _statistic(outcomes: Outcomes, units: Array) -> SumStatistic:
    """Return macro F1 of sums (u, 3 classes): right answers, targets and answers of each class."""
    classes, count = int(outcomes.outputs.shape[1]), int(units.max()) + 1
    given = most_probable(outcomes)
    right = given == outcomes.targets
    columns = ((outcomes.targets, right), (outcomes.targets, None), (given, None))
    counted = [
        np.bincount(units * classes + labels, weights=weights, minlength=count * classes)
        for labels, weights in columns
    ]
    features = np.concatenate([cells.reshape(count, classes) for cells in counted], axis=1)
    return SumStatistic(features.astype(np.float64), _macro_f1)


def _macro_f1(sums: Array) -> Array:
    """Return the mean over classes among the targets of F1 = 2 right / (targets + answers)."""
    right, wanted, given = np.split(sums, 3, axis=1)
    present = wanted > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        scores = np.where(present, 2 * right / (wanted + given), 0.0)
        result: Array = scores.sum(axis=1) / present.sum(axis=1)
    return result


def _costs(outcomes: Outcomes) -> tuple[Stratum, ...]:
    """Return what one right answer costs that becomes wrong, by its class.

    Its class loses a right answer and an answer: (2 - F1) / (targets + answers - 1). The class that
    is answered instead gets one too many: F1 / (targets + answers + 1), of the class that this
    hurts most.
    """
    sums = _statistic(outcomes, np.zeros(len(outcomes), dtype=np.int64)).features
    right, wanted, given = np.split(sums[0], 3)
    present = np.flatnonzero(wanted)
    both = (wanted + given)[present]
    scores = 2 * right[present] / both
    own = (2 - scores) / np.maximum(both - 1, 1)
    other = float((scores / (both + 1)).max())
    return tuple(
        Stratum((cost + other) / len(present), outcomes.targets == label)
        for label, cost in zip(present.tolist(), own.tolist(), strict=True)
    )


MACRO_F1 = MetricDefinition(
    "macroF1",
    statistic=_statistic,
    costs=_costs,
    by_class=True,
)
