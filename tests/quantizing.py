"""Runs of `quantize` for tests: everything that a test does not care about is filled in."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from builders.figures import make_latency
from onnx_graphs import Arrays, images

from fulcrum_components.graph import open_session, run_session
from fulcrum_components.quantization import quantize
from fulcrum_components.quantization.choosing import Quality, Speed, Wanted
from fulcrum_components.quantization.methods import Measuring
from fulcrum_pipelines.evidence import Interval, QuantizeDetails, RatioInterval
from fulcrum_pipelines.resources.compressionjob import Quantize

EXAMPLES = 1000
"""Of a made-up validation set."""


def speed(value: float, *, half_width: float = 0.02, doubt: str = "") -> Speed:
    """Return a made-up speed-up; `doubt` makes it unreliable."""
    interval = Interval(level=0.95, low=value - half_width, high=value + half_width, method="test")
    timing = make_latency(speedup=value).model_copy(update={"reliable": not doubt, "note": doubt})
    return Speed(RatioInterval(ratio=value, interval=interval), (timing,))


def accuracy(value: float) -> Quality:
    """Return the quality of a model that is right on the first examples, to a share `value`."""
    right = 0.0 if math.isnan(value) else value
    return Quality(value, (np.arange(EXAMPLES) >= right * EXAMPLES).astype(float))


def run(
    source: Path,
    *,
    data: Arrays | None = None,
    quality: Callable[[Path], float] | None = None,
    speedup: Callable[[Path], float] | None = None,
    batch: dict[str, np.ndarray] | None = None,
    higher_is_better: bool = True,
    wanted: Wanted = Wanted(),  # noqa: B008 - it is frozen
    doubt: str = "",
    **options: object,
) -> QuantizeDetails:
    """Quantize `source` into `int8.onnx` beside it; candidates stay in `work`.

    Made-up `quality` and `speedup` are those of a file; with `doubt` no timing is reliable.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return quantize(
            source,
            source.with_name("int8.onnx"),
            Quantize.model_validate(options),
            Measuring(
                "accuracy",
                higher_is_better=higher_is_better,
                quality=None if quality is None else lambda path: accuracy(quality(path)),
                speed=None
                if speedup is None
                else lambda _, path: speed(speedup(path), doubt=doubt),
                wanted=wanted,
            ),
            calibration=data,
            work_dir=source.with_name("work"),
            batch_for_shapes=batch or {"x": images(1)},
        )


def outputs(path: Path, x: np.ndarray) -> np.ndarray:
    """Run a file whose only input is `x`; return its first output."""
    return run_session(open_session(path), {"x": x})[0]
