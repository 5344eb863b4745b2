"""Share of right answers, first and among the first five."""

from __future__ import annotations

import numpy as np

from fulcrum_components.evaluation.metrics.definition import MetricDefinition
from fulcrum_components.evaluation.statistic import Array
from fulcrum_components.tasks import Outcomes
from fulcrum_components.tasks.classification import most_probable

_K = 5


def target_probabilities(outcomes: Outcomes) -> Array:
    """Return the probability given to the right class, (n,), float64."""
    rows = np.arange(len(outcomes))
    result: Array = outcomes.outputs[rows, outcomes.targets].astype(np.float64)
    return result


def _right(outcomes: Outcomes) -> Array:
    result: Array = most_probable(outcomes) == outcomes.targets
    return result


def _among_first(outcomes: Outcomes) -> Array:
    """Return whether fewer than five classes rank above the right one; ties go by label."""
    target = outcomes.outputs[np.arange(len(outcomes)), outcomes.targets][:, None]
    labels = np.arange(outcomes.outputs.shape[1])
    tied_before = (outcomes.outputs == target) & (labels < outcomes.targets[:, None])
    before = (outcomes.outputs > target) | tied_before
    result: Array = before.sum(axis=1) < _K
    return result


def _few_classes(outcomes: Outcomes) -> str:
    classes = outcomes.outputs.shape[1]
    return f"with {classes} classes every answer is among the first 5" if classes <= _K else ""


ACCURACY = MetricDefinition("accuracy", correct=_right)
TOP5 = MetricDefinition("top5", correct=_among_first, undefined=_few_classes)
