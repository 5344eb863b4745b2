"""Latency of both models, measured interleaved, and the check of the measurement against itself."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from fulcrum_pipelines.evidence import (
    LatencyComparison,
    LatencyDistribution,
    RatioInterval,
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
    row,
)
from fulcrum_pipelines.report.formatting import (
    NOT_MEASURED,
    count,
    factor,
    level,
    milliseconds,
    ratio,
)
from fulcrum_pipelines.report.plots.distributions import Ridge, distribution_plot
from fulcrum_pipelines.report.plots.intervals import IntervalStyle, Marker, Row, interval_plot
from fulcrum_pipelines.report.sections.overview import IDENTICAL

_LEAD = (
    "Both models are called in turn in one process, so that what slows the machine slows both. "
    "Above ×1 the candidate is faster. The A/A row is the baseline against itself and must "
    "contain ×1; if it does not, no speed is claimed."
)


def speed_section(validate: ValidateDetails | None) -> Section:
    """Return speed-ups, distributions, figures and protocol."""
    latency = validate.latency if validate is not None else ()
    if validate is not None and validate.identical_models:
        return Section("speed", "Speed", _LEAD, (Note(IDENTICAL, "quiet"),))
    if not latency:
        return Section("speed", "Speed", _LEAD, (missing("Latency was not measured."),))
    blocks: list[Block | None] = [
        *(_unreliable(measured) for measured in latency if not measured.reliable),
        Figures((_speedups(latency), *(_distribution(measured) for measured in latency))),
        _table(latency),
        _protocol(latency),
    ]
    return Section("speed", "Speed", _LEAD, only(blocks))


def _unreliable(measured: LatencyComparison) -> Note:
    return Note(
        f"Batch {measured.batch}: the measurement is not reliable, so no speed is claimed. "
        f"{measured.note or 'The A/A interval does not contain ×1.'}",
        "unclear",
    )


def _speedups(latency: Sequence[LatencyComparison]) -> Figure:
    rows = [
        _ratio_row(f"batch {m.batch}{name}", measured, look)
        for m in latency
        for name, measured, look in (
            ("", m.speedup, _look(m)),
            (" A/A", m.aa, "check"),
        )
    ]
    svg = interval_plot(
        "speedups",
        "Speed-up at each batch size",
        "; ".join(f"{each.name}: {each.text}" for each in rows),
        rows,
        write=lambda value: f"×{value:g}",
        markers=[Marker(1.0, "no difference")],
        from_zero=True,
    )
    confidence = level(latency[0].speedup.interval)
    return Figure(svg, heading=f"Speed-up with {confidence} intervals")


def _look(measured: LatencyComparison) -> IntervalStyle:
    interval = measured.speedup.interval
    if not measured.reliable:
        return "unclear"
    if interval.high < 1:
        return "bad"
    return "candidate"


def _ratio_row(name: str, measured: RatioInterval, look: IntervalStyle) -> Row:
    interval = measured.interval
    return Row(name, measured.ratio, interval.low, interval.high, factor(measured.ratio), look)


def _distribution(measured: LatencyComparison) -> Figure:
    heading = f"Latency at batch {measured.batch}, one call"
    sides = (("baseline", measured.baseline), ("candidate", measured.candidate))
    ridges = tuple(
        Ridge(
            name,
            side.histogram_ms,
            side.median_ms,
            side.percentiles_ms.get("p95"),
            name,
        )
        for name, side in sides
        if len(side.histogram_ms) > 1
    )
    text = f"{factor(measured.speedup.ratio)}" if measured.reliable else "unreliable"
    if not ridges:
        return Figure(Markup(), heading=heading, note="No quantiles were recorded.")
    slowest = max(ridge.quantiles_ms[-1] for ridge in ridges)
    svg = distribution_plot(
        f"latency-{measured.batch}",
        f"Distribution of latency at batch {measured.batch}",
        "; ".join(f"{r.name} median {milliseconds(r.median_ms)}" for r in ridges)
        + f". The slowest call, {milliseconds(slowest)}, may lie beyond the axis.",
        ridges,
    )
    lost = [name for name, side in sides if len(side.histogram_ms) < 2]
    note = f"The slowest call took {milliseconds(slowest)}; the axis ends near the 99th percentile."
    if lost:
        note = f"No quantiles were recorded of the {lost[0]}. {note}"
    return Figure(svg, heading=f"{heading}: {text}", note=note)


def _table(latency: Sequence[LatencyComparison]) -> Table:
    sides = [side for m in latency for side in (m.baseline, m.candidate)]
    percentiles = sorted({name for side in sides for name in side.percentiles_ms})
    return Table(
        "Latency of one call",
        columns(
            "#Batch",
            "Model",
            "#Median",
            *(f"#{name}" for name in percentiles),
            "#Mean",
            "#Calls",
            "#Speed-up",
            "#A/A",
            "Reliable",
        ),
        tuple(
            _side(m, name, side, percentiles)
            for m in latency
            for name, side in (("baseline", m.baseline), ("candidate", m.candidate))
        ),
    )


def _side(
    measured: LatencyComparison, name: str, side: LatencyDistribution, percentiles: Sequence[str]
) -> tuple[Cell, ...]:
    last: tuple[str | Cell, ...] = ("–", ratio(measured.aa), "–")
    if name == "candidate":
        reliable = Cell("yes", "good") if measured.reliable else Cell("no", "unclear")
        last = (ratio(measured.speedup), "–", reliable)
    return row(
        count(measured.batch),
        name,
        milliseconds(side.median_ms),
        *(
            milliseconds(side.percentiles_ms[each]) if each in side.percentiles_ms else NOT_MEASURED
            for each in percentiles
        ),
        milliseconds(side.mean_ms),
        count(side.n),
        *last,
    )


def _protocol(latency: Sequence[LatencyComparison]) -> Facts:
    def said(values: Sequence[object]) -> str:
        return ", ".join(dict.fromkeys(str(value) for value in values))

    return Facts(
        (
            ("Protocol", "interleaved pairs, order shuffled inside each pair"),
            ("Threads", said([m.threads for m in latency])),
            ("Pairs a batch size", said([count(m.pairs) for m in latency])),
            ("Fresh session pairs", said([m.sessions for m in latency])),
            ("Warm-up calls a session", said([m.warmup for m in latency])),
            ("Graph optimisation", said([m.optimization_level for m in latency])),
            ("Interval", said([m.speedup.interval.method for m in latency])),
        )
    )
