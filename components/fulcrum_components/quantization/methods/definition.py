"""The definition of a quantization method, and its inputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import onnx

from fulcrum_components.graph import GraphIndex
from fulcrum_components.quantization.building import Builder
from fulcrum_components.quantization.choosing import Quality, Wanted
from fulcrum_components.quantization.layers import weighted_layers
from fulcrum_components.quantization.selection import MeasureQuality, MeasureSpeed
from fulcrum_pipelines.evidence import QuantizeDetails
from fulcrum_pipelines.resources.compressionjob import Quantize

MAX_NAMED = 3


@dataclass(frozen=True)
class Measuring:
    """How quantized models are measured, and what counts.

    Attributes:
        metric: Name of the metric, for the record.
        higher_is_better: Its direction.
        quality: Computes it for a file on validation data; None without these data.
        speed: Times (baseline, candidate), interleaved; None if nothing can be timed.
        wanted: What a method that chooses goes by.
    """

    metric: str
    higher_is_better: bool
    quality: MeasureQuality | None
    speed: MeasureSpeed | None
    wanted: Wanted


@dataclass(frozen=True)
class Work:
    """One model to quantize.

    Attributes:
        builder: Has the prepared graph, and makes integer models of it.
        model: The fp32 file as it came.
        output: The file to write.
        measuring: How results are measured.
    """

    builder: Builder
    model: Path
    output: Path
    measuring: Measuring

    @property
    def options(self) -> Quantize:
        """The recipe's part."""
        return self.builder.options

    def quality(self, path: Path) -> Quality | None:
        """Return the quality of a file; None if it cannot be measured."""
        return None if self.measuring.quality is None else self.measuring.quality(path)

    @cached_property
    def quality_before(self) -> Quality | None:
        """Quality of the fp32 file; None if it cannot be measured."""
        return self.quality(self.model)


def _nothing_required(_: Work) -> None:
    return


@dataclass(frozen=True)
class QuantizationMethod:
    """A quantization method.

    Attributes:
        name: As in `spec.recipe.quantize.method`.
        quantize: Writes the output and describes it, given how the graph was improved before, as
            text for the reason.
        applies: Whether a graph has something for it to quantize.
        elsewhere: Operators that another method quantizes, each with that method's name.
        require: Raises a UserError if something that it needs is missing; called before the graph
            is improved and data are read.
        chooses: Whether it chooses by what the gates ask for, and may keep fp32.
    """

    name: str
    quantize: Callable[[Work, str], QuantizeDetails]
    applies: Callable[[GraphIndex], bool]
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    require: Callable[[Work], None] = _nothing_required
    chooses: bool = False

    def nothing_to_quantize(self, model: onnx.ModelProto) -> str | None:
        """Say why a graph has nothing for this method; None if it has."""
        index = GraphIndex(model)
        if self.applies(index):
            return None
        has = Counter(node.op_type for node in model.graph.node)
        message = f"no MatMul, Gemm or Conv to quantize: the graph has {_named(has)}"
        if inside := sorted(set(_products_inside(model.graph))):
            message += (
                f"; {', '.join(inside)} inside the body of an If, Loop or Scan stays as it is"
            )
        for operator, other in self.elsewhere.items():
            if operator in has:
                message += f"; method {other} quantizes {operator}"
        return message


def has_operator(index: GraphIndex, operators: Collection[str]) -> bool:
    """Return whether a graph has a node of one of `operators`."""
    return any(node.op_type in operators for node in index.model.graph.node)


def looks_up(index: GraphIndex) -> bool:
    """Return whether a graph looks up rows of a constant table."""
    return any(layer.node.op_type == "Gather" for layer in weighted_layers(index))


def _named(has: Counter[str]) -> str:
    names = [name for name, _ in has.most_common(MAX_NAMED)]
    return ", ".join(names) + (" and others" if len(has) > MAX_NAMED else "")


def _products_inside(graph: onnx.GraphProto, *, inside: bool = False) -> Iterator[str]:
    for node in graph.node:
        if inside and node.op_type in ("Conv", "Gemm", "MatMul", "LSTM"):
            yield node.op_type
        for entry in node.attribute:
            if entry.type == onnx.AttributeProto.GRAPH:
                yield from _products_inside(entry.g, inside=True)
