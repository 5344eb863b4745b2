"""Stage validate: candidate against baseline, on the test data and the serving hardware.

The figures for the gates are computed here, at the confidence and on the slices that they declare;
the operator decides from these figures alone. No code of the model's author runs here, unless the
test data are a Python function, so overlap of test data with others is looked for here too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fulcrum_components.data import Dataset
from fulcrum_components.evaluation import (
    Outcomes,
    OutputRange,
    Request,
    alone_error,
    columns_needed,
    compare_all,
    load_outcomes,
    run_onnx,
    save_outcomes,
)
from fulcrum_components.evaluation.class_order import other_order
from fulcrum_components.evaluation.requests import required_comparisons
from fulcrum_components.latency import Timed, compare_latency, save_timings, speedup_confidences
from fulcrum_components.memory import compare_sizes
from fulcrum_components.sessions import output_names
from fulcrum_components.stages import further_outputs, shared_measures
from fulcrum_components.stages.context import (
    BASELINE,
    NPZ,
    ONNX,
    Output,
    StageContext,
    StageResult,
)
from fulcrum_pipelines.baselines import contradiction, depends_on_batch
from fulcrum_pipelines.catalog import TASKS
from fulcrum_pipelines.contract import canonical_json, digest_of
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.evidence import (
    EvaluateDetails,
    FirstOutput,
    LatencyComparison,
    LeverMetrics,
    Metric,
    OutputFidelity,
    StageEvidence,
    StageName,
    ValidateDetails,
)

TEST_DATA = "data.test"
"""Name of the test data's digest among the inputs."""

TIMINGS = "timings.npz"
"""Output with the timings that each `LatencyComparison` was computed from."""


@dataclass(frozen=True)
class Lever:
    """One model on the way from baseline to candidate."""

    stage: StageName
    digest: str
    outcomes: Outcomes


def inputs(context: StageContext) -> dict[str, str]:
    """Return the digests of the models, of the test data as they are now, and of what is asked."""
    spec = context.spec
    context.report("reading the test data", None)
    asked = {
        "gates": [gate.model_dump(mode="json") for gate in spec.gates],
        "data": shared_measures.what_data_mean(spec.data),
        "measure": spec.measure.model_dump(mode="json"),
        "seed": spec.seed,
        "allowWeakBaseline": spec.allow_weak_baseline,  # without it, some candidates are refused
    }
    models = {
        f"{stage}/model.onnx": context.digest(stage, "model.onnx")
        for stage in context.plan.stages[1:-1]
    }
    models["evaluate/baseline.onnx"] = _baseline(context)
    return {
        "asked": digest_of(canonical_json(asked)),
        TEST_DATA: context.fingerprint("test"),
        **{
            f"data.{name}": context.fingerprint(name)
            for name in shared_measures.read_without_code(spec.data)
        },
        "evaluate/outcomes.npz": context.digest("evaluate", "outcomes.npz"),
        **models,
    }


