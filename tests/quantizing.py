"""Runs of `quantize` for tests: everything that a test does not care about is filled in."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from onnx_graphs import Arrays, images

from fulcrum_components.graph import open_session, run_session
from fulcrum_components.quantization import quantize
from fulcrum_pipelines.evidence import Interval, QuantizeDetails, RatioInterval
from fulcrum_pipelines.resources.compressionjob import Quantize


def ratio(value: float, half_width: float = 0.05) -> RatioInterval:
    """Return a made-up speed-up."""
    low, high = value - half_width, value + half_width
    return RatioInterval(
        ratio=value, interval=Interval(level=0.95, low=low, high=high, method="test")
    )


def run(
    source: Path,
    *,
    data: Arrays | None = None,
    quality: Callable[[Path], float] | None = None,
    speedup: Callable[[Path, Path], RatioInterval] | None = None,
    batch: dict[str, np.ndarray] | None = None,
    higher_is_better: bool = True,
    **options: object,
) -> QuantizeDetails:
    """Quantize `source` into `int8.onnx` beside it; candidates stay in `work`."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return quantize(
            source,
            source.with_name("int8.onnx"),
            Quantize.model_validate(options),
            calibration=data,
            quality=quality,
            quality_metric="accuracy",
            higher_is_better=higher_is_better,
            measure_speedup=speedup,
            work_dir=source.with_name("work"),
            batch_for_shapes=batch or {"x": images(1)},
        )


def outputs(path: Path, x: np.ndarray) -> np.ndarray:
    """Run a file whose only input is `x`; return its first output."""
    return run_session(open_session(path), {"x": x})[0]
