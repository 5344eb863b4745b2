"""Ranges agree with direct computation and with ONNX Runtime, in memory that does not grow."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx_graphs import Arrays, images, residual_net
from onnxruntime.quantization.calibrate import HistogramCollector

from fulcrum_components.graph import open_session, run_session
from fulcrum_components.quantization.calibration import calibrate, float_tensors
from fulcrum_components.quantization.calibration.entropy import MIN_KEPT, entropy_threshold
from fulcrum_components.quantization.calibration.histogram import BINS, Histogram
from fulcrum_components.quantization.calibration.observer import with_outputs
from fulcrum_components.quantization.calibration.percentile import percentile_threshold
from fulcrum_components.quiet import quiet
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.resources.compressionjob import Quantize


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return residual_net()


@pytest.fixture(scope="module")
def activations(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    tensors = float_tensors(model)
    values = run_session(open_session(with_outputs(model, tensors)), {"x": images(50)}, tensors)
    return dict(zip(tensors, values, strict=True))


def test_minmax_is_that_of_all_activations_at_once(
    model: onnx.ModelProto, activations: dict[str, np.ndarray]
) -> None:
    found = calibrate(model, Arrays(x=images(50)), Quantize())
    assert found.examples == 50
    assert set(found.ranges) == set(activations)
    assert {"x", "stem_out", "join_relu_out", "head_out"} <= set(found.ranges)
    for name, value in activations.items():
        limits = found.ranges[name]
        assert (limits.low, limits.high) == pytest.approx((value.min(), value.max()), rel=1e-5)


@pytest.mark.parametrize("percentile", [90.0, 99.0, 99.99, 100.0])
def test_percentile_keeps_that_share(
    model: onnx.ModelProto, activations: dict[str, np.ndarray], percentile: float
) -> None:
    options = Quantize(calibration="percentile", percentile=percentile)
    found = calibrate(model, Arrays(x=images(50)), options)
    for name, value in activations.items():
        wanted = np.percentile(np.abs(value), percentile, method="inverted_cdf")
        bin_width = 2 * np.abs(value).max() / BINS
        got = max(-found.ranges[name].low, found.ranges[name].high)
        assert abs(got - wanted) <= 1.01 * bin_width


def test_percentile_is_what_onnx_runtime_finds() -> None:
    values = np.random.default_rng(0).standard_t(3, 100_000).astype(np.float32)
    theirs = HistogramCollector("percentile", True, BINS // 2, 128, 99.9, "same")
    with quiet():
        theirs.collect({"t": values})
        _, high, *_ = theirs.compute_collection_result()["t"]
    histogram = Histogram(float(np.abs(values).max()))
    histogram.add(values)
    assert percentile_threshold(histogram, 99.9) == pytest.approx(high, abs=2 * histogram.width)


def test_entropy_loses_no_more_information_than_onnx_runtimes() -> None:
    """Theirs tries every bin of 1024 in a loop that takes seconds; ours may differ by its steps."""
    generator = np.random.default_rng(0)
    values = np.concatenate([generator.normal(size=50_000), generator.normal(size=20) * 6])
    values = values.astype(np.float32)
    theirs = HistogramCollector("entropy", False, 1025, 129, 99.9, "same")
    with quiet():
        theirs.collect({"t": values})
        low, high, *_ = theirs.compute_collection_result()["t"]
    histogram = Histogram(float(np.abs(values).max()))
    histogram.add(values)
    threshold = entropy_threshold(histogram)
    largest = np.abs(values).max()
    assert threshold < 0.8 * largest  # both clip the outliers
    assert max(-low, high) < 0.8 * largest
    assert np.mean(np.abs(values) <= threshold) > MIN_KEPT


def test_entropy_is_not_taken_in_by_a_spike() -> None:
    """A constant background repeats one value; clipping there would lose everything else."""
    values = np.random.default_rng(0).uniform(0, 10, 20_000)
    values[:15_000] = 0.7
    histogram = Histogram(10.0)
    histogram.add(values)
    assert entropy_threshold(histogram) > 9


@pytest.mark.parametrize("method", ["minmax", "entropy", "percentile"])
def test_tensor_of_zeros_has_an_empty_range(method: str, model: onnx.ModelProto) -> None:
    zeros = Arrays(x=np.zeros((3, 3, 8, 8), np.float32))
    found = calibrate(model, zeros, Quantize.model_validate({"calibration": method}))
    assert (found.ranges["x"].low, found.ranges["x"].high) == (0, 0)


def test_no_examples_and_nan_are_errors(model: onnx.ModelProto) -> None:
    with pytest.raises(UserError, match="there are none"):
        calibrate(model, Arrays(x=images(0)), Quantize())
    spoilt = images(4)
    spoilt[2, 0, 0, 0] = np.nan
    with pytest.raises(UserError, match="'x' becomes NaN"):
        calibrate(model, Arrays(x=spoilt), Quantize())


PEAK_OF_CALIBRATION = """
import resource, sys
import numpy as np, onnx
sys.path.insert(0, sys.argv[1])
from onnx_graphs import Arrays, residual_net
from fulcrum_components.data import Batch
from fulcrum_components.quantization.calibration import calibrate
from fulcrum_pipelines.resources.compressionjob import Quantize

class Stream(Arrays):
    def batches(self, batch_size, **_):
        for start in range(0, len(self), batch_size):
            size = min(batch_size, len(self) - start)
            yield Batch({"x": np.full((size, 3, 8, 8), start, np.float32)}, None, {})
    def __len__(self):
        return int(sys.argv[2])

calibrate(residual_net(), Stream(), Quantize(calibration=sys.argv[3]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""
ACTIVATION_BYTES = 7 * 16 * 8 * 8 * 4
"""Of one example: seven maps of 16 x 8 x 8 floats; 10,000 examples have 287 MB."""


@pytest.mark.parametrize("method", ["minmax", "entropy"])
def test_ten_thousand_images_take_no_more_memory_than_a_hundred(method: str) -> None:
    """Peak resident memory: the difference seen was below 2 MB on three runs of each."""
    hundred, many = (_peak_bytes(count, method) for count in (100, 10_000))
    assert many - hundred < 0.1 * 10_000 * ACTIVATION_BYTES


def _peak_bytes(count: int, method: str) -> int:
    helpers = next(
        parent for parent in Path(__file__).parents if (parent / "onnx_graphs.py").is_file()
    )
    code = textwrap.dedent(PEAK_OF_CALIBRATION)
    command = [sys.executable, "-c", code, str(helpers), str(count), method]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=200)
    return int(answer.stdout)


def test_batches_are_read_once_a_pass(model: onnx.ModelProto) -> None:
    class Counting(Arrays):
        passes = 0

        def batches(self, batch_size: int, **_: object) -> Iterator[object]:  # type: ignore[override]
            self.passes += 1
            return super().batches(batch_size)

    for method, passes in (("minmax", 1), ("entropy", 2)):
        data = Counting(x=images(20))
        calibrate(model, data, Quantize.model_validate({"calibration": method}))
        assert data.passes == passes
