"""Stage evaluate: what the baseline can do, on the data that decides.

It also fixes what everything after it is compared with: the baseline as an ONNX file, the digests
of the data, and, for data that Python functions give, whether test examples are in other sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fulcrum_components.evaluation import (
    Outcomes,
    OutputRange,
    alone_error,
    best_cases,
    columns_needed,
    constant_answer,
    run_onnx,
    save_outcomes,
)
from fulcrum_components.models.interface import require_same_interface
from fulcrum_components.models.onnx_file import load_onnx
from fulcrum_components.stages import further_outputs, shared_measures
from fulcrum_components.stages.context import (
    BASELINE,
    JSON,
    NPZ,
    ONNX,
    SIGNATURE,
    Output,
    StageContext,
    StageResult,
)
from fulcrum_components.stages.torch_models import require_device, size_of, write_onnx
from fulcrum_components.tasks import find_task
from fulcrum_pipelines.advice import advice
from fulcrum_pipelines.baselines import contradiction, weaknesses
from fulcrum_pipelines.catalog import COUNTED
from fulcrum_pipelines.contract import canonical_json, digest_of
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.evidence import EvaluateDetails, Metric, TimeSplit

DATA_SETS = ("train", "calibration", "validation", "test")


def inputs(context: StageContext) -> dict[str, str]:
    """Return the digests of the model, of each data set, and of what is asked of the results."""
    require_device(context)
    context.check_candidate()
    further_outputs.further_outputs(context)  # refuses unknown names before anything is read
    context.report("reading the data", None)
    digests = {"model": context.model.digest}
    if context.spec.baseline_model is not None:
        digests["baseline"] = context.spec.baseline_model
    for name in DATA_SETS:
        if context.dataset(name) is not None:
            digests[f"data.{name}"] = context.fingerprint(name)
    asked = context.spec.model_dump(
        mode="json", by_alias=True, include={"gates", "seed", "allow_weak_baseline"}
    )
    asked["data"] = shared_measures.what_data_mean(context.spec.data)
    digests["asked"] = digest_of(canonical_json(asked))
    return digests


def run(context: StageContext) -> StageResult:
    """Export the model, and measure the baseline on the test data."""
    test = context.required_dataset("test")
    model, data = context.model, context.data
    shared_measures.check_test_data(context, test)
    splits = _time_splits(context)
    onnx_path = context.work_dir / "model.onnx"
    context.report("exporting to ONNX", 0.2)
    difference = write_onnx(context, model, onnx_path)
    baseline_path = _baseline(context, onnx_path)
    context.report("running the test data", 0.4)
    meaning, seen = model.signature.meaning, OutputRange()
    task, columns = find_task(data.task), columns_needed(data)
    provider = shared_measures.outcome_provider(context, baseline_path)
    outcomes = run_onnx(
        baseline_path, test, data.task, meaning, columns=columns, provider=provider, observe=seen
    )
    task.check(outcomes, where="spec.data.test")
    context.report("computing metrics", 0.7)
    metrics = shared_measures.all_metrics(outcomes, context)
    outcomes_path = context.work_dir / "outcomes.npz"
    save_outcomes(outcomes, outcomes_path)
    parameters, macs = size_of(context)
    details = EvaluateDetails(
        metrics=metrics,
        confusion=shared_measures.confusion(outcomes, data),
        parameters=parameters,
        macs=macs,
        export_max_difference=difference,
        test_examples=len(outcomes),
        overlaps=shared_measures.overlaps(context, shared_measures.read_by_code(data)),
        time_splits=splits,
        advice=_advice(context, outcomes, metrics),
        first_output=seen.record(outcomes, data.task, meaning, alone_error(baseline_path, test)),
        constant_answer=constant_answer(outcomes, data.task),
        provider=provider,
        weak_baseline_allowed=context.spec.allow_weak_baseline,
        labels=None if context.labels is None else context.labels.record,
        conversions=context.conversions(),
    )
    doubts = _doubts(details, context)
    warnings = (
        *model.notes,
        *shared_measures.data_warnings(context),
        *task.warnings(outcomes),
        *doubts,
    )
    signature_path = context.work_dir / SIGNATURE
    signature_path.write_text(model.signature.to_json())
    outputs = {
        "model.onnx": Output(onnx_path, ONNX),
        BASELINE: Output(baseline_path, ONNX),
        SIGNATURE: Output(signature_path, JSON),
        "outcomes.npz": Output(outcomes_path, NPZ),
    }
    return StageResult(details, outputs, warnings)


def _time_splits(context: StageContext) -> tuple[TimeSplit, ...]:
    """Return how test lies in time to data that code gives; validate compares the others itself.

    Raises:
        UserError: A test example is not later than all other data, so the verdict is known.
    """
    data = context.spec.data
    by_code = shared_measures.read_by_code(data)
    splits = shared_measures.time_splits(
        context, (*by_code, *shared_measures.read_without_code(data))
    )
    for split in splits:
        if split.problem:
            message = f"column '{data.time_column}': {split.problem}"
            raise UserError(message, where="spec.data.timeColumn")
    return tuple(split for split in splits if split.other in by_code)


def _doubts(details: EvaluateDetails, context: StageContext) -> list[str]:
    """Return why a comparison with this baseline will prove nothing.

    Raises:
        UserError: Its outputs cannot mean what is thought.
    """
    problem = contradiction(details)
    if problem is not None:
        field = "spec.model" if context.spec.baseline_model is None else "spec.baseline"
        raise UserError(problem, where=field)
    return list(weaknesses(details, details.metrics, context.spec.gates))


def _advice(
    context: StageContext, outcomes: Outcomes, metrics: Sequence[Metric]
) -> tuple[str, ...]:
    """Return warnings about gates that cannot pass on these test data, or hardly."""
    gates, data = context.spec.gates, context.spec.data
    cases = best_cases(gates, data, outcomes, shared_measures.groups_of(outcomes, data))
    return advice(gates, cases, _shares(metrics))


def _shares(metrics: Sequence[Metric]) -> dict[str, float]:
    values = {name: shared_measures.overall(metrics, name) for name in COUNTED}
    return {name: value for name, value in values.items() if value is not None}


def _baseline(context: StageContext, source: Path) -> Path:
    """Return the model that candidates are compared with: `source`, or what a channel held.

    Raises:
        UserError: The channel's model takes or gives something else, so nothing can be compared.
    """
    digest = context.spec.baseline_model
    if digest is None:
        return source
    path = context.store.get(digest, context.work_dir / BASELINE)
    _, signature, _ = load_onnx(
        path,
        cache_dir=context.work_dir / "baseline",
        task=context.spec.data.task,
        meaning=context.signature.meaning,
    )
    require_same_interface(
        signature,
        context.signature,
        what="the channel's model",
        other="spec.model",
        where="spec.baseline",
    )
    return path
