"""Which classes a model takes for which."""

from __future__ import annotations

import numpy as np

from fulcrum_components.evaluation.metrics.accuracy import answers
from fulcrum_components.evaluation.outcomes import Outcomes
from fulcrum_pipelines.evidence import ConfusionMatrix

MOST_CLASSES = 100
"""More would make evidence of megabytes that nobody can look at."""


def confusion_matrix(outcomes: Outcomes, labels: tuple[str, ...]) -> ConfusionMatrix | None:
    """Return the confusion matrix, or None with over `MOST_CLASSES` classes.

    Args:
        outcomes: Of a classification.
        labels: Names of the classes, in the order of the outputs.
    """
    count = len(labels)
    if count > MOST_CLASSES:
        return None
    cells = np.bincount(outcomes.targets * count + answers(outcomes), minlength=count * count)
    rows = tuple(tuple(map(int, row)) for row in cells.reshape(count, count))
    return ConfusionMatrix(labels=labels, counts=rows)
