"""Which classes a model takes for which."""

from __future__ import annotations

import numpy as np

from fulcrum_components.tasks import Array
from fulcrum_pipelines.evidence import ConfusionMatrix

MOST_CLASSES = 100
"""More classes would make evidence of megabytes that is of no use to readers."""


def confusion_matrix(
    targets: Array, answers: Array, labels: tuple[str, ...]
) -> ConfusionMatrix | None:
    """Return the confusion matrix, or None with over `MOST_CLASSES` classes.

    Args:
        targets: Right classes, (n,).
        answers: Classes that were answered, (n,).
        labels: Names of the classes, in the order of the outputs.
    """
    count = len(labels)
    if count > MOST_CLASSES:
        return None
    cells = np.bincount(targets * count + answers, minlength=count * count)
    rows = tuple(tuple(map(int, row)) for row in cells.reshape(count, count))
    return ConfusionMatrix(labels=labels, counts=rows)
