"""Stage quantize: integers instead of floating point, if that is measurably worth it."""

from __future__ import annotations

import math
from pathlib import Path

from fulcrum_components.data import Dataset, sample
from fulcrum_components.evaluation import metric_value, run_onnx
from fulcrum_components.latency import compare_quickly, geometric_mean
from fulcrum_components.quantization import quantize
from fulcrum_components.quantization.choosing import (
    EQUAL_SPEED,
    Quality,
    Speed,
    Wanted,
    largest_size,
    preference,
)
from fulcrum_components.quantization.methods import METHODS, Measuring
from fulcrum_components.stages import further_outputs, shared_measures
from fulcrum_components.stages.context import BASELINE, ONNX, Output, StageContext, StageResult
from fulcrum_components.stages.headlines import left_out
from fulcrum_components.tasks import find_task
from fulcrum_pipelines.catalog import METRICS, TASKS
from fulcrum_pipelines.contract import canonical_json, digest_of


def inputs(context: StageContext) -> dict[str, str]:
    """Return the digests of the model as it comes, of the data, and of its options."""
    spec = context.spec
    assert spec.recipe.quantize is not None
    asked = {
        "quantize": spec.recipe.quantize.model_dump(mode="json"),
        "samples": spec.data.calibration_samples,
        "threads": spec.measure.threads,
        "batchSizes": spec.measure.batch_sizes,
        "outputs": further_outputs.what_is_asked(spec),
        "seed": spec.seed,
    }
    if METHODS[spec.recipe.quantize.method].chooses:  # else gates make no difference
        asked["wanted"] = str(wanted_of(context))
    evaluated = context.evidence("evaluate").inputs
    calibration = "data.calibration" if "data.calibration" in evaluated else "data.train"
    used = (calibration, "data.validation")
    return {
        "asked": digest_of(canonical_json(asked)),
        "model.onnx": context.digest(context.previous_stage, "model.onnx"),
        **{name: evaluated[name] for name in used if name in evaluated},
    }


def run(context: StageContext) -> StageResult:
    """Quantize as the recipe asks."""
    spec = context.spec
    assert spec.recipe.quantize is not None
    source = context.fetch(context.previous_stage, "model.onnx")
    output = context.work_dir / "model.onnx"
    validation = context.dataset("validation")
    task, test = spec.data.task, context.required_dataset("test")
    metric = TASKS[task].main
    batches = {
        size: shared_measures.first_examples(test, size) for size in spec.measure.batch_sizes
    }

    def measure_quality(path: Path) -> Quality:
        assert validation is not None
        context.report(f"measuring {path.stem} on validation", None)
        outcomes = run_onnx(path, validation, task, context.signature.meaning)
        value = metric_value(outcomes, metric)
        lost = further_outputs.lost_on(context, validation, source, path)
        return Quality(
            math.nan if value is None else value,
            find_task(task).example_losses(outcomes),
            "; ".join(lost),
        )

    def measure_speed(baseline: Path, candidate: Path) -> Speed:
        context.report(f"timing {candidate.stem}", None)
        timings = compare_quickly(
            baseline, candidate, batches, spec.measure, spec.seed, precision=EQUAL_SPEED
        )
        return Speed(geometric_mean([each.speedup for each in timings]), timings)

    context.report("calibrating", None)
    details = quantize(
        source,
        output,
        spec.recipe.quantize,
        Measuring(
            metric,
            higher_is_better=METRICS[metric].direction == "higher",
            quality=measure_quality if validation is not None else None,
            speed=measure_speed,
            wanted=wanted_of(context),
        ),
        calibration=calibration_data(context),
        work_dir=context.work_dir / "quantize",
        batch_for_shapes=shared_measures.first_examples(test, 1),
    )
    nothing = not details.weight_share and not details.int8_coverage
    if nothing and not METHODS[spec.recipe.quantize.method].chooses:
        context.did_nothing(f"nothing was quantized: {left_out(details) or details.reason}")
    return StageResult(details, {"model.onnx": Output(output, ONNX)})


def wanted_of(context: StageContext) -> Wanted:
    """Return what auto chooses by: what the recipe prefers, else what the gates ask for."""
    spec = context.spec
    assert spec.recipe.quantize is not None
    prefer = spec.recipe.quantize.prefer or preference(spec.gates)
    return Wanted(prefer, largest_size(spec.gates, context.output("evaluate", BASELINE).size_bytes))


def calibration_data(context: StageContext) -> Dataset | None:
    """Return the calibration set, or a seeded sample of train without one."""
    data = context.spec.data
    source = context.dataset("calibration") or context.dataset("train")
    if source is None:
        return None
    return sample(source, data.calibration_samples, context.spec.seed)
