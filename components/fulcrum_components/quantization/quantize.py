"""Quantization of one ONNX file into another, as the recipe asks."""

from __future__ import annotations

import difflib
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from fulcrum_components.graph import Array, opset_of, write_graph
from fulcrum_components.quantization.bias_correction import correct_biases
from fulcrum_components.quantization.building import Builder, Built, Candidate
from fulcrum_components.quantization.choosing import Wanted
from fulcrum_components.quantization.coverage import measure_coverage
from fulcrum_components.quantization.cpu import saturates
from fulcrum_components.quantization.equalization import equalize
from fulcrum_components.quantization.prepare import prepare
from fulcrum_components.quantization.proof import Proof
from fulcrum_components.quantization.read_back import nothing_to_quantize, weight_share
from fulcrum_components.quantization.report import (
    layer_bits,
    matching_nodes,
    simulated_bits,
    unquantized_nodes,
)
from fulcrum_components.quantization.rounding import rounding_for
from fulcrum_components.quantization.selection import (
    FP32,
    Judge,
    MeasureQuality,
    MeasureSpeed,
    Selection,
    make_record,
    select,
    with_speed,
)
from fulcrum_components.quantization.weight_only import round_weights
from fulcrum_pipelines.errors import QualityError, UserError
from fulcrum_pipelines.evidence import EqualizedPair, QuantizeDetails
from fulcrum_pipelines.resources.compressionjob import Quantize

if TYPE_CHECKING:
    from fulcrum_components.data import Dataset


def quantize(
    model: Path,
    output: Path,
    options: Quantize,
    *,
    calibration: Dataset | None,
    measure_quality: MeasureQuality | None,
    quality_metric: str,
    higher_is_better: bool,
    measure_speed: MeasureSpeed | None,
    wanted: Wanted,
    work_dir: Path,
    batch_for_shapes: Mapping[str, Array],
) -> QuantizeDetails:
    """Quantize `model` into `output`.

    Weights get 7 of 8 bits (`reduceRange: auto`) where the CPU's instructions would saturate. That
    matters: a residual CNN on MNIST (1,500 images, AMD EPYC with AVX2 and without VNNI, U8S8 per
    channel) had 97.2 % of answers right with 7 bits and 96.3 % with 8 (fp32 97.3 %), and the
    logits' root mean square error was 0.07 and 0.58; the speed was the same.

    Args:
        model: fp32 ONNX file.
        output: File to write; where `auto` finds nothing better, a copy of `model`.
        options: The recipe's part.
        calibration: Examples for ranges of activations; static and auto need them.
        measure_quality: Computes `quality_metric` of a file on validation data; auto needs it.
        quality_metric: Name of the metric, for the record.
        higher_is_better: Its direction.
        measure_speed: Times (baseline, candidate), interleaved; auto needs it.
        wanted: What auto chooses by.
        work_dir: Directory for intermediate files; the caller removes it.
        batch_for_shapes: One batch of inputs, to count multiply-accumulates.

    Raises:
        UserError: The file, the options or the data do not allow it; the message says what does.
        QualityError: Less runs in integers than `minCoverage` asks for, or a preparation changed
            what the model computes.
    """
    work_dir.mkdir(parents=True, exist_ok=True)
    prepared_path = work_dir / "prepared.onnx"
    prepared = prepare(model, prepared_path)
    proof = Proof(model, calibration, batch_for_shapes)
    proof.require_same("it was prepared for quantization (folded and fused)", prepared)
    builder = Builder(
        prepared_path,
        prepared,
        options,
        reduce_range=_reduce_range(options),
        excluded=_excluded(prepared, options),
        data=calibration,
        batch=batch_for_shapes,
        work_dir=work_dir,
    )
    if nothing := nothing_to_quantize(prepared, options.method):
        selection = Selection(None, (), nothing)
        return _finish(builder, selection, model, output, quality_metric, "")
    judge = None  # made first: where it cannot be, nothing is improved or calibrated in vain
    if options.method == "auto":
        judge = _judge(model, options, measure_quality, higher_is_better, measure_speed, wanted)
    equalized, notes = _improve(builder, proof)
    if options.method == "weightOnly":
        details = _weights_only(builder, model, output, measure_quality, quality_metric, notes)
    else:
        selection = (
            select(builder, judge)
            if judge
            else _single(builder, model, measure_quality, measure_speed)
        )
        details = _finish(builder, selection, model, output, quality_metric, notes)
    kept = () if details.chosen == FP32 else equalized  # fp32 is the model as it came
    return details.model_copy(update={"equalized": kept})


