"""Bytes, memory, parameters and arithmetic of both models."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from fulcrum_pipelines.evidence import (
    EvaluateDetails,
    Evidence,
    PruneDetails,
    QuantizeDetails,
    ValidateDetails,
)
from fulcrum_pipelines.report.blocks import (
    Cell,
    Figure,
    Figures,
    Note,
    Section,
    Table,
    columns,
    missing,
    only,
    row,
)
from fulcrum_pipelines.report.formatting import (
    NOT_MEASURED,
    byte_size,
    factor,
    percent,
    short_count,
)
from fulcrum_pipelines.report.plots.bars import Bar, bar_plot
from fulcrum_pipelines.report.reading import details


@dataclass(frozen=True)
class _Pair:
    name: str
    before: int | None
    after: int | None
    is_bytes: bool = True
    note: str = ""

    def write(self, value: int | None) -> str:
        return byte_size(value) if self.is_bytes else short_count(value)


def size_section(evidence: Evidence) -> Section:
    """Return bars of everything that has a size, and the table."""
    title = "Size"
    lead = "What is stored, sent and held in memory, and what one example costs to compute."
    pairs = _pairs(evidence)
    if all(pair.before is None and pair.after is None for pair in pairs):
        return Section("size", title, lead, (missing("Nothing that has a size was measured."),))
    return Section("size", title, lead, only((_figures(pairs), _table(pairs), _packed(evidence))))


def _pairs(evidence: Evidence) -> tuple[_Pair, ...]:
    return (*_stored(details(evidence, ValidateDetails)), *_counted(evidence))


def _stored(validate: ValidateDetails | None) -> tuple[_Pair, ...]:
    if validate is None:
        return tuple(_Pair(name, None, None) for name in ("File", "File, gzip", "Serving memory"))
    size = validate.size
    return (
        _Pair("File", size.baseline_bytes, size.candidate_bytes),
        _Pair("File, gzip", size.baseline_gzip_bytes, size.candidate_gzip_bytes),
        _Pair(
            "Serving memory",
            size.baseline_peak_memory_bytes,
            size.candidate_peak_memory_bytes,
            note=size.memory_note or "peak of a session",
        ),
    )


def _counted(evidence: Evidence) -> tuple[_Pair, ...]:
    """Return what pruning changed; without pruning these are the baseline's own."""
    evaluate, prune = details(evidence, EvaluateDetails), details(evidence, PruneDetails)
    macs_note = "multiply-accumulates for one example"
    if prune is not None:
        return (
            _Pair("Parameters", prune.parameters_before, prune.parameters_after, is_bytes=False),
            _Pair("Non-zero", prune.parameters_before, prune.nonzero_after, is_bytes=False),
            _Pair("MACs", prune.macs_before, prune.macs_after, is_bytes=False, note=macs_note),
        )
    parameters = evaluate.parameters if evaluate is not None else None
    macs = evaluate.macs if evaluate is not None else None
    return (
        _Pair("Parameters", parameters, parameters, is_bytes=False),
        _Pair("MACs", macs, macs, is_bytes=False, note=macs_note),
    )


def _figures(pairs: tuple[_Pair, ...]) -> Figures:
    stored, computed = [p for p in pairs if p.is_bytes], [p for p in pairs if not p.is_bytes]
    return Figures(
        (
            Figure(_bars("size-bytes", "Bytes, relative to the baseline", stored), "Bytes"),
            Figure(_bars("size-counts", "Counts, relative to the baseline", computed), "Counts"),
        )
    )


def _bars(key: str, title: str, pairs: list[_Pair]) -> Markup:
    bars: list[Bar] = []
    for index, pair in enumerate(pairs):
        largest = max(pair.before or 0, pair.after or 0) or 1
        for value, name, look in (
            (pair.before, f"{pair.name}, before", "baseline"),
            (pair.after, "after", "candidate"),
        ):
            share = None if value is None else value / largest
            gap = index > 0 and look == "baseline"
            bars.append(Bar(name, share, pair.write(value), look, gap_before=gap))
    description = "; ".join(f"{p.name} {p.write(p.before)} to {p.write(p.after)}" for p in pairs)
    return bar_plot(key, title, description, bars)


def _table(pairs: tuple[_Pair, ...]) -> Table:
    return Table(
        "Sizes",
        columns("What", "#Baseline", "#Candidate", "#Smaller by", "#Of the baseline"),
        tuple(
            row(
                Cell(pair.name, note=pair.note),
                pair.write(pair.before),
                pair.write(pair.after),
                *_ratio(pair),
            )
            for pair in pairs
        ),
    )


def _ratio(pair: _Pair) -> tuple[str, str]:
    if not pair.before or not pair.after:
        return NOT_MEASURED, NOT_MEASURED
    return factor(pair.before / pair.after), percent(pair.after / pair.before, 1)


def _packed(evidence: Evidence) -> Note | None:
    quantize = details(evidence, QuantizeDetails)
    if quantize is None or quantize.accounted_bytes is None:
        return None
    return Note(
        f"Weights packed to {quantize.bits} bits with their scales would take "
        f"{byte_size(quantize.accounted_bytes)}; the file above holds them as simulated."
    )
