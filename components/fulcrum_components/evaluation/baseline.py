"""Checks whether a baseline has the declared meaning and is useful.

The rules that look at it are in `fulcrum_pipelines.baselines`.
"""

from __future__ import annotations

import numpy as np

from fulcrum_components.evaluation.measuring import metric_value
from fulcrum_components.evaluation.metrics import METRICS, MetricDefinition
from fulcrum_components.tasks import Array, Outcomes, find_task
from fulcrum_pipelines.catalog import TASKS, Meaning
from fulcrum_pipelines.evidence import FirstOutput, Metric


class OutputRange:
    """Follows the first outputs as a model gives them, batch by batch."""

    def __init__(self) -> None:
        self._low = self._sum_low = np.inf
        self._high = self._sum_high = -np.inf
        self._several = False
        self._scores: list[Array] = []

    def __call__(self, raw: Array) -> None:
        """Take in the first outputs of one batch, (examples, ...)."""
        rows = raw.reshape(len(raw), -1).astype(np.float64)
        self._several = rows.shape[1] > 1
        self._low = min(self._low, float(rows.min()))
        self._high = max(self._high, float(rows.max()))
        if not self._several:
            self._scores.append(rows[:, 0])
        sums = rows.sum(axis=1)
        self._sum_low = min(self._sum_low, float(sums.min()))
        self._sum_high = max(self._sum_high, float(sums.max()))

    def record(
        self, outcomes: Outcomes, task: str, meaning: Meaning, alone_error: float | None = None
    ) -> FirstOutput:
        """Return the evidence of what was seen."""
        asked = find_task(task)
        summed = self._several and asked.sums_to_one
        at_zero, at_half = (
            self._cuts(outcomes.targets) if asked.cut_at(meaning) == 0 else (None, None)
        )
        return FirstOutput(
            meaning=meaning,
            low=self._low,
            high=self._high,
            sum_low=self._sum_low if summed else None,
            sum_high=self._sum_high if summed else None,
            only_class=_only_answer(asked.answers(outcomes)),
            right_at_zero=at_zero,
            right_at_half=at_half,
            alone_error=alone_error,
        )

    def _cuts(self, targets: Array) -> tuple[int | None, int | None]:
        """Return how many of `targets`, (n,), only a cut of one logit at 0, or at 0.5, meets."""
        if not self._scores:
            return None, None
        scores = np.concatenate(self._scores)
        zero, half = ((scores > cut) == (targets == 1) for cut in (0.0, 0.5))
        return int((zero & ~half).sum()), int((half & ~zero).sum())


def _only_answer(answers: Array | None) -> int | None:
    same = answers is not None and bool((answers == answers[0]).all())
    return int(answers[0]) if answers is not None and same else None


def constant_answer(outcomes: Outcomes, task: str) -> tuple[Metric, ...]:
    """Return the metrics of the best answer that ignores the inputs.

    Which answer that is, the task says.
    """
    return tuple(
        _of_constant(METRICS[name], task, outcomes)
        for name in TASKS[task].metrics
        if not METRICS[name].kind.constant_is_perfect
    )


def constant_value(outcomes: Outcomes, task: str, name: str) -> float | None:
    """Return the metric `name` of that answer; None where it is undefined."""
    answer = find_task(task).constant_answer(outcomes, METRICS[name].best_value)
    outputs = np.broadcast_to(answer, outcomes.outputs.shape).astype(outcomes.outputs.dtype)
    return metric_value(Outcomes(outputs, outcomes.targets), name)


def _of_constant(metric: MetricDefinition, task: str, outcomes: Outcomes) -> Metric:
    return Metric(
        name=metric.name,
        value=constant_value(outcomes, task, metric.name),
        direction=metric.direction,
        unit=metric.unit,
        n=len(outcomes),
    )
