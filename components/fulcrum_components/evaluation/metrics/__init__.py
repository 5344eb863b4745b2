"""All metrics by name, in the order in which reports show them; a task's first is its main one."""

from __future__ import annotations

from fulcrum_components.evaluation.metrics.accuracy import ACCURACY, TOP5
from fulcrum_components.evaluation.metrics.auc import AUC
from fulcrum_components.evaluation.metrics.calibration import ECE
from fulcrum_components.evaluation.metrics.definition import MetricDefinition
from fulcrum_components.evaluation.metrics.log_loss import LOG_LOSS
from fulcrum_components.evaluation.metrics.macro_f1 import MACRO_F1
from fulcrum_components.evaluation.metrics.r_squared import R2
from fulcrum_components.evaluation.metrics.squared_error import MAE, MSE, RMSE
from fulcrum_pipelines.errors import UserError

METRICS: dict[str, MetricDefinition] = {
    metric.name: metric
    for metric in (ACCURACY, TOP5, MACRO_F1, LOG_LOSS, RMSE, MAE, R2, MSE, ECE, AUC)
}

__all__ = ["METRICS", "MetricDefinition", "find_metric", "metric_names"]


def metric_names(task: str) -> tuple[str, ...]:
    """Return the names of all metrics of `task`, the main one first."""
    return tuple(name for name, metric in METRICS.items() if task in metric.tasks)


def find_metric(name: str, task: str, *, where: str = "") -> MetricDefinition:
    """Return the metric called `name`.

    Raises:
        UserError: If `task` has none of that name.
    """
    if name not in metric_names(task):
        known = ", ".join(metric_names(task))
        raise UserError(f"no metric '{name}' for {task}; use one of {known}", where=where)
    return METRICS[name]
