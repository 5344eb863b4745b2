"""The decision of each gate, with its value and its limit."""

from __future__ import annotations

from collections.abc import Callable

from fulcrum_pipelines.catalog import GATE_KINDS
from fulcrum_pipelines.evidence import Interval
from fulcrum_pipelines.gates.verdict import GateResult, Limit, SliceResult, Verdict
from fulcrum_pipelines.report.blocks import (
    Block,
    Cell,
    Note,
    Section,
    Table,
    columns,
    missing,
    only,
    plural,
    row,
)
from fulcrum_pipelines.report.formatting import (
    NOT_MEASURED,
    SPACE,
    count,
    factor,
    level,
    number,
    percent,
    points,
    short_digest,
)
from fulcrum_pipelines.report.metric_styles import style_of
from fulcrum_pipelines.report.sections.overview import TONES

Write = Callable[[float], str]

_UNITS = (f"{SPACE}points", f"{SPACE}%")


def gates_section(verdict: Verdict | None) -> Section:
    """Return the table of gates, of their slices, and what the verdict rests on."""
    title, lead = "Gates", "Every rule that was declared, and what the evidence says to it."
    if verdict is None:
        return Section("gates", title, lead, (missing("No gates were given."),))
    if not verdict.gates:
        empty = missing("The list of gates is empty; an empty list never passes.")
        return Section("gates", title, lead, (empty, _rule(verdict)))
    blocks: tuple[Block | None, ...] = (
        *(Note(text, "odd") for text in verdict.anomalies if text not in verdict.reasons),
        *(Note(text, "unclear") for text in verdict.caveats),
        _table(verdict.gates),
        _slices(verdict.gates),
        *(_left_out(gate) for gate in verdict.gates if gate.left_out),
        _rule(verdict),
    )
    return Section("gates", title, lead, only(blocks))


def _rule(verdict: Verdict) -> Note:
    evidence = short_digest(verdict.evidence) if verdict.evidence else "without a digest"
    return Note(
        f"Decided from evidence {evidence} and gates {short_digest(verdict.policy)} by the rule "
        f"{verdict.rules}",
        "quiet",
    )


def gate_writer(kind: str, metric: str | None) -> Write:
    """Return how values of a gate of this kind are written; the same unit as its limit's."""
    style = style_of(metric or "")
    known = GATE_KINDS.get(kind)
    match known.value if known else "metric":
        case "metric change":
            return points if style.share else lambda value: number(value, sign=True)
        case "relative change":
            return lambda value: percent(value, sign=True)
        case "ratio":
            return factor
        case "share":
            return percent
        case "metric":
            return style.value


def limit_text(limit: Limit | None, write: Write) -> str:
    """Return what a gate accepts."""
    if limit is None:
        return "no limit"
    above, below = (">", "<") if limit.strict else ("≥", "≤")
    ends = (
        *(() if limit.minimum is None else (f"{above} {write(limit.minimum)}",)),
        *(() if limit.maximum is None else (f"{below} {write(limit.maximum)}",)),
    )
    return " and ".join(ends) or "no limit"


def interval_cell(interval: Interval | None, write: Write) -> Cell:
    """Return an interval in a gate's unit, its confidence below."""
    if interval is None:
        return Cell("no interval", "quiet")
    low, high = write(interval.low), write(interval.high)
    unit = next((unit for unit in _UNITS if low.endswith(unit) and high.endswith(unit)), "")
    ends = f"[{low.removesuffix(unit)}, {high.removesuffix(unit)}]{unit}"
    return Cell(ends, note=f"{level(interval)}, {interval.method}")


def is_exact(kind: str) -> bool:
    """Return whether a gate of this kind decides on what is known exactly: bytes of files."""
    return kind in GATE_KINDS and GATE_KINDS[kind].measures == "size"


def _counts_bytes(kind: str) -> bool:
    return kind in GATE_KINDS and GATE_KINDS[kind].counts_bytes


def _samples(n: int | None, kind: str) -> Cell:
    if n is None:
        return Cell("none needed" if _counts_bytes(kind) else "unknown", "quiet")
    return Cell(count(n))


def _figures(result: GateResult | SliceResult, gate: GateResult) -> tuple[str | Cell, ...]:
    kind, write = gate.kind, gate_writer(gate.kind, gate.metric)
    return (
        NOT_MEASURED if result.value is None else write(result.value),
        Cell("exact", "quiet") if is_exact(kind) else interval_cell(result.interval, write),
        limit_text(result.limit, write),
        _samples(result.n, kind),
    )


def _table(gates: tuple[GateResult, ...]) -> Table:
    return Table(
        "Gates",
        columns("Verdict", "Gate", "#Observed", "#Interval", "#Limit", "#n", "Reason"),
        tuple(
            row(
                verdict_cell(gate.verdict),
                Cell(gate.name, note=_kind_text(gate)),
                *_figures(gate, gate),
                gate.reason,
            )
            for gate in gates
        ),
    )


def _kind_text(gate: GateResult) -> str:
    if gate.metric:
        what = f"{gate.kind} of {style_of(gate.metric).label.lower()}"
    else:
        what = f"{gate.kind}, baseline = 1" if _counts_bytes(gate.kind) else gate.kind
    return f"{what}; dry run, does not block" if gate.mode == "DryRun" else what


def verdict_cell(outcome: str) -> Cell:
    """Return a verdict as a coloured label."""
    return Cell(outcome, TONES[outcome], chip=True)


def _slices(gates: tuple[GateResult, ...]) -> Table | None:
    rows = tuple(
        row(
            verdict_cell(part.verdict),
            Cell(gate.name),
            Cell(part.slice),
            *_figures(part, gate),
            "not needed" if part.p_adjusted is None else number(part.p_adjusted, 2),
            part.reason,
        )
        for gate in gates
        for part in gate.slices
    )
    names = columns(
        "Verdict", "Gate", "Slice", "#Observed", "#Interval", "#Limit", "#n", "#Holm p", "Reason"
    )
    caption = f"What the gates say on {plural(len(rows), 'slice')}"
    return Table(caption, names, rows, folded=True) if rows else None


def _left_out(gate: GateResult) -> Note:
    return Note(
        f"{gate.name} left out slices with too few examples: {', '.join(gate.left_out)}.", "quiet"
    )
