"""Shared steps of methods that make integer models: building, placing and describing one."""

from __future__ import annotations

import shutil

import onnx

from fulcrum_components.graph import opset_of
from fulcrum_components.quantization.building import Built, Candidate
from fulcrum_components.quantization.coverage import measure_coverage
from fulcrum_components.quantization.methods.definition import Work
from fulcrum_components.quantization.report import layer_bits, unquantized_nodes
from fulcrum_components.quantization.selection import FP32, Selection, make_record, with_speed
from fulcrum_components.quantization.weight_share import weight_share
from fulcrum_pipelines.errors import QualityError
from fulcrum_pipelines.evidence import QuantizeDetails
from fulcrum_pipelines.resources.compressionjob import Quantize


def finish_candidate(work: Work, candidate: Candidate, notes: str) -> QuantizeDetails:
    """Build the one candidate that was asked for; what can be measured of it is recorded.

    Raises:
        UserError: It cannot be built.
        QualityError: Less runs in integers than `minCoverage` asks for.
    """
    built = work.builder.build(candidate)
    reason = f"method {work.options.method} was asked for"
    record = make_record(
        built.name,
        reason,
        size_bytes=built.path.stat().st_size,
        built=built,
        quality=work.quality(built.path),
        before=work.quality_before,
    )
    measure_speed = work.measuring.speed
    speed = measure_speed(work.model, built.path) if measure_speed else None
    record = with_speed(record, speed).model_copy(update={"kept": True})
    return finish(work, Selection(built, (record,), reason), notes)


def finish(work: Work, selection: Selection, notes: str) -> QuantizeDetails:
    """Put the winner in place and describe it.

    Raises:
        QualityError: Less runs in integers than `minCoverage` asks for.
    """
    built, builder, output = selection.winner, work.builder, work.output
    output.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(work.model if built is None else built.path, output)
    if built is not None:
        _check_coverage(built, work.options)
    calibrations = builder.calibrations.values()
    peaks = [each.peak_bytes for each in calibrations if each.peak_bytes is not None]
    written = onnx.load(str(output))
    return QuantizeDetails(
        chosen=FP32 if built is None else built.name,
        reason=selection.reason
        + (f" (in the candidates{notes})" if notes and not built else notes),
        metric=work.measuring.metric,
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
