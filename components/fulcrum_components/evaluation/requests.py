"""Select the figures that validate has to compute: those for the gates and for the report.

A gate finds only the figures in evidence, at exactly its confidence and on its slices, so the
gates determine the figures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fulcrum_components.evaluation.comparing import Request
from fulcrum_components.evaluation.measuring import compute_metrics
from fulcrum_components.evaluation.slices import WHOLE, declared_slices, slices_by
from fulcrum_components.evaluation.statistic import Array
from fulcrum_components.tasks import Outcomes
from fulcrum_pipelines.catalog import GATE_KINDS, TASKS
from fulcrum_pipelines.evidence import Metric
from fulcrum_pipelines.resources.compressionjob import Data, Gate


def required_comparisons(
    gates: Sequence[Gate], data: Data, outcomes: Outcomes
) -> tuple[Request, ...]:
    """Return the comparisons that the gates need, and those that a report shows, each once.

    A report shows all metrics on all data, and the task's main one on each slice.

    Args:
        gates: Of the job.
        data: Declares the task, classes and slices.
        outcomes: Of any model on the test data: what values slices have.

    Raises:
        UserError: If a slice is not declared or cannot be made.
    """
    task = TASKS[data.task]
    requests = [Request(name) for name in task.metrics]
    requests += [Request(task.main, part) for part in declared_slices(outcomes, data)]
    for gate in gates:
        requests += requests_of(gate, data, outcomes)
    return _unique(requests)


def required_metrics(gates: Sequence[Gate], data: Data, outcomes: Outcomes) -> tuple[Request, ...]:
    """Return the metrics of one model that the gates need, each once; without margins.

    Raises:
        UserError: As `required_comparisons`.
    """
    requests = [
        Request(request.metric, request.part, request.confidence)
        for gate in gates
        if GATE_KINDS[gate.kind].of_each_model
        for request in requests_of(gate, data, outcomes)
    ]
    return _unique(requests)


def metrics_for(
    outcomes: Outcomes,
    gates: Sequence[Gate],
    data: Data,
    *,
    groups: Array | None = None,
    seed: int = 0,
) -> tuple[Metric, ...]:
    """Return the metrics of one model that the gates need, and those that a report shows.

    A report shows all metrics on all data, and the task's `slice_metrics` on each slice, at 95 %.

    Raises:
        UserError: As `required_comparisons`.
    """
    task = TASKS[data.task]
    shown = [Request(name) for name in task.metrics]
    parts = declared_slices(outcomes, data)
    shown += [Request(name, part) for part in parts for name in task.slice_metrics]
    requests = _unique([*shown, *required_metrics(gates, data, outcomes)])
    batches: dict[tuple[str, float], list[Request]] = {}
    for request in requests:
        batches.setdefault((request.part.name, request.confidence), []).append(request)
    found: list[Metric] = []
    for (_, level), batch in batches.items():
        names = [request.metric for request in batch]
        found += compute_metrics(
            outcomes,
            data.task,
            names=names,
            part=batch[0].part,
            level=level,
            groups=groups,
            seed=seed,
        )
    return tuple(found)


def requests_of(gate: Gate, data: Data, outcomes: Outcomes) -> Iterator[Request]:
    """Yield the comparisons that one gate needs, of all data first."""
    kind = GATE_KINDS[gate.kind]
    if kind.measures != "metrics":
        return
    metric = kind.metric_of(gate.metric)
    yield Request(metric, WHOLE, gate.confidence, gate.margin)
    for declared in gate.slices or ():
        margin = gate.margin if declared.margin is None else declared.margin
        for part in slices_by(outcomes, declared.by, data):
            yield Request(metric, part, gate.confidence, margin)


def _unique(requests: Sequence[Request]) -> tuple[Request, ...]:
    """Return the first of each equal request.

    One with a margin also answers what the same without a margin asks.
    """
    found: dict[tuple[str, str, float, float | None], Request] = {}
    for request in requests:
        key = (request.metric, request.part.name, request.confidence, request.margin)
        found.setdefault(key, request)
    with_margin = {key[:3] for key in found if key[3] is not None}
    return tuple(r for key, r in found.items() if key[3] is not None or key[:3] not in with_margin)
