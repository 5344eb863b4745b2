"""Streams calibration data through the model and reduces each activation at once.

ONNX Runtime's own calibrators keep the outputs of all batches until the end (more than 256 GB has
been reported, onnxruntime#10503). Here the first pass computes minimum and maximum inside the
graph, so that three numbers a tensor leave it; the second pass, for entropy and percentile only,
counts one batch of activations at a time into histograms whose range the first pass found.

A mask of infinite or huge values is legitimate and has no range: 8 bits cannot hold it beside what
it masks. Tensors that hold one are found here, and stay in floating point.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fulcrum_components.graph import Array, interface_names, open_session, run_session
from fulcrum_components.quantization.calibration.entropy import entropy_threshold
from fulcrum_components.quantization.calibration.histogram import Histogram
from fulcrum_components.quantization.calibration.memory_growth import MemoryGrowth
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

MASK_FROM = 1000.0  # the least of the usual masks is -10,000; others are -1e9, -65,504 and -inf
MASK_GAP = 50.0
"""Values that are that many times smaller than the mask get 2 or 3 of 256 levels beside it."""


@dataclass(frozen=True)
class Range:
    """The values that a tensor's integers must cover."""

    low: float
    high: float


@dataclass(frozen=True)
class Calibration:
    """Ranges of all calibrated tensors, and what it took to find them.

    Attributes:
        ranges: By tensor name, without those of `masks`.
        examples: Calibration examples seen.
        peak_bytes: Most that resident memory grew by, sampled after each batch (ONNX Runtime keeps
            what it took for a batch); None if the system does not report it.
        masks: Tensors with infinite values, or with huge ones beside ordinary ones.
    """

    ranges: dict[str, Range]
    examples: int
    peak_bytes: int | None
    masks: frozenset[str] = frozenset()


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
            UserError: There are no calibration examples, or they lead to NaN.
        """
        return _minmax(self.model, self.tensors, self.data)

    @cached_property
    def histograms(self) -> tuple[dict[str, Histogram], int | None]:
        """Counts of every activation's values, and the peak of memory that counting took."""
        return _histograms(self.model, self.data, self.extremes.ranges)

    def calibration(self, method: Method, percentile: float | None = None) -> Calibration:
        """Return the ranges by one method.

        Raises:
            UserError: There are no calibration examples, or they lead to NaN.
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
            self.extremes.masks,
        )


def calibrate(model: onnx.ModelProto, data: Dataset, options: Quantize) -> Calibration:
    """Find the range of every floating-point activation by the recipe's method.

    Raises:
        UserError: There are no calibration examples, or they lead to NaN.
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
    lows = np.full(len(tensors), np.inf)
    highs = np.full(len(tensors), -np.inf)
    examples = 0
    memory = MemoryGrowth()
    for inputs in input_batches(data):
        values = np.array(run_session(session, inputs), dtype=np.float64).reshape(-1, 3)
        # minimum and maximum pass NaN over, a sum does not, and np.minimum keeps it
        undefined = np.where(np.isnan(values[:, 2]), np.nan, 0)
        lows = np.minimum(lows, values[:, 0] + undefined)
        highs = np.maximum(highs, values[:, 1] + undefined)
        examples += len(next(iter(inputs.values())))
        memory.sample()
    if examples == 0:
        message = "static quantization needs calibration examples, and there are none"
        raise UserError(message, where="spec.data.calibration")
    ranges = {
        tensor: Range(float(low), float(high))
        for tensor, low, high in zip(tensors, lows, highs, strict=True)
    }
    masks = _find_masks(model, ranges, data)
    kept = {tensor: limits for tensor, limits in ranges.items() if tensor not in masks}
    return Calibration(kept, examples, memory.peak_bytes, frozenset(masks))


