"""The tasks, and which metrics and kinds of gates are for which of them.

How a task learns and what is kept of an example stands in `fulcrum_components.tasks`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from fulcrum_pipelines.catalog.gate_kinds import GATE_KINDS

Meaning = Literal["logits", "probabilities", "value"]


@dataclass(frozen=True)
class Task:
    """The purpose of a model.

    Attributes:
        name: In manifests.
        meanings: What the model's first output may hold, the usual first.
        metrics: All metrics, in the order in which they are measured, the main one first.
        slice_metrics: Those reported on each slice if no gate asks for more.
        lever_metrics: Those followed from stage to stage, the main one first.
    """

    name: str
    meanings: tuple[Meaning, ...]
    metrics: tuple[str, ...]
    slice_metrics: tuple[str, ...]
    lever_metrics: tuple[str, ...]

    @property
    def main(self) -> str:
        """The metric that people look at first and quantization is judged by."""
        return self.metrics[0]


_ROWS = (
    Task(
        "classification",
        ("logits", "probabilities"),
        metrics=("accuracy", "top5", "macroF1", "logLoss", "mse", "ece", "auc"),
        slice_metrics=("accuracy", "logLoss"),
        lever_metrics=("accuracy", "logLoss", "mse"),
    ),
    Task(
        "regression",
        ("value",),
        metrics=("rmse", "mae", "r2", "mse"),
        slice_metrics=("rmse", "mae"),
        lever_metrics=("rmse", "mse"),
    ),
)

TASKS: Final[dict[str, Task]] = {row.name: row for row in _ROWS}

MAIN_METRICS: Final = tuple(dict.fromkeys(row.main for row in _ROWS))
"""Of the tasks in turn. Evidence does not name its task; it has one of these metrics."""

LEVER_METRICS: Final = tuple(
    dict.fromkeys(
        name for row in _ROWS for name in (*row.lever_metrics[1:], *row.lever_metrics[:1])
    )
)
"""Of all tasks, losses before the main metric: a stage that costs no answer may cost certainty."""


def tasks_of_metric(name: str) -> tuple[str, ...]:
    """Return the names of the tasks that have the metric `name`."""
    return tuple(row.name for row in _ROWS if name in row.metrics)


def tasks_of_kind(name: str) -> tuple[str, ...]:
    """Return the names of the tasks that gates of kind `name` are for."""
    metric = GATE_KINDS[name].metric
    return tuple(TASKS) if metric is None else tasks_of_metric(metric)


def task_of_meaning(meaning: str) -> Task:
    """Return the first task of models whose first output may hold `meaning`.

    Raises:
        KeyError: No task has outputs of that meaning.
    """
    found: dict[str, Task] = {each: row for row in reversed(_ROWS) for each in row.meanings}
    return found[meaning]
