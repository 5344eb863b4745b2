"""Metrics of outputs after the first that have their own targets in the data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fulcrum_components.evaluation.comparing import Request, compare_all
from fulcrum_components.evaluation.differing import Differences, flat
from fulcrum_components.evaluation.running import to_outcomes
from fulcrum_components.tasks import Array, find_task
from fulcrum_pipelines.catalog import TASKS, Meaning, task_of_meaning
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.evidence import Comparison
from fulcrum_pipelines.resources.compressionjob import Data

if TYPE_CHECKING:
    from fulcrum_components.data import Dataset

MOST_CLASSES = 10_000
"""Of an output that gives labels, which are compared as if they were shares of so many classes."""

_BATCH = 256
_SUM_TOLERANCE = 0.05
"""How far the rows of a softmax may sum from 1, also in float16 and integers."""


def target_columns(data: Data) -> tuple[str, ...]:
    """Return the columns of the test data that hold further outputs' answers, each once."""
    return tuple(dict.fromkeys((data.targets or {}).values()))


def read_targets(dataset: Dataset, data: Data) -> dict[str, Array]:
    """Return the answers of each output in `data.targets`, as numbers (n, ...).

    Raises:
        UserError: A column holds something else than finite numbers.
    """
    columns = target_columns(data)
    if not columns:
        return {}
    parts = [batch.columns for batch in dataset.batches(_BATCH, columns=columns)]
    found = {}
    for output, column in (data.targets or {}).items():
        where = f"spec.data.targets.{output}"
        values = np.concatenate([part[column] for part in parts])
        try:
            numbers = values.astype(np.float64)
        except ValueError as error:
            raise UserError(
                f"column '{column}': {error}; it must hold numbers", where=where
            ) from None
        wrong = ~np.isfinite(flat(numbers)).all(axis=1)
        if wrong.any():
            index = int(wrong.argmax())
            message = f"column '{column}' holds {values[index]} for example {index}"
            raise UserError(f"{message}; it must hold finite numbers", where=where)
        found[output] = numbers
    return found


def compare_with_target(
    differences: Differences,
    target: Array,
    task: str,
    *,
    groups: Array | None = None,
    seed: int = 0,
) -> tuple[Comparison, ...]:
    """Return candidate against baseline in every metric that the output and its target allow.

    Whole numbers are classes if the output has several values an example, or is one number for
    the two classes of a classification; if the output gives labels itself, only accuracy is
    compared. Everything else is a regression.

    Args:
        differences: Of the output, with its values kept.
        target: Right answers, (n, ...).
        task: The job's, for outputs of one number.
        groups: What examples belong together, (n,).
        seed: Of the bootstrap.

    Raises:
        UserError: The output and the target do not fit each other.
    """
    where = f"spec.data.targets.{differences.spec.name}"
    baseline, candidate = differences.baseline, differences.candidate
    if differences.by_call or baseline is None or candidate is None:
        message = f"the output is {differences.spec}, without the axis 'batch' to pair examples by"
        raise UserError(message, where=where)
    labels = _labels(target)
    if labels is not None and find_task(task).labelled and _gives_labels(baseline, labels):
        count = 1 + int(max(labels.max(), baseline.max(), candidate.max()))
        baseline, candidate = (np.eye(count, dtype=np.float32)[v] for v in (baseline, candidate))
        names: tuple[str, ...] = (TASKS[task].main,)
        meaning: Meaning = "probabilities"
    else:
        meaning = "value" if labels is None else _meaning(baseline, labels, task)
        task = task_of_meaning(meaning).name
        names = TASKS[task].metrics
    answered = find_task(task)
    answers = target if labels is None or not answered.labelled else labels
    pair = [
        to_outcomes(values, answers, task, meaning, where=where) for values in (baseline, candidate)
    ]
    for outcomes in pair:
        answered.check(outcomes, where=where)
    requests = [Request(name) for name in names]
    return compare_all(pair[0], pair[1], requests, task, groups=groups, seed=seed)


def _labels(target: Array) -> Array | None:
    """Return the target as labels (n,), or None if it is something else."""
    if target.ndim == 2 and target.shape[1] == 1:
        target = target[:, 0]
    whole = target.ndim == 1 and bool(np.all((target == np.round(target)) & (target >= 0)))
    return target.astype(np.int64) if whole else None


def _gives_labels(baseline: Array, labels: Array) -> bool:
    whole = not np.issubdtype(baseline.dtype, np.floating) and baseline.ndim == 1
    return whole and baseline.min() >= 0 and max(baseline.max(), labels.max()) < MOST_CLASSES


def _meaning(baseline: Array, labels: Array, task: str) -> Meaning:
    if baseline.ndim == 2 and baseline.shape[1] > 1:
        values = baseline.astype(np.float64)
        shares = values.min() >= 0 and np.abs(values.sum(axis=1) - 1).max() <= _SUM_TOLERANCE
        return "probabilities" if shares else "logits"
    if find_task(task).labelled and baseline.size == len(baseline) and labels.max() <= 1:
        return "probabilities" if baseline.min() >= 0 and baseline.max() <= 1 else "logits"
    return "value"