def _with_extremes(model: onnx.ModelProto, tensors: list[str]) -> onnx.ModelProto:
    """Copy `model` with three scalar outputs for every tensor in place of its own outputs."""
    nodes, names = [], []
    for tensor in tensors:
        for operator in ("ReduceMin", "ReduceMax", "ReduceSum"):
            names.append(f"{tensor}__fulcrum_{operator}")
            nodes.append(helper.make_node(operator, [tensor], names[-1:], keepdims=0))
    return _with_added(model, nodes, names)


def _find_masks(model: onnx.ModelProto, ranges: Mapping[str, Range], data: Dataset) -> list[str]:
    """List the tensors that hold a mask; only those with large values are looked at again.

    Raises:
        UserError: A tensor becomes NaN.
    """
    largest = {name: max(abs(limits.low), abs(limits.high)) for name, limits in ranges.items()}
    suspects = {name: value for name, value in largest.items() if not value < MASK_FROM}
    if not suspects:
        return []
    session = open_session(_with_ordinary(model, suspects))
    found = np.zeros((len(suspects), 2))
    for inputs in input_batches(data):
        values = np.array(run_session(session, inputs), dtype=np.float64).reshape(-1, 2)
        found = np.maximum(found, values)
    for tensor, (_, undefined) in zip(suspects, found, strict=True):
        if undefined:
            message = f"tensor {tensor!r} becomes NaN on the calibration data"
            raise UserError(message, where="spec.data.calibration")
    return [
        tensor
        for (tensor, value), (ordinary, _) in zip(suspects.items(), found, strict=True)
        if is_mask(value, float(ordinary))
    ]


def is_mask(largest: float, ordinary: float) -> bool:
    """Return whether a tensor holds a mask.

    Args:
        largest: Largest magnitude in it.
        ordinary: Largest magnitude below a quarter of that, so that masks that were added up or
            scaled are not ordinary; 0 if there is none.
    """
    if not np.isfinite(largest):
        return True
    return largest >= MASK_FROM and 0 < ordinary < largest / MASK_GAP


def _with_ordinary(model: onnx.ModelProto, suspects: Mapping[str, float]) -> onnx.ModelProto:
    """Copy `model` with two outputs a suspect: its largest ordinary value, and 1 if it is NaN."""
    nodes, names = [], []
    for tensor, largest in suspects.items():
        name = f"{tensor}__fulcrum_"
        limit = numpy_helper.from_array(np.array(largest / 4, np.float32), f"{name}limit")
        zero = numpy_helper.from_array(np.array(0, np.float32), f"{name}zero")
        names += [f"{name}ordinary", f"{name}nan"]
        nodes += [
            helper.make_node("Constant", [], [limit.name], value=limit),
            helper.make_node("Constant", [], [zero.name], value=zero),
            helper.make_node("Abs", [tensor], [f"{name}abs"]),
            helper.make_node("Less", [f"{name}abs", limit.name], [f"{name}less"]),
            helper.make_node("Where", [f"{name}less", f"{name}abs", zero.name], [f"{name}part"]),
            helper.make_node("ReduceMax", [f"{name}part"], names[-2:-1], keepdims=0),
            helper.make_node("IsNaN", [tensor], [f"{name}isnan"]),
            helper.make_node("Cast", [f"{name}isnan"], [f"{name}asnan"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMax", [f"{name}asnan"], names[-1:], keepdims=0),
        ]
    return _with_added(model, nodes, names)


def _with_added(
    model: onnx.ModelProto, nodes: list[onnx.NodeProto], outputs: list[str]
) -> onnx.ModelProto:
    """Copy `model` with more nodes, and with scalar `outputs` of theirs in place of its own."""
    augmented = onnx.ModelProto()
    augmented.CopyFrom(model)
    augmented.graph.node.extend(nodes)
    del augmented.graph.output[:]
    augmented.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, []) for name in outputs
    )
    return augmented


def _histograms(
    model: onnx.ModelProto, data: Dataset, extremes: dict[str, Range]
) -> tuple[dict[str, Histogram], int | None]:
    tensors = list(extremes)
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
