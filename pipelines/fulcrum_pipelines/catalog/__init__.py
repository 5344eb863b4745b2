"""The catalogue of measurements and decisions: a row for each metric, task and kind of gate.

Gates, reports, evaluators, advice and scaffolds all have to know which way a metric is better or
what a kind of gate needs measured. They read it here, so that an addition cannot be forgotten in
one of them. The computations are elsewhere: metrics in `fulcrum_components.evaluation.metrics`,
tasks in `fulcrum_components.tasks`, decisions in `fulcrum_pipelines.gates`.
`tests/unit/pipelines/test_catalog.py` holds all of them, the schema and the docs against these
rows; CONTRIBUTING.md says how to add one.
"""

from fulcrum_pipelines.catalog.gate_kinds import GATE_KINDS, GateKind
from fulcrum_pipelines.catalog.metrics import (
    COUNTED,
    METRICS,
    RANKS,
    SHARE,
    SHARES,
    Direction,
    MetricKind,
)
from fulcrum_pipelines.catalog.tasks import (
    LEVER_METRICS,
    MAIN_METRICS,
    TASKS,
    Meaning,
    Task,
    task_of_meaning,
    tasks_of_kind,
    tasks_of_metric,
)

__all__ = [
    "COUNTED",
    "GATE_KINDS",
    "LEVER_METRICS",
    "MAIN_METRICS",
    "METRICS",
    "RANKS",
    "SHARE",
    "SHARES",
    "TASKS",
    "Direction",
    "GateKind",
    "Meaning",
    "MetricKind",
    "Task",
    "task_of_meaning",
    "tasks_of_kind",
    "tasks_of_metric",
]
