"""Per-example outcomes of served models, their metrics, and paired comparisons of two models."""

from __future__ import annotations

from fulcrum_components.evaluation.alone import alone_error
from fulcrum_components.evaluation.baseline import OutputRange, constant_answer
from fulcrum_components.evaluation.best_case import best_cases
from fulcrum_components.evaluation.comparing import Request, compare, compare_all
from fulcrum_components.evaluation.confusion import confusion_matrix
from fulcrum_components.evaluation.measuring import compute_metrics, metric_value
from fulcrum_components.evaluation.metrics import METRICS, find_metric
from fulcrum_components.evaluation.outcome_file import (
    column_of,
    columns_needed,
    load_outcomes,
    save_outcomes,
)
from fulcrum_components.evaluation.requests import (
    metrics_for,
    required_comparisons,
    required_metrics,
)
from fulcrum_components.evaluation.running import run_onnx, to_outcomes
from fulcrum_components.evaluation.slices import (
    ALL,
    WHOLE,
    Slice,
    declared_slices,
    slices_by,
)
from fulcrum_components.tasks import Outcomes

__all__ = [
    "ALL",
    "METRICS",
    "WHOLE",
    "Outcomes",
    "OutputRange",
    "Request",
    "Slice",
    "alone_error",
    "best_cases",
    "column_of",
    "columns_needed",
    "compare",
    "compare_all",
    "compute_metrics",
    "confusion_matrix",
    "constant_answer",
    "declared_slices",
    "find_metric",
    "load_outcomes",
    "metric_value",
    "metrics_for",
    "required_comparisons",
    "required_metrics",
    "run_onnx",
    "save_outcomes",
    "slices_by",
    "to_outcomes",
]
