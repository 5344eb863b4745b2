"""Stage quantize: integers instead of floating point, where that is measurably worth it."""

from __future__ import annotations

from pathlib import Path

from fulcrum_components.data import Dataset, sample
from fulcrum_components.evaluation import metric_value, run_onnx
from fulcrum_components.latency import quick_speedup
from fulcrum_components.quantization import quantize
from fulcrum_components.stages import measuring
from fulcrum_components.stages.context import ONNX, Output, StageContext, StageResult
from fulcrum_pipelines.contract import canonical_json, digest_of
from fulcrum_pipelines.evidence import RatioInterval


def inputs(context: StageContext) -> dict[str, str]:
    """Return the digests of the model as it comes, of the data, and of its options."""
    spec = context.spec
    assert spec.recipe.quantize is not None
    asked = {
        "quantize": spec.recipe.quantize.model_dump(mode="json"),
        "samples": spec.data.calibration_samples,
        "threads": spec.measure.threads,
        "seed": spec.seed,
    }
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
    metric = measuring.FIRST_METRIC[spec.data.task]
    examples = next(iter(context.required_dataset("test").batches(1))).inputs

    def quality(path: Path) -> float:
        assert validation is not None
        context.report(f"measuring {path.stem} on validation", None)
        outcomes = run_onnx(path, validation, context.signature.meaning)
        value = metric_value(outcomes, metric)
        return float("nan") if value is None else value

    def measure_speedup(baseline: Path, candidate: Path) -> RatioInterval:
        context.report(f"timing {candidate.stem}", None)
        return quick_speedup(baseline, candidate, examples, threads=spec.measure.threads)

    context.report("calibrating", None)
    details = quantize(
        source,
        output,
        spec.recipe.quantize,
        calibration=calibration_data(context),
        quality=quality if validation is not None else None,
        quality_metric=metric,
        higher_is_better=spec.data.task == "classification",
        measure_speedup=measure_speedup,
        work_dir=context.work_dir / "quantize",
        batch_for_shapes=examples,
    )
    return StageResult(details, {"model.onnx": Output(output, ONNX)})


def calibration_data(context: StageContext) -> Dataset | None:
    """Return the calibration set, or a seeded sample of train where there is none."""
    data = context.spec.data
    source = context.dataset("calibration") or context.dataset("train")
    if source is None:
        return None
    return sample(source, data.calibration_samples, context.spec.seed)
