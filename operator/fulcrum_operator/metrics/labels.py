"""Labels whose values are bounded, because each value creates a lasting time series.

Names of jobs, uids and messages are never labels. Labels from users (the model) or from the
cluster (its resources) have a maximum number of values; all later values are counted as `other`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

OTHER: Final = "other"

MODEL_LABEL: Final = "fulcrum.dev/model"
"""The label of a job that names its model in metrics."""


@dataclass(frozen=True)
class Label:
    """One label of a metric family.

    Attributes:
        name: As in queries.
        values: All that it may be. Empty means that values are let in as they come.
        at_most: How many different ones are let in then.
    """

    name: str
    values: tuple[str, ...] = ()
    at_most: int = 0


class Admission:
    """Remembers which values were let in, in all families alike."""

    def __init__(self) -> None:
        self._seen: dict[Label, set[str]] = {}

    def admit(self, label: Label, value: str) -> str:
        """Return `value`, or `other` where the label has no room for it."""
        if label.values:
            return value if value in label.values else OTHER
        seen = self._seen.setdefault(label, set())
        if value not in seen and len(seen) >= label.at_most:
            return OTHER
        seen.add(value)
        return value


def model_label(labels: Mapping[str, str], channel: str = "") -> str:
    """Return what a job's model is called in metrics.

    Args:
        labels: `metadata.labels` of the job.
        channel: The channel that the job promotes to, if there is one.
    """
    return labels.get(MODEL_LABEL, "") or channel or OTHER
