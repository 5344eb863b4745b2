"""What the gates know of metrics themselves, whatever the evidence says of them."""

from __future__ import annotations

from fulcrum_pipelines.evidence import Direction

DIRECTIONS: dict[str, Direction] = {
    "accuracy": "higher",
    "top5": "higher",
    "macroF1": "higher",
    "auc": "higher",
    "r2": "higher",
    "logLoss": "lower",
    "mse": "lower",
    "ece": "lower",
    "rmse": "lower",
    "mae": "lower",
}
"""Which way each metric is better; evidence that says otherwise is not believed."""

SHARES = ("accuracy", "top5", "macroF1", "auc", "ece")
"""Metrics between 0 and 1, whose differences are written in points."""

COUNTED = ("accuracy", "top5")
"""Metrics that are the share of right answers, and so have counts."""

DEFAULT_MAX_GAIN = 0.05
"""A larger gain of a share than this comes from a leak or a mix-up, not from compression."""


def max_gain(metric: str, declared: float | None) -> float | None:
    """Return the gain above which a result of `metric` is implausible, or None for no limit."""
    if declared is not None:
        return declared
    return DEFAULT_MAX_GAIN if metric in SHARES else None
