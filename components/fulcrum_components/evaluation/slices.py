"""Parts of the test data that are reported, and may be gated, on their own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fulcrum_components.data.labels import class_labels
from fulcrum_components.evaluation.metrics import MetricDefinition
from fulcrum_components.evaluation.outcome_file import column_of
from fulcrum_components.evaluation.statistic import Array
from fulcrum_components.tasks import Outcomes, find_task
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.resources.compressionjob import Data

ALL = "all"
BY_CLASS = "class"
MOST_VALUES = 1000


@dataclass(frozen=True)
class Slice:
    """Some of the examples.

    Attributes:
        name: `all`, or `<by>=<value>`, as in evidence.
        by: `all`, `class`, or the name of a declared slice.
        selected: Mask (n,); None for all.
    """

    name: str
    by: str
    selected: Array | None = None

    def of(self, outcomes: Outcomes) -> Outcomes:
        """Return the part of `outcomes` that is in this slice."""
        return outcomes if self.selected is None else outcomes.take(self.selected)

    def untested(self, metric: MetricDefinition, outcomes: Outcomes) -> float:
        """Return how far `metric` may be off for classes of which this slice has no example.

        A slice by class is about that class alone.
        """
        return 0.0 if self.by == BY_CLASS else metric.untested(outcomes)


WHOLE = Slice(ALL, ALL)


def slices_by(outcomes: Outcomes, by: str, data: Data) -> tuple[Slice, ...]:
    """Return one slice for each value of `by` that occurs, in the values' order.

    Args:
        outcomes: Of any model on the test data.
        by: `class`, or a name of `data.slices`.
        data: Declares slices and class names.

    Raises:
        UserError: If the slice is not declared, its column is missing, or it has over
            `MOST_VALUES` values.
    """
    if by == BY_CLASS:
        if not find_task(data.task).labelled:
            message = f"task {data.task} has no classes to slice by"
            raise UserError(message, where="spec.gates")
        labels = class_labels(data.classes, outcomes.outputs.shape[1])
        present = np.unique(outcomes.targets)
        return tuple(
            Slice(f"{BY_CLASS}={labels[label]}", BY_CLASS, outcomes.targets == label)
            for label in present
        )
    column = next((s.column for s in data.slices or () if s.name == by), None)
    if column is None:
        declared = ", ".join([BY_CLASS, *(s.name for s in data.slices or ())])
        message = f"no slice '{by}' is declared (known: {declared})"
        raise UserError(message, where="spec.data.slices")
    return _column_slices(column_of(outcomes, column, where="spec.data.slices"), by)


def _column_slices(values: Array, by: str) -> tuple[Slice, ...]:
    text = values.astype(str)
    distinct = np.unique(text)
    if len(distinct) > MOST_VALUES:
        message = (
            f"slice '{by}' has {len(distinct)} distinct values, at most {MOST_VALUES} are "
            "supported; declare a coarser column"
        )
        raise UserError(message, where="spec.data.slices")
    return tuple(Slice(f"{by}={value}", by, text == value) for value in distinct)


def declared_slices(outcomes: Outcomes, data: Data) -> tuple[Slice, ...]:
    """Return the slices by class (of a task with labels) and by every declared column."""
    names = [BY_CLASS] if find_task(data.task).labelled else []
    names += [declared.name for declared in data.slices or ()]
    return tuple(part for name in names for part in slices_by(outcomes, name, data))
