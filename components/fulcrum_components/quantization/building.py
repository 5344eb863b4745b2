"""Candidates: which integer models can be made from one fp32 graph, and how to make each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import onnx

from fulcrum_components.graph import Array, GraphIndex
from fulcrum_components.quantization.calibration import Calibration, Method, Observer
from fulcrum_components.quantization.coverage import Coverage, measure_coverage
from fulcrum_components.quantization.floating import float_nodes
from fulcrum_components.quantization.integer import (
    PRODUCT_OPS,
    STATIC_OPS,
    IntegerOptions,
    IntegerType,
    build_dynamic,
    build_static,
    finish,
)
from fulcrum_components.quantization.tables import TiedTable, find_tied_tables, store_once
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.resources.compressionjob import Quantize

if TYPE_CHECKING:
    from fulcrum_components.data import Dataset

QuantizationScheme = Literal["static", "dynamic", "mixed"]

AT_RUN_TIME = ("MatMul", "LSTM")
"""What `mixed` quantizes dynamically; the rest, above all convolutions, statically."""


@dataclass(frozen=True)
class Candidate:
    """One way to quantize.

    Attributes:
        kind: static, dynamic, or static convolutions with dynamic products.
        activations: Integer type of activations; dynamic always uses uint8.
        sensitive: Nodes left in fp32 to keep the quality.
        calibration: How ranges of activations are found; dynamic finds them at run time.
        products_only: Quantize products and the activations fused with them, and nothing between.
        per_channel: One scale an output channel; None leaves it to the recipe.
    """

    kind: QuantizationScheme
    activations: IntegerType = "uint8"
    sensitive: tuple[str, ...] = ()
    calibration: Method = "minmax"
    products_only: bool = False
    per_channel: bool | None = None

    def name(self, weights: IntegerType) -> str:
        """Return a name for evidence, such as `static-u8s8` (activations, then weights).

        The calibration follows if it is not the plain one: `static-u8s8-entropy`.
        """
        short = {"uint8": "u8", "int8": "s8"}
        middle = (
            short[weights] if self.kind == "dynamic" else (short[self.activations] + short[weights])
        )
        plain = self.kind == "dynamic" or self.calibration == "minmax"
        calibrated = "" if plain else f"-{self.calibration}"
        products = "-products" if self.products_only else ""
        scales = {None: "", True: "-per-channel", False: "-per-tensor"}[self.per_channel]
        suffix = f"-without-{len(self.sensitive)}" if self.sensitive else ""
        return f"{self.kind}-{middle}{products}{scales}{calibrated}{suffix}"


@dataclass(frozen=True)
class Built:
    """A quantized file and what of it runs in integers.

    Attributes:
        candidate: What was built.
        name: Its name in evidence.
        path: The file.
        coverage: What of it runs in integers.
        held: Nodes that were left in floating point by rule, each with its reason.
    """

    candidate: Candidate
    name: str
    path: Path
    coverage: Coverage
    held: Mapping[str, str] = field(default_factory=dict)


class Builder:
    """Makes candidates from one prepared graph; calibrates only if one needs it, never twice.

    Args:
        prepared: Path of the fp32 graph, from `prepare`.
        model: The same graph.
        options: The recipe.
        reduce_range: Use 7 bits for weights.
        excluded: Nodes that the user keeps in floating point.
        data: Calibration data, if there are any.
        batch: One batch of inputs, for shapes.
        work_dir: Directory for candidates.
    """

    def __init__(
        self,
        prepared: Path,
        model: onnx.ModelProto,
        options: Quantize,
        *,
        reduce_range: bool,
        excluded: tuple[str, ...],
        data: Dataset | None,
        batch: Mapping[str, Array],
        work_dir: Path,
    ) -> None:
        self.prepared = prepared
        self.model = model
        self.options = options
        self.excluded = excluded
        self.data = data
        self.batch = batch
        self.work_dir = work_dir
        self.calibrations: dict[Method, Calibration] = {}
        self.integer = IntegerOptions(
            weights=options.weights,
            per_channel=options.per_channel,
            reduce_range=reduce_range,
            exclude=excluded,
        )

    @cached_property
    def _observer(self) -> Observer:
        if self.data is None:
            message = "static quantization needs data.calibration or data.train"
            raise UserError(message, where="spec.recipe.quantize.method")
        return Observer(self.model, self.data)

    def calibration(self, method: Method) -> Calibration:
        """Return the ranges of all activations.

        Raises:
            UserError: There are no calibration data.
        """
        if method not in self.calibrations:
            found = self._observer.calibration(method, self.options.percentile)
            self.calibrations[method] = found
        return self.calibrations[method]

    @cached_property
    def held_in_float(self) -> dict[str, str]:
        """Nodes that static quantization leaves in floating point, each with its reason."""
        return float_nodes(GraphIndex(self.model), self._observer.extremes.masks)

    @cached_property
    def tied_tables(self) -> tuple[TiedTable, ...]:
        """Tables that a product reads too; they are quantized with the product."""
        return find_tied_tables(self.model)

    def quantizes_more_than_products(self) -> bool:
        """Return whether static quantization takes nodes that are no products."""
        return any(
            node.op_type in STATIC_OPS
            and node.op_type not in PRODUCT_OPS
            and node.name not in self.held_in_float
            and node.name not in self.excluded
            for node in self.model.graph.node
        )

    def build(self, candidate: Candidate) -> Built:
        """Write the candidate's file and measure its coverage.

        Raises:
            UserError: ONNX Runtime cannot make or load it.
        """
        name = candidate.name(self.options.weights)
        path = self.write(candidate, self.work_dir / f"{name}.onnx")
        held = self.held_in_float if candidate.kind != "dynamic" else {}
        return Built(candidate, name, path, measure_coverage(path, self.batch), held)

    def write(self, candidate: Candidate, path: Path) -> Path:
        """Write the candidate's file to `path` and return that.

        Raises:
            UserError: ONNX Runtime cannot make it.
        """
        exclude = (*self.excluded, *candidate.sensitive)
        tied = [each for each in self.tied_tables if set(each.lookups).isdisjoint(exclude)]
        lookups = [name for each in tied for name in each.lookups]
        options = replace(
            self.integer, activations=candidate.activations, exclude=(*exclude, *lookups)
        )
        if candidate.per_channel is not None:
            options = replace(options, per_channel=candidate.per_channel)
        if candidate.kind == "dynamic":
            build_dynamic(self.prepared, path, options)
        else:
            self._build_static(candidate, path, options)
        if tied:
            model = onnx.load(str(path))
            store_once(model, tied)
            finish(model, path)
        return path

    def _build_static(self, candidate: Candidate, path: Path, options: IntegerOptions) -> None:
        options = replace(options, exclude=(*options.exclude, *self.held_in_float))
        ranges = self.calibration(candidate.calibration)
        if candidate.kind == "static":
            ops = PRODUCT_OPS if candidate.products_only else STATIC_OPS
            build_static(self.model, path, ranges, options, ops=ops)
        else:
            self._build_mixed(path, ranges, options)

    def _build_mixed(self, path: Path, ranges: Calibration, options: IntegerOptions) -> None:
        halfway = path.with_suffix(".static.onnx")
        ops = [op for op in STATIC_OPS if op not in AT_RUN_TIME]
        build_static(self.model, halfway, ranges, options, ops=ops)
        build_dynamic(halfway, path, options, ops=AT_RUN_TIME)
        halfway.unlink()