def _reduce_range(options: Quantize) -> bool:
    if options.reduce_range == "auto":
        return saturates()
    return options.reduce_range == "always"


def _excluded(model: onnx.ModelProto, options: Quantize) -> tuple[str, ...]:
    """Resolve the patterns of `exclude`.

    Raises:
        UserError: A pattern matches no node, which is most likely a slip.
    """
    for position, pattern in enumerate(options.exclude or ()):
        if not matching_nodes(model, [pattern]):
            names = [node.name for node in model.graph.node]
            near = difflib.get_close_matches(pattern, names, n=3, cutoff=0.0)
            message = f"no node is named {pattern!r}; the nearest are {', '.join(near)}"
            raise UserError(message, where=f"spec.recipe.quantize.exclude[{position}]")
    return matching_nodes(model, options.exclude or ())


def _improve(builder: Builder, proof: Proof) -> tuple[tuple[EqualizedPair, ...], str]:
    """Prepare the fp32 graph for rounding as the recipe asks; return and say what was done.

    Raises:
        UserError: Bias correction lacks calibration data.
    """
    options, notes = builder.options, ""
    pairs: tuple[EqualizedPair, ...] = ()
    if options.equalization:
        pairs = equalize(builder.model, builder.excluded)
        proof.require_same("its layers were equalised", builder.model)
        notes += f"; {len(pairs)} {'pair' if len(pairs) == 1 else 'pairs'} of layers equalised"
    if options.bias_correction:
        if builder.data is None:
            message = "needs data.calibration or data.train"
            raise UserError(message, where="spec.recipe.quantize.biasCorrection")
        rounding = rounding_for(options, builder.integer.reduce_range)
        corrected = correct_biases(builder.model, rounding, builder.data, builder.excluded)
        notes += f"; biases of {len(corrected)} layers corrected"
    if notes:
        write_graph(builder.model, builder.prepared)
    return pairs, notes


def _weights_only(
    builder: Builder,
    model: Path,
    output: Path,
    measure_quality: MeasureQuality | None,
    metric: str,
    notes: str,
) -> QuantizeDetails:
    """Write the simulation of b-bit weights.

    Raises:
        QualityError: `minCoverage` asks for integer arithmetic, which this method has none of.
    """
    options = builder.options
    bits = options.bits
    if bits is None:
        message = "weightOnly needs bits, from 2 to 8"
        raise UserError(message, where="spec.recipe.quantize.bits")
    if options.min_coverage > 0:
        message = "weightOnly computes in floating point, so no minCoverage above 0 can be met"
        raise QualityError(message, where="spec.recipe.quantize.minCoverage")
    rounded = round_weights(builder.model, rounding_for(options, False), bits, builder.excluded)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_graph(builder.model, output)
    name = f"w{bits}-{'per-channel' if options.per_channel else 'per-tensor'}"
    reason = (
        f"{bits}-bit weights of {len(rounded.layers)} layers, simulated in fp32: "
        f"no speed is claimed{notes}"
    )
    record = make_record(
        name,
        reason,
        size_bytes=output.stat().st_size,
        quality=measure_quality(output) if measure_quality else None,
        before=measure_quality(model) if measure_quality else None,
    )
    return QuantizeDetails(
        chosen=name,
        reason=reason,
        metric=metric,
        candidates=(record.model_copy(update={"kept": True}),),
        int8_coverage=0.0,
        weight_share=rounded.share,
        quantized_nodes=len(rounded.layers),
        bits=bits,
        accounted_bytes=rounded.accounted_bytes,
        opset=opset_of(builder.model),
        layers=simulated_bits(builder.model, rounded.layers, bits),
    )


