"""Interleaved timing of two ONNX models, and the interval of their speed-up."""

from __future__ import annotations

from fulcrum_components.latency.comparing import (
    FEWEST_PAIRS,
    compare_latency,
    pairs_for_percentile,
    quick_speedup,
    speedup_confidences,
)
from fulcrum_components.latency.intervals import median_ratio

__all__ = [
    "FEWEST_PAIRS",
    "compare_latency",
    "median_ratio",
    "pairs_for_percentile",
    "quick_speedup",
    "speedup_confidences",
]
