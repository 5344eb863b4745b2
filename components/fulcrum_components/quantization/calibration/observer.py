"""Streams calibration data through the model and reduces each activation at once.

ONNX Runtime's own calibrators keep the outputs of all batches until the end (more than 256 GB has
been reported, onnxruntime#10503). Here the first pass computes minimum and maximum inside the
graph, so that three numbers a tensor leave it; the second pass, for entropy and percentile only,
counts one batch of activations at a time into histograms whose range the first pass found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper

from fulcrum_components.graph import Array, interface_names, open_session, run_session
from fulcrum_components.quantization.calibration.entropy import entropy_threshold
from fulcrum_components.quantization.calibration.histogram import Histogram
from fulcrum_components.quantization.calibration.memory import MemoryGrowth
from fulcrum_components.quantization.calibration.percentile import (
    DEFAULT_PERCENTILE,
    percentile_threshold,
)
from fulcrum_components.quiet import quiet
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.resources.compressionjob import Quantize

if TYPE_CHECKING:
    from fulcrum_components.data import Dataset

Method = Literal["minmax", "entropy", "percentile"]

BATCH_SIZE = 8  # one batch of ResNet-18's activations at 224 pixels is then about 150 MB


@dataclass(frozen=True)
class Range:
    """The values that a tensor's integers must cover."""

    low: float
    high: float


@dataclass(frozen=True)
class Calibration:
    """Ranges of all calibrated tensors, and what it took to find them.

    Attributes:
        ranges: By tensor name.
        examples: Calibration examples seen.
        peak_bytes: Most that resident memory grew by, sampled after each batch (ONNX Runtime keeps
            what it took for a batch); None where the system does not tell.
    """

    ranges: dict[str, Range]
    examples: int
    peak_bytes: int | None


class Observer:
    """Looks at a model's activations on calibration data, and no more often than it must.

    One pass finds the extremes; a second, made only for a method that clips, fills histograms that
    serve all such methods.

    Args:
        model: fp32 graph.
        data: Calibration data.
    """

    def __init__(self, model: onnx.ModelProto, data: Dataset) -> None:
        self.model = model
        self.data = data
        self.tensors = float_tensors(model)

    @cached_property
    def extremes(self) -> Calibration:
        """Minimum and maximum of every floating-point activation.

        Raises:
            UserError: There are no calibration examples, or they lead to NaN or infinity.
        """
        return _minmax(self.model, self.tensors, self.data)

    @cached_property
    def histograms(self) -> tuple[dict[str, Histogram], int | None]:
        """Counts of every activation's values, and the peak of memory that counting took."""
        return _histograms(self.model, self.tensors, self.data, self.extremes.ranges)

    def calibration(self, method: Method, percentile: float | None = None) -> Calibration:
        """Return the ranges by one method.

        Raises:
            UserError: There are no calibration examples, or they lead to NaN or infinity.
        """
        if method == "minmax":
            return self.extremes
        histograms, peak_bytes = self.histograms
        choose = _chooser(method, percentile)
        peaks = [peak for peak in (self.extremes.peak_bytes, peak_bytes) if peak is not None]
        return Calibration(
            {
                tensor: _clipped(limits, choose(histograms[tensor]))
                for tensor, limits in self.extremes.ranges.items()
            },
            self.extremes.examples,
            max(peaks, default=None),
        )


def calibrate(model: onnx.ModelProto, data: Dataset, options: Quantize) -> Calibration:
    """Find the range of every floating-point activation by the recipe's method.

    Raises:
        UserError: There are no calibration examples, or they lead to NaN or infinity.
    """
    return Observer(model, data).calibration(options.calibration, options.percentile)


def _chooser(method: Method, percentile: float | None) -> Callable[[Histogram], float]:
    if method == "entropy":
        return entropy_threshold
    kept = DEFAULT_PERCENTILE if percentile is None else percentile
    return lambda histogram: percentile_threshold(histogram, kept)


def _clipped(limits: Range, threshold: float) -> Range:
    return Range(max(limits.low, -threshold), min(limits.high, threshold))


