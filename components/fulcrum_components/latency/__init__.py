"""Interleaved timing of two ONNX models, and the interval of their speed-up."""

from __future__ import annotations

from fulcrum_components.latency.benchmark import (
    FEWEST_PAIRS,
    Timed,
    compare_latency,
    compare_quickly,
    pairs_for_percentile,
    speedup_confidences,
)
from fulcrum_components.latency.intervals import geometric_mean, median_ratio
from fulcrum_components.latency.timing_file import load_timings, save_timings

__all__ = [
    "FEWEST_PAIRS",
    "Timed",
    "compare_latency",
    "compare_quickly",
    "geometric_mean",
    "load_timings",
    "median_ratio",
    "pairs_for_percentile",
    "save_timings",
    "speedup_confidences",
]
