"""The origin of the figures: stages, machine, versions, digests, and warnings."""

from __future__ import annotations

from fulcrum_pipelines.evidence import (
    Environment,
    EvaluateDetails,
    Evidence,
    Overlap,
    StageEvidence,
    ValidateDetails,
)
from fulcrum_pipelines.report.blocks import (
    Block,
    Cell,
    Facts,
    Figure,
    Figures,
    Note,
    Section,
    Table,
    columns,
    missing,
    only,
    plural,
    row,
)
from fulcrum_pipelines.report.formatting import byte_size, count, duration, number
from fulcrum_pipelines.report.plots.bars import Bar, bar_plot
from fulcrum_pipelines.report.reading import details


def warnings_of(evidence: Evidence) -> tuple[Note, ...]:
    """Return everything that stages warned of, overlap of data and identical models first."""
    evaluate = details(evidence, EvaluateDetails)
    validate = details(evidence, ValidateDetails)
    overlaps = {
        overlap.other: overlap
        for found in (evaluate, validate)
        if found is not None
        for overlap in found.overlaps
        if overlap.examples
    }
    return (
        *(Note(_overlap(overlap), "bad") for overlap in overlaps.values()),
        *(
            (Note("Baseline and candidate are the same file.", "unclear"),)
            if validate is not None and validate.identical_models
            else ()
        ),
        *(Note(text, "unclear") for text in (evaluate.advice if evaluate is not None else ())),
        *(
            Note(f"{stage.stage}: {text}", "unclear")
            for stage in evidence.stages
            for text in stage.warnings
        ),
    )


def _overlap(overlap: Overlap) -> str:
    first = ", ".join(str(index) for index in overlap.first_indices[:10])
    where = f" (first at {first})" if first else ""
    return f"{count(overlap.examples)} test examples also stand in {overlap.other}{where}."


def stages_section(evidence: Evidence) -> Section:
    """Return time and memory of each stage."""
    title = "Stages"
    lead = "Time and peak memory of each stage; a cached one was not run again."
    if not evidence.stages:
        return Section("stages", title, lead, (missing("No stage left evidence."),))
    longest = max(stage.seconds for stage in evidence.stages) or 1.0
    largest = max(stage.peak_memory_bytes for stage in evidence.stages) or 1
    total = sum(s.seconds for s in evidence.stages if s.cached_from is None)
    times = [
        Bar(_stage_name(s), s.seconds / longest, duration(s.seconds), _look(s))
        for s in evidence.stages
    ]
    memory = [
        Bar(_stage_name(s), s.peak_memory_bytes / largest, byte_size(s.peak_memory_bytes), _look(s))
        for s in evidence.stages
    ]
    figures = Figures(
        (
            Figure(
                bar_plot("stage-time", "Time of each stage", f"{duration(total)} in all.", times),
                f"Time, {duration(total)} in all",
            ),
            Figure(
                bar_plot("stage-memory", "Peak memory of each stage", "A bar a stage.", memory),
                "Peak memory",
            ),
        )
    )
    return Section("stages", title, lead, (figures, _stage_table(evidence)))


def _stage_name(stage: StageEvidence) -> str:
    return stage.stage if stage.cached_from is None else f"{stage.stage} (cached)"


def _look(stage: StageEvidence) -> str:
    return "candidate" if stage.cached_from is None else "baseline"


def _stage_table(evidence: Evidence) -> Table:
    return Table(
        "Stages",
        columns("Stage", "Started", "#Time", "#Peak memory", "From cache"),
        tuple(
            row(
                stage.stage,
                stage.started_at,
                duration(stage.seconds),
                byte_size(stage.peak_memory_bytes),
                _origin(stage),
            )
            for stage in evidence.stages
        ),
        folded=True,
    )


def _origin(stage: StageEvidence) -> Cell | str:
    if stage.cached_from is None:
        return "no"
    origin = stage.origin
    note = "" if origin is None else f"measured {origin.started_at}, in {duration(origin.seconds)}"
    return Cell(stage.cached_from, code=True, note=note)


def environment_section(evidence: Evidence) -> Section:
    """Return the machine; more than one where stages ran on different ones."""
    title = "Environment"
    lead = "A verdict holds for this class of hardware and these versions."
    machines: dict[str, tuple[Environment, list[str]]] = {}
    for stage in evidence.stages:
        key = stage.environment.model_dump_json()
        machines.setdefault(key, (stage.environment, []))[1].append(stage.stage)
    if not machines:
        return Section("environment", title, lead, (missing("No environment was recorded."),))
    blocks = tuple(_machine(*machine) for machine in machines.values())
    return Section("environment", title, lead, only((*blocks, _export(evidence))))


def _machine(environment: Environment, stages: list[str]) -> Block:
    return Facts(
        (
            ("Stages", ", ".join(stages)),
            ("CPU", environment.cpu_model),
            ("CPU flags", ", ".join(environment.cpu_flags) or "none that matter"),
            ("Logical CPUs", count(environment.logical_cpus)),
            ("Accelerators", ", ".join(environment.accelerators) or "none"),
            ("System", environment.os),
            ("Python", environment.python),
            *sorted(environment.libraries.items()),
        )
    )


def _export(evidence: Evidence) -> Note | None:
    evaluate = details(evidence, EvaluateDetails)
    if evaluate is None or evaluate.export_max_difference is None:
        return None
    return Note(
        "The exported ONNX model's outputs differ from the original's by at most "
        f"{number(evaluate.export_max_difference, 2)}.",
        "quiet",
    )


def digests_section(evidence: Evidence) -> Section:
    """Return the digests of all inputs and results, so that a reader can check them."""
    validate = details(evidence, ValidateDetails)
    rows = [row("plan", "all", Cell(evidence.plan, code=True), "–")]
    if validate is not None:
        rows += [
            row("baseline model", "validate", Cell(validate.baseline_model, code=True), "–"),
            row("candidate model", "validate", Cell(validate.candidate_model, code=True), "–"),
            row("test data", "validate", Cell(validate.test_data, code=True), "–"),
            *(
                row(f"model after {lever.lever}", "validate", Cell(lever.model, code=True), "–")
                for lever in validate.levers
            ),
        ]
    for stage in evidence.stages:
        rows += [
            row(f"input {name}", stage.stage, Cell(digest, code=True), "–")
            for name, digest in sorted(stage.inputs.items())
        ]
        rows += [
            row(each.name, stage.stage, Cell(each.digest, code=True), byte_size(each.size_bytes))
            for each in stage.outputs
        ]
    names = columns("What", "Stage", "SHA-256", "#Size")
    table = Table(plural(len(rows), "digest"), names, tuple(rows), folded=True)
    lead = "Every file and record by its content."
    return Section("digests", "Digests", lead, (table,))