def run(context: StageContext) -> StageResult:
    """Measure everything that the gates and the report need."""
    if context.earlier is not None:
        return _timed_again(context, context.earlier)
    spec, test = context.spec, context.required_dataset("test")
    stages = context.plan.stages[1:-1]
    provider = shared_measures.outcome_provider(
        context,
        context.fetch("evaluate", BASELINE),
        *(context.fetch(stage, "model.onnx") for stage in stages),
    )
    levers = _levers(context, test, provider)
    baseline, candidate = levers[0], levers[-1]
    groups = shared_measures.groups_of(baseline.outcomes, spec.data)
    context.report("comparing", 0.3)
    requests = required_comparisons(spec.gates, context.data, baseline.outcomes)
    comparisons = compare_all(
        baseline.outcomes,
        candidate.outcomes,
        requests,
        task=spec.data.task,
        groups=groups,
        seed=spec.seed,
    )
    baseline_path = context.fetch("evaluate", BASELINE)
    candidate_path = context.fetch(candidate.stage, "model.onnx")
    differences = further_outputs.differences_on_test(
        context,
        test,
        baseline_path,
        [context.fetch(lever.stage, "model.onnx") for lever in levers[1:]],
    )
    kept = [further_outputs.records(context, test, each, groups) for each in differences]
    identical = baseline.digest == candidate.digest
    timed = () if identical else _time(context)
    batches = {
        size: shared_measures.first_examples(test, size) for size in spec.measure.batch_sizes
    }
    context.report("measuring memory", 0.9)
    size = compare_sizes(baseline_path, candidate_path, batches, threads=spec.measure.threads)
    outcomes_path = context.work_dir / "outcomes.npz"
    further = {name: each.arrays for name, each in differences[-1].items()} if kept else {}
    save_outcomes(candidate.outcomes, outcomes_path, further)
    context.report("looking for test examples in other data", 0.95)
    comparable = shared_measures.read_without_code(spec.data)
    overlaps = shared_measures.overlaps(context, comparable)
    splits = shared_measures.time_splits(context, comparable)
    evaluated = context.evidence("evaluate").details
    details = ValidateDetails(
        baseline_model=baseline.digest,
        candidate_model=candidate.digest,
        test_data=context.inputs[TEST_DATA],
        test_examples=len(test),
        provider=provider,
        comparisons=comparisons,
        metrics_baseline=shared_measures.all_metrics(baseline.outcomes, context),
        metrics_candidate=shared_measures.all_metrics(candidate.outcomes, context),
        levers=_lever_metrics(levers, kept, context),
        latency=_comparisons(timed),
        size=size,
        overlaps=(*overlaps, *(evaluated.overlaps if evaluated.kind == "evaluate" else ())),
        time_column=spec.data.time_column,
        time_splits=(*splits, *(evaluated.time_splits if evaluated.kind == "evaluate" else ())),
        overlap_on_trust=shared_measures.read_by_code(spec.data),
        copies=shared_measures.copies(context),
        confusion_baseline=shared_measures.confusion(baseline.outcomes, context.data),
        confusion_candidate=shared_measures.confusion(candidate.outcomes, context.data),
        identical_models=identical,
        output_names=output_names(baseline_path),
        ignored_outputs=spec.data.ignored_outputs or (),
        fidelity=kept[-1] if kept else (),
    )
    outputs = {
        "model.onnx": Output(candidate_path, ONNX),
        "outcomes.npz": Output(outcomes_path, NPZ),
        **_timings(context, timed),
    }
    return StageResult(details, outputs)


def _time(context: StageContext) -> tuple[Timed, ...]:
    """Time the candidate against the baseline at each batch size."""
    spec, test = context.spec, context.required_dataset("test")
    context.report("timing", 0.5)
    return compare_latency(
        context.fetch("evaluate", BASELINE),
        context.fetch(context.previous_stage, "model.onnx"),
        {size: shared_measures.first_examples(test, size) for size in spec.measure.batch_sizes},
        spec.measure,
        spec.seed,
        confidence_by_batch=speedup_confidences(spec.gates),
    )


def _timed_again(context: StageContext, earlier: StageEvidence) -> StageResult:
    """Return what `earlier` found of the same models and data, with timings of now."""
    timed = _time(context)
    details = earlier.details.model_copy(update={"latency": _comparisons(timed)})
    outputs = {
        each.name: Output(
            context.store.get(each.digest, context.work_dir / each.name), each.media_type
        )
        for each in earlier.outputs
        if each.name != TIMINGS
    }
    return StageResult(details, outputs | _timings(context, timed), earlier.warnings)


def _comparisons(timed: Sequence[Timed]) -> tuple[LatencyComparison, ...]:
    return tuple(each.comparison for each in timed)


