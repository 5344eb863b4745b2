"""Measurements that several stages share: a model's metrics, and the data that they come from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fulcrum_components.data import (
    Dataset,
    class_labels,
    find_copies,
    find_overlap,
    find_time_splits,
)
from fulcrum_components.environment import has_gpu
from fulcrum_components.evaluation import (
    Outcomes,
    column_of,
    compute_metrics,
    confusion_matrix,
)
from fulcrum_components.evaluation.provider import why_cpu
from fulcrum_components.evaluation.requests import metrics_for
from fulcrum_components.sessions import CPU_PROVIDER, CUDA_PROVIDER
from fulcrum_components.stages.context import StageContext
from fulcrum_components.tasks import Array, find_task
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.evidence import ConfusionMatrix, Copies, Metric, Overlap, TimeSplit
from fulcrum_pipelines.resources.compressionjob import Data

TUNED_ON = ("train", "calibration", "validation")
"""Data sets that something is tuned on; no test example may be in them."""


def what_data_mean(data: Data) -> dict[str, object]:
    """Return what the specification says of the data beside where they lie."""
    meant = ("task", "classes", "slices", "group_by", "targets", "ignored_outputs", "time_column")
    return data.model_dump(mode="json", include=set(meant))


def check_test_data(context: StageContext, test: Dataset) -> None:
    """Refuse test data that cannot decide anything.

    Raises:
        UserError: There are no targets, or the task finds that they decide nothing.
    """
    targets, where = test.targets, "spec.data.test"
    if targets is None:
        raise UserError("the data have no targets to compare with", where=where)
    why = find_task(context.spec.data.task).undecided_by(targets)
    if why:
        raise UserError(why, where=where)


def data_warnings(context: StageContext) -> tuple[str, ...]:
    """Return what a person should know of how labels and values of the data were read."""
    notes = () if context.labels is None else context.labels.notes
    return (
        *(f"spec.data: {note}" for note in notes),
        *(f"spec.data.{', '.join(each.data)}: {each.text}" for each in context.conversions()),
    )


def groups_of(outcomes: Outcomes, data: Data) -> Array | None:
    """Return which examples belong together, (n,), or None if each is a separate unit."""
    if data.group_by is None:
        return find_task(data.task).units(outcomes)
    return column_of(outcomes, data.group_by, where="spec.data.groupBy")


def all_metrics(outcomes: Outcomes, context: StageContext) -> tuple[Metric, ...]:
    """Return what gates and report need of one model, on all data and on slices."""
    spec, data = context.spec, context.data
    groups = groups_of(outcomes, data)
    return metrics_for(outcomes, spec.gates, data, groups=groups, seed=spec.seed)


def whole_metrics(outcomes: Outcomes, data: Data, seed: int) -> tuple[Metric, ...]:
    """Return every metric of the task on all data."""
    groups = groups_of(outcomes, data)
    return compute_metrics(outcomes, data.task, groups=groups, seed=seed)


def confusion(outcomes: Outcomes, data: Data) -> ConfusionMatrix | None:
    """Return the confusion matrix of a task with labels, unless it has too many classes."""
    task = find_task(data.task)
    answers = task.answers(outcomes)
    if not task.labelled or answers is None:
        return None
    labels = class_labels(data.classes, outcomes.outputs.shape[1])
    return confusion_matrix(outcomes.targets, answers, labels)


def overlaps(context: StageContext, names: Sequence[str]) -> tuple[Overlap, ...]:
    """Return those of the data sets `names` that test examples are in too."""
    test = context.required_dataset("test")
    found = (find_overlap(test, context.required_dataset(name), name) for name in names)
    return tuple(overlap for overlap in found if overlap.examples)


def time_splits(context: StageContext, names: Sequence[str]) -> tuple[TimeSplit, ...]:
    """Return how test lies in time to the data sets `names`, if `data.timeColumn` is declared."""
    column = context.spec.data.time_column
    if column is None:
        return ()
    others = {name: context.required_dataset(name) for name in names}
    return find_time_splits(context.required_dataset("test"), others, column)


def copies(context: StageContext) -> Copies | None:
    """Return how many test examples are the same, unless groups say what belongs together."""
    if context.spec.data.group_by is not None:
        return None
    return find_copies(context.required_dataset("test"))


def read_without_code(data: Data) -> tuple[str, ...]:
    """Return the data sets in `TUNED_ON` that can be compared with test without the author's code.

    None if test itself comes from a Python function.
    """
    return tuple(name for name in _tuned_on(data) if not _is_code(data, name, "test"))


def read_by_code(data: Data) -> tuple[str, ...]:
    """Return the other data sets in `TUNED_ON`: a Python function gives them, or test."""
    return tuple(name for name in _tuned_on(data) if _is_code(data, name, "test"))


def _tuned_on(data: Data) -> tuple[str, ...]:
    return tuple(name for name in TUNED_ON if getattr(data, name) is not None)


def _is_code(data: Data, *names: str) -> bool:
    return any(getattr(data, name).format == "python" for name in names)


def overall(metrics: Sequence[Metric], name: str) -> float | None:
    """Return the value of the metric `name` on all data."""
    return next((m.value for m in metrics if m.name == name and m.slice == "all"), None)


def first_examples(data: Dataset, count: int) -> dict[str, Array]:
    """Return `count` examples, from the start again where the data have fewer."""
    whole = next(iter(data.batches(min(count, len(data))))).inputs
    return {name: np.resize(array, (count, *array.shape[1:])) for name, array in whole.items()}


def outcome_provider(context: StageContext, *models: Path) -> str:
    """Return the provider of ONNX Runtime for outcomes of `models`, as the recipe's device allows.

    A recipe that quantizes has them on the CPU from its baseline on, so that they are comparable.
    So has a candidate that something else made, since it may be quantized. Any other recipe that
    asks for CUDA and gets the CPU is warned.
    """
    if {"quantize", "convert"}.intersection(context.plan.stages):
        return CPU_PROVIDER
    device = context.spec.recipe.device
    reason = why_cpu(device, models, has_gpu=has_gpu())
    if reason and device == "cuda":
        message = f"recipe.device is cuda, but the CPU computed the outcomes: {reason}"
        context.warnings.append(message)
    return CPU_PROVIDER if reason else CUDA_PROVIDER
