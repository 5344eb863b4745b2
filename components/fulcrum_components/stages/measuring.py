"""What several stages measure alike: a model's metrics, and the data that they come from."""

from __future__ import annotations

from collections.abc import Sequence

from fulcrum_components.data import Dataset, check_classes, find_overlap
from fulcrum_components.evaluation import (
    Outcomes,
    class_labels,
    column_of,
    compute_metrics,
    confusion_matrix,
)
from fulcrum_components.evaluation.outcomes import Array
from fulcrum_components.evaluation.requests import metrics_for
from fulcrum_components.stages.context import StageContext
from fulcrum_pipelines.evidence import ConfusionMatrix, Metric, Overlap
from fulcrum_pipelines.resources.compressionjob import Data

TUNED_ON = ("train", "calibration", "validation")
"""Data sets that something is tuned on; no test example may be in them."""


FIRST_METRIC = {"classification": "accuracy", "regression": "rmse"}
"""What a task's models are first asked for."""


def what_data_mean(data: Data) -> dict[str, object]:
    """Return what the specification says of the data beside where they lie."""
    return data.model_dump(mode="json", include={"task", "classes", "slices", "group_by"})


def check_test_data(context: StageContext, test: Dataset) -> None:
    """Refuse test data that cannot decide anything.

    Raises:
        UserError: All examples are of one class.
    """
    if context.spec.data.task == "classification":
        check_classes(test, "spec.data.test")


def groups_of(outcomes: Outcomes, data: Data) -> Array | None:
    """Return which examples belong together, (n,), or None where they are independent."""
    if data.group_by is None:
        return None
    return column_of(outcomes, data.group_by, where="spec.data.groupBy")


def all_metrics(outcomes: Outcomes, context: StageContext) -> tuple[Metric, ...]:
    """Return what gates and report need of one model, on all data and on slices."""
    spec = context.spec
    groups = groups_of(outcomes, spec.data)
    return metrics_for(outcomes, spec.gates, spec.data, groups=groups, seed=spec.seed)


def whole_metrics(outcomes: Outcomes, data: Data, seed: int) -> tuple[Metric, ...]:
    """Return every metric of the task on all data."""
    groups = groups_of(outcomes, data)
    return compute_metrics(outcomes, data.task, groups=groups, seed=seed)


def confusion(outcomes: Outcomes, data: Data) -> ConfusionMatrix | None:
    """Return the confusion matrix of a classification that has not too many classes."""
    if data.task != "classification":
        return None
    return confusion_matrix(outcomes, class_labels(data.classes, outcomes.outputs.shape[1]))


def overlaps(context: StageContext, test: Dataset) -> tuple[Overlap, ...]:
    """Return the sets that test examples stand in too; those without are left out."""
    found = []
    for name in TUNED_ON:
        other = context.dataset(name)
        if other is not None:
            overlap = find_overlap(test, other, name)
            if overlap.examples:
                found.append(overlap)
    return tuple(found)


def overall(metrics: Sequence[Metric], name: str) -> float | None:
    """Return the value of the metric `name` on all data."""
    return next((m.value for m in metrics if m.name == name and m.slice == "all"), None)