def _timings(context: StageContext, timed: Sequence[Timed]) -> dict[str, Output]:
    """Write the timings and return them as an output, none if nothing was timed."""
    if not timed:
        return {}
    path = context.work_dir / TIMINGS
    save_timings({each.comparison.batch: each.timings for each in timed}, path)
    return {TIMINGS: Output(path, NPZ)}


def _levers(context: StageContext, test: Dataset, provider: str) -> list[Lever]:
    """Run every model on the way over the test data; the baseline's answers are there already.

    Those of a channel's model are not taken from evaluate, since other code than that model's
    could have made them worse there, nor those of another provider, since both round differently.
    """
    columns = columns_needed(context.spec.data)
    evaluated = context.evidence("evaluate").details
    measured = evaluated.provider if evaluated.kind == "evaluate" else ""
    data, meaning = context.spec.data, context.signature.meaning
    baseline = _baseline(context)
    if context.spec.baseline_model is None and measured == provider:
        answered = load_outcomes(context.fetch("evaluate", "outcomes.npz"))
    else:
        context.report("running the test data through the baseline", 0.1)
        path = context.fetch("evaluate", BASELINE)
        answered = run_onnx(path, test, data.task, meaning, columns=columns, provider=provider)
    levers = [Lever("evaluate", baseline, answered)]
    for stage in context.plan.stages[1:-1]:
        context.report(f"running the test data after {stage}", 0.1)
        path, seen = context.fetch(stage, "model.onnx"), OutputRange()
        outcomes = run_onnx(
            path, test, data.task, meaning, columns=columns, provider=provider, observe=seen
        )
        if stage == "convert":
            first = seen.record(outcomes, data.task, meaning, alone_error(path, test))
            _check_given(context, first, answered, outcomes)
        levers.append(Lever(stage, context.digest(stage, "model.onnx"), outcomes))
    return levers


def _check_given(
    context: StageContext, first: FirstOutput, baseline: Outcomes, candidate: Outcomes
) -> None:
    """Refuse a candidate that something else made and whose answers cannot mean what is thought.

    Raises:
        UserError: They hold something else, are in another order, or depend on the batch.
    """
    evaluated = context.evidence("evaluate").details
    assert isinstance(evaluated, EvaluateDetails)
    details = evaluated.model_copy(update={"first_output": first})
    names = context.data.classes
    problem = (
        contradiction(details)
        or other_order(baseline, candidate, context.spec.data.task, names)
        or next(depends_on_batch("candidate", details), None)
    )
    if problem is not None:
        raise UserError(problem, where="spec.candidate")


def _baseline(context: StageContext) -> str:
    """Return the digest of the model that candidates are compared with.

    Raises:
        UserError: It is not what the channel held, as the plan says.
    """
    found, held = context.digest("evaluate", BASELINE), context.spec.baseline_model
    if held is not None and found != held:
        message = f"evaluate measured {found}, but the channel held {held}"
        raise UserError(message, where="spec.baseline")
    return found


def _lever_metrics(
    levers: list[Lever], kept: list[tuple[OutputFidelity, ...]], context: StageContext
) -> tuple[LeverMetrics, ...]:
    task, seed = context.spec.data.task, context.spec.seed
    groups = shared_measures.groups_of(levers[0].outcomes, context.spec.data)
    requests = [Request(name) for name in TASKS[task].lever_metrics]
    found = []
    for before, lever, others in zip([None, *levers[:-1]], levers, [(), *kept], strict=True):
        metrics: tuple[Metric, ...] = shared_measures.whole_metrics(
            lever.outcomes, context.spec.data, seed
        )
        against = {
            "against_baseline": levers[0] if before else None,
            "against_previous": before,
        }
        comparisons = {
            name: compare_all(
                other.outcomes, lever.outcomes, requests, task=task, groups=groups, seed=seed
            )
            for name, other in against.items()
            if other is not None
        }
        name = "baseline" if before is None else lever.stage
        found.append(
            LeverMetrics(
                lever=name, model=lever.digest, metrics=metrics, fidelity=others, **comparisons
            )
        )
    return tuple(found)