def _judge(
    model: Path,
    options: Quantize,
    measure_quality: MeasureQuality | None,
    higher_is_better: bool,
    measure_speed: MeasureSpeed | None,
    wanted: Wanted,
) -> Judge:
    if measure_quality is None or measure_speed is None:
        message = "auto needs data.validation, to choose between candidates"
        raise UserError(message, where="spec.recipe.quantize.method")
    before = measure_quality(model)
    if not math.isfinite(before.value):
        message = "the fp32 model's metric is undefined on the validation data"
        raise UserError(message, where="spec.data.validation")
    return Judge(
        baseline=model,
        baseline_quality=before,
        measure_quality=measure_quality,
        measure_speed=measure_speed,
        higher_is_better=higher_is_better,
        max_drop=options.max_drop,
        wanted=wanted,
    )


def _single(
    builder: Builder,
    model: Path,
    measure_quality: MeasureQuality | None,
    measure_speed: MeasureSpeed | None,
) -> Selection:
    """Build the one candidate that was asked for; what can be measured of it is recorded."""
    options = builder.options
    candidate = (
        Candidate("static", options.activations, calibration=options.calibration)
        if options.method == "static"
        else Candidate("dynamic")
    )
    built = builder.build(candidate)
    reason = f"method {options.method} was asked for"
    record = make_record(
        built.name,
        reason,
        size_bytes=built.path.stat().st_size,
        built=built,
        quality=measure_quality(built.path) if measure_quality else None,
        before=measure_quality(model) if measure_quality else None,
    )
    speed = measure_speed(model, built.path) if measure_speed else None
    record = with_speed(record, speed).model_copy(update={"kept": True})
    return Selection(built, (record,), reason)


def _finish(
    builder: Builder, selection: Selection, model: Path, output: Path, metric: str, notes: str
) -> QuantizeDetails:
    """Put the winner in place and describe it."""
    built = selection.winner
    output.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(model if built is None else built.path, output)
    if built is not None:
        _check_coverage(built, builder.options)
    calibrations = builder.calibrations.values()
    peaks = [each.peak_bytes for each in calibrations if each.peak_bytes is not None]
    written = onnx.load(str(output))
    return QuantizeDetails(
        chosen=FP32 if built is None else built.name,
        reason=selection.reason
        + (f" (in the candidates{notes})" if notes and not built else notes),
        metric=metric,
        candidates=selection.records,
        int8_coverage=0.0 if built is None else built.coverage.share,
        weight_share=0.0 if built is None else weight_share(written),
        quantized_nodes=0 if built is None else built.coverage.integer_nodes,
        unquantized=()
        if built is None
        else unquantized_nodes(
            builder.model,
            built.coverage,
            kind=built.candidate.kind,
            excluded=builder.excluded,
            sensitive=built.candidate.sensitive,
            held=built.held,
        ),
        calibration_examples=max((each.examples for each in calibrations), default=0),
        calibration_peak_bytes=max(peaks, default=None),
        opset=opset_of(written),
        layers=layer_bits(written, measure_coverage(output, builder.batch))
        if built is None
        else layer_bits(builder.model, built.coverage),
        prefer=selection.prefer,
        timing_reliable=selection.timing_reliable,
    )


def _check_coverage(built: Built, options: Quantize) -> None:
    if built.coverage.share < options.min_coverage:
        message = (
            f"{built.coverage.share:.1%} of the multiply-accumulates run in integers "
            f"({built.name}), {options.min_coverage:.1%} is asked for; lower minCoverage or see "
            "which nodes stay in floating point: "
            + ", ".join(node.name for node in built.coverage.nodes if not node.integer)[:300]
        )
        raise QualityError(message, where="spec.recipe.quantize.minCoverage")
