"""How well the outputs after the first are kept, each with its intervals."""

from __future__ import annotations

from collections.abc import Sequence

from fulcrum_pipelines.evidence import Interval, OutputFidelity, ValidateDetails
from fulcrum_pipelines.report.blocks import (
    Block,
    Cell,
    Note,
    Section,
    Table,
    columns,
    missing,
    only,
    row,
)
from fulcrum_pipelines.report.formatting import NOT_MEASURED, count, level, percent, span
from fulcrum_pipelines.report.metric_styles import style_of
from fulcrum_pipelines.report.sections.levers import lever_name
from fulcrum_pipelines.report.sections.overview import change_tone


def outputs_section(validate: ValidateDetails | None) -> Section | None:
    """Return the outputs after the first; None if the model has one output only."""
    if validate is None:
        return None
    names = validate.output_names
    title = "Other outputs"
    if names is None:
        what = "Only the first output was compared; evidence of this version names no others."
        return Section("outputs", title, "What else the model returns.", (missing(what),))
    if len(names) < 2:
        return None
    lead = (
        "What the model returns besides its first output, held against the baseline's on the same "
        "test examples."
    )
    kept = first_records(validate.fidelity)
    blocks: list[Block | None] = [
        _table(kept) if kept else missing("No other output was compared."),
        _levers(validate),
        _targets(kept),
        *(_ignored(name) for name in names[1:] if name in validate.ignored_outputs),
        _explanation(kept),
    ]
    return Section("outputs", title, lead, only(blocks))


def first_records(records: Sequence[OutputFidelity]) -> tuple[OutputFidelity, ...]:
    """Return one record an output; gates may have asked for several levels."""
    return tuple({each.output: each for each in reversed(records)}.values())[::-1]


def _table(kept: Sequence[OutputFidelity]) -> Table:
    names = ("Output", "Type", "#Relative error", "#Interval", "#Same answer", "#Interval", "#n")
    return Table("Outputs after the first", columns(*names), tuple(map(_row, kept)))


def _row(record: OutputFidelity) -> tuple[Cell, ...]:
    unit = "" if record.unit == "examples" else f" {record.unit}"
    groups = f" in {count(record.groups)} groups" if record.groups is not None else ""
    wrong = f"wrong on {count(record.wrong)}" if record.wrong else ""
    if record.not_finite:
        wrong += f", NaN or infinite on {count(record.not_finite)}"
    return row(
        Cell(record.output, "bad" if record.not_finite else "", code=True, note=wrong),
        record.kind,
        Cell(error_text(record), note=record.reference and f"of the {record.reference}"),
        interval_text(record.relative_error_interval, record.relative_error),
        Cell(agreement_text(record), note=record.answer),
        interval_text(record.agreement_interval, record.agreement),
        f"{count(record.n)}{unit}{groups}",
    )


def error_text(record: OutputFidelity) -> str:
    """Return the relative error, or the reason for its absence."""
    if record.relative_error is None:
        return "whole numbers" if record.answer else NOT_MEASURED
    return percent(record.relative_error)


def agreement_text(record: OutputFidelity) -> str:
    """Return the share of equal answers, or the reason for its absence."""
    return percent(record.agreement) if record.answer else "no single answer"


def interval_text(interval: Interval | None, value: float | None) -> Cell:
    """Return an interval of a share, its confidence below."""
    if interval is None:
        return Cell("–" if value is None else "no interval", "quiet")
    ends = f"{span(interval, 2, scale=100, sign=False)} %"
    return Cell(ends, note=f"{level(interval)}, {interval.method}")


def _levers(validate: ValidateDetails) -> Table | None:
    rows = tuple(
        row(
            Cell(record.output, code=True),
            lever_name(lever.lever),
            error_text(record),
            agreement_text(record),
        )
        for lever in validate.levers
        for record in first_records(lever.fidelity)
    )
    models = {lever.model for lever in validate.levers if lever.fidelity}
    names = columns("Output", "Model", "#Relative error", "#Same answer")
    return Table("Outputs after each lever", names, rows) if len(models) > 1 else None


def _targets(kept: Sequence[OutputFidelity]) -> Table | None:
    rows = tuple(
        row(
            Cell(record.output, code=True),
            style.label,
            style.value(compared.baseline),
            style.value(compared.candidate),
            Cell(style.delta(compared), change_tone(compared)),
            f"{style.delta_span(compared)} {level(compared.interval)}".strip(),
            compared.note or "–",
        )
        for record in kept
        for compared in record.comparisons
        for style in (style_of(compared.metric, compared.unit),)
    )
    names = ("Output", "Metric", "#Baseline", "#Candidate", "#Change", "#Interval", "Note")
    return Table("Against targets of their own", columns(*names), rows) if rows else None


def _ignored(name: str) -> Note:
    return Note(f"{name} was not compared: data.ignoredOutputs names it.", "quiet")


def _explanation(kept: Sequence[OutputFidelity]) -> Note | None:
    if not kept:
        return None
    return Note(
        "Relative error: root of the sum of squared differences, divided by that of the baseline's "
        "distances from its mean. Same answer: share of examples.",
        "quiet",
    )