def float_tensors(model: onnx.ModelProto) -> list[str]:
    """List the float32 inputs, activations and outputs of the main graph, in order."""
    with quiet():
        inferred = onnx.shape_inference.infer_shapes(model)
    graph = inferred.graph
    fed, _ = interface_names(model)
    made = {name for node in graph.node for name in node.output}
    values = [*graph.input, *graph.value_info, *graph.output]
    floats = [
        value.name
        for value in values
        if value.type.HasField("tensor_type")
        and value.type.tensor_type.elem_type == TensorProto.FLOAT
        and (value.name in fed or value.name in made)
    ]
    return list(dict.fromkeys(floats))


def input_batches(data: Dataset) -> Iterator[dict[str, Array]]:
    """Yield the inputs of small batches."""
    for batch in data.batches(BATCH_SIZE):
        yield dict(batch.inputs)


def _minmax(model: onnx.ModelProto, tensors: list[str], data: Dataset) -> Calibration:
    session = open_session(_with_extremes(model, tensors))
    names = [name for tensor in tensors for name in _reduced_names(tensor)]
    lows = np.full(len(tensors), np.inf)
    highs = np.full(len(tensors), -np.inf)
    examples = 0
    memory = MemoryGrowth()
    for inputs in input_batches(data):
        values = np.array(run_session(session, inputs, names), dtype=np.float64).reshape(-1, 3)
        # minimum and maximum pass NaN over, a sum does not, and np.minimum keeps it
        undefined = np.where(np.isnan(values[:, 2]), np.nan, 0)
        lows = np.minimum(lows, values[:, 0] + undefined)
        highs = np.maximum(highs, values[:, 1] + undefined)
        examples += len(next(iter(inputs.values())))
        memory.sample()
    if examples == 0:
        message = "static quantization needs calibration examples, and there are none"
        raise UserError(message, where="spec.data.calibration")
    for tensor, low, high in zip(tensors, lows, highs, strict=True):
        if not (np.isfinite(low) and np.isfinite(high)):
            message = f"tensor {tensor!r} becomes NaN or infinite on the calibration data"
            raise UserError(message, where="spec.data.calibration")
    ranges = {
        tensor: Range(float(low), float(high))
        for tensor, low, high in zip(tensors, lows, highs, strict=True)
    }
    return Calibration(ranges, examples, memory.peak_bytes)


REDUCTIONS = ("ReduceMin", "ReduceMax", "ReduceSum")


def _reduced_names(tensor: str) -> list[str]:
    return [f"{tensor}__fulcrum_{operator}" for operator in REDUCTIONS]


def _with_extremes(model: onnx.ModelProto, tensors: list[str]) -> onnx.ModelProto:
    """Copy `model` with three scalar outputs for every tensor in place of its own outputs."""
    augmented = onnx.ModelProto()
    augmented.CopyFrom(model)
    del augmented.graph.output[:]
    for tensor in tensors:
        for operator, name in zip(REDUCTIONS, _reduced_names(tensor), strict=True):
            augmented.graph.node.append(helper.make_node(operator, [tensor], [name], keepdims=0))
            augmented.graph.output.append(
                helper.make_tensor_value_info(name, TensorProto.FLOAT, [])
            )
    return augmented


def _histograms(
    model: onnx.ModelProto, tensors: list[str], data: Dataset, extremes: dict[str, Range]
) -> tuple[dict[str, Histogram], int | None]:
    session = open_session(with_outputs(model, tensors))
    histograms = {
        tensor: Histogram(max(abs(limits.low), abs(limits.high)))
        for tensor, limits in extremes.items()
    }
    memory = MemoryGrowth()
    for inputs in input_batches(data):
        values = run_session(session, inputs, tensors)
        for tensor, value in zip(tensors, values, strict=True):
            histograms[tensor].add(value)
        memory.sample()
    return histograms, memory.peak_bytes


def with_outputs(model: onnx.ModelProto, tensors: list[str]) -> onnx.ModelProto:
    """Copy `model` with exactly `tensors` as its outputs; ONNX Runtime finds their types."""
    augmented = onnx.ModelProto()
    augmented.CopyFrom(model)
    del augmented.graph.output[:]
    augmented.graph.output.extend(onnx.ValueInfoProto(name=tensor) for tensor in tensors)
    return augmented
