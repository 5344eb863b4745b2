"""The result of the best possible candidate on the test data, before any candidate is made.

A candidate that answers as the baseline does is the best that compression can hope for, and its
interval has a width all the same. A gate that it does not pass can never pass.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fulcrum_components.evaluation.baseline import constant_value
from fulcrum_components.evaluation.floor import floor_of
from fulcrum_components.evaluation.measuring import metric_value
from fulcrum_components.evaluation.metrics import MetricDefinition, find_metric
from fulcrum_components.evaluation.requests import requests_of
from fulcrum_components.evaluation.slices import ALL, Slice
from fulcrum_components.evaluation.statistic import Array
from fulcrum_components.evaluation.unseen import Lost, Unseen, share_of_units
from fulcrum_components.tasks import Outcomes
from fulcrum_pipelines.advice import BestCase
from fulcrum_pipelines.catalog import GATE_KINDS
from fulcrum_pipelines.resources.compressionjob import Data, Gate
from fulcrum_pipelines.statistics import (
    normal_quantile,
    proportion_interval,
    unseen_half_width,
)


def best_cases(
    gates: Sequence[Gate], data: Data, baseline: Outcomes, groups: Array | None
) -> tuple[tuple[BestCase, ...], ...]:
    """Return for each gate the best cases of all data and of each slice; none for other kinds.

    Raises:
        UserError: As `required_comparisons`.
    """
    return tuple(tuple(_cases(gate, data, baseline, groups)) for gate in gates)


def _cases(gate: Gate, data: Data, baseline: Outcomes, groups: Array | None) -> Sequence[BestCase]:
    found = []
    for request in requests_of(gate, data, baseline):
        part = request.part
        outcomes = part.of(baseline)
        inside = groups if groups is None or part.selected is None else groups[part.selected]
        metric = find_metric(request.metric, data.task)
        of_change = GATE_KINDS[gate.kind].of_change
        width, worst = _width(metric, outcomes, inside, request.confidence, of_change)
        untested = part.untested(metric, outcomes) if len(outcomes) else 0.0
        found.append(
            BestCase(
                slice=part.name,
                by=part.by,
                n=len(outcomes) if inside is None else len(np.unique(inside)),
                unit="examples" if inside is None else "groups",
                examples=len(outcomes),
                value=metric_value(outcomes, metric.name),
                half_width=None if width is None else width + untested,
                unseen=worst.cost,
                effective_n=worst.units,
                untested=untested,
                constant=_constant(metric, data.task, part, outcomes),
            )
        )
    return found


def _constant(metric: MetricDefinition, task: str, part: Slice, outcomes: Outcomes) -> float | None:
    """Return the metric of a constant answer, if the width rests on mixed-up answers.

    Only on all data: on a slice by class a constant answer is perfect.
    """
    mixed = metric.correct is None and metric.costs is None
    if not mixed or part.by != ALL or len(outcomes) == 0:
        return None
    return constant_value(outcomes, task, metric.name)


def _width(
    metric: MetricDefinition,
    outcomes: Outcomes,
    groups: Array | None,
    level: float,
    of_change: bool,
) -> tuple[float | None, Lost]:
    """Return the half width of no change, and what it follows from.

    Of counts it is that of a difference of shares (`of_change`), or of a share that is 0.
    """
    n = len(outcomes)
    if n == 0 or metric.undefined(outcomes):
        return None, Lost(0.0, 0.0)
    if metric.correct is not None and groups is None:
        if of_change:
            return unseen_half_width(normal_quantile(level), 0.0, 1 / n, n), Lost(1 / n, n)
        return proportion_interval(0, n, level).high, Lost(1 / n, n)
    floor: Unseen | None
    if metric.correct is not None and groups is not None:
        floor = share_of_units(np.zeros(n), groups)
    else:
        floor = floor_of(metric, [outcomes, outcomes], groups)
    if floor is None or floor.units < 2:
        return None, Lost(0.0, 0.0)
    return floor.interval(level).high - floor.value, floor.worst
