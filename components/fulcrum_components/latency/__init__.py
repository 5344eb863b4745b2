"""Interleaved timing of two ONNX models, and the interval of their speed-up."""

from __future__ import annotations

from fulcrum_components.latency.benchmark import (
    FEWEST_PAIRS,
    compare_latency,
    compare_quickly,
    pairs_for_percentile,
    speedup_confidences,
)
from fulcrum_components.latency.intervals import geometric_mean, median_ratio

__all__ = [
    "FEWEST_PAIRS",
    "compare_latency",
    "compare_quickly",
    "geometric_mean",
    "median_ratio",
    "pairs_for_percentile",
    "speedup_confidences",
]
