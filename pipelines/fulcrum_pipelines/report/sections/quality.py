"""Every metric before and after, with intervals; then the paired counts behind the main one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fulcrum_pipelines.evidence import Comparison, Counts, Interval, Metric, ValidateDetails
from fulcrum_pipelines.report.blocks import (
    Block,
    Cell,
    Figure,
    Figures,
    Quadrant,
    Section,
    Table,
    columns,
    missing,
    only,
    row,
)
from fulcrum_pipelines.report.formatting import count, fixed, level, number, percent, span
from fulcrum_pipelines.report.metric_styles import Style, in_order, style_of
from fulcrum_pipelines.report.plots.intervals import IntervalStyle, Marker, Row, interval_plot
from fulcrum_pipelines.report.reading import find_metric
from fulcrum_pipelines.report.sections.overview import change_tone

_DRAWN_SLICES = 40
_LOOKS: dict[str, IntervalStyle] = {"good": "good", "bad": "bad", "": "candidate"}


def quality_section(validate: ValidateDetails | None) -> Section:
    """Return metrics on all test data, paired counts and slices."""
    title = "Quality"
    if validate is None:
        lead = "Both models on the same test examples."
        return Section("quality", title, lead, (missing("Validate left no evidence."),))
    lead = (
        f"Both models on the same {count(validate.test_examples)} test examples, "
        "on which nothing was tuned."
    )
    whole = _unique([c for c in validate.comparisons if c.slice == "all"])
    if not whole:
        return Section("quality", title, lead, (missing("No metric was compared."),))
    measured = [c for c in whole if c.baseline is not None or c.candidate is not None]
    blocks: list[Block | None] = [
        Figures(tuple(_card(validate, comparison) for comparison in measured)),
        *(_unmeasured(comparison) for comparison in whole if comparison not in measured),
        _table("Metrics on all test data", whole, folded=True),
        *_paired(validate, whole),
    ]
    return Section("quality", title, lead, only(blocks))


def _unique(comparisons: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """Return one comparison for each metric and slice; gates may have asked for several levels."""
    first = list({(c.metric, c.slice): c for c in reversed(comparisons)}.values())[::-1]
    order = in_order(c.metric for c in first)
    return tuple(sorted(first, key=lambda c: order.index(c.metric)))


def _unmeasured(comparison: Comparison) -> Block:
    reason = f": {comparison.note}" if comparison.note else ""
    return missing(f"{style_of(comparison.metric).label} was not measured{reason}.")


def axis_writer(style: Style) -> Callable[[float], str]:
    """Return how a metric's values are written at an axis: short."""
    if style.share:
        return lambda value: f"{100 * value:.5g} %".replace("-", "\u2212")
    return lambda value: f"{value:.4g}".replace("-", "\u2212")


def _card(validate: ValidateDetails, comparison: Comparison) -> Figure:
    style = style_of(comparison.metric, comparison.unit)
    tone = change_tone(comparison)
    svg = interval_plot(
        f"metric-{comparison.metric}",
        f"{style.label}, baseline and candidate",
        f"Baseline {style.value(comparison.baseline)}, candidate "
        f"{style.value(comparison.candidate)}, each with its interval.",
        (
            _side("baseline", validate.metrics_baseline, comparison, comparison.baseline, style),
            _side("candidate", validate.metrics_candidate, comparison, comparison.candidate, style),
        ),
        write=axis_writer(style),
        show_text=False,
        bounds=style.bounds,
    )
    better = "higher is better" if comparison.direction == "higher" else "lower is better"
    paired = (
        f"{level(comparison.interval)} interval of the change {style.delta_span(comparison)}"
        if comparison.interval is not None
        else "the change has no interval"
    )
    verdict = {"good": "measurably better", "bad": "measurably worse"}.get(
        tone, "no measurable difference" if comparison.interval else ""
    )
    return Figure(
        svg,
        heading=f"{style.label} ({better})",
        text=f"{style.value(comparison.baseline)} → {style.value(comparison.candidate)}",
        note="; ".join(
            part
            for part in (f"change {style.delta(comparison)}", paired, verdict, comparison.note)
            if part
        ),
    )


def _side(
    name: IntervalStyle,
    metrics: Sequence[Metric],
    comparison: Comparison,
    value: float | None,
    style: Style,
) -> Row:
    metric = find_metric(metrics, comparison.metric)
    interval = metric.interval if metric is not None else None
    low, high = (interval.low, interval.high) if interval else (None, None)
    text = f"{style.value(value)} {style.interval(interval, value)}"
    return Row(name, value, low, high, text, name)


def _table(caption: str, comparisons: Sequence[Comparison], *, folded: bool) -> Table:
    return Table(
        caption,
        columns("Metric", "Slice", "#Baseline", "#Candidate", "#Change", "#Interval", "#n", "Note"),
        tuple(_comparison_row(comparison) for comparison in comparisons),
        folded=folded,
    )


def _comparison_row(comparison: Comparison) -> tuple[Cell, ...]:
    style = style_of(comparison.metric, comparison.unit)
    groups = f" in {count(comparison.groups)} groups" if comparison.groups is not None else ""
    interval = f"{style.delta_span(comparison)} {level(comparison.interval)}".strip()
    return row(
        style.label,
        comparison.slice,
        style.value(comparison.baseline),
        style.value(comparison.candidate),
        Cell(style.delta(comparison), change_tone(comparison)),
        Cell(interval, note=comparison.interval.method if comparison.interval else ""),
        f"{count(comparison.n)}{groups}",
        comparison.note or "–",
    )


def _paired(validate: ValidateDetails, whole: Sequence[Comparison]) -> tuple[Block, ...]:
    """Return the paired counts beside the slices, and what there is of neither."""
    counted = next((c for c in whole if c.counts is not None), None)
    parts = _unique([c for c in validate.comparisons if c.slice != "all"])
    cards: list[Figure | Quadrant] = []
    lacking: list[Block] = []
    if counted is not None and counted.counts is not None:
        cards.append(_quadrant(counted, counted.counts))
    else:
        what = "Answers are not right or wrong here, so there are no paired counts."
        lacking.append(missing(what))
    if parts:
        cards.extend(_slice_plots(parts))
        lacking.append(_table("Metrics on each slice", parts, folded=True))
    else:
        what = "No slices were compared; a class or group may be worse unseen."
        lacking.append(missing(what))
    return (*((Figures(tuple(cards)),) if cards else ()), *lacking)


def _quadrant(comparison: Comparison, counts: Counts) -> Quadrant:
    broken, fixed_ = counts.only_baseline_right, counts.only_candidate_right
    parts = [f"The candidate breaks {count(broken)} answers and fixes {count(fixed_)}."]
    if comparison.mcnemar_p is not None:
        parts.append(
            f"If both were equally likely, a split at least this uneven would be seen with "
            f"probability {number(comparison.mcnemar_p, 2)} (McNemar, exact)."
        )
    if comparison.churn is not None:
        ends = _churn_span(comparison.churn_interval)
        parts.append(f"{percent(comparison.churn)} of all answers changed{ends}.")
    else:
        parts.append("The share of changed answers was not measured.")
    return Quadrant(
        both_right=count(counts.both_right),
        broken=count(broken),
        fixed=count(fixed_),
        both_wrong=count(counts.both_wrong),
        conclusion=" ".join(parts),
    )


def _churn_span(interval: Interval | None) -> str:
    if interval is None:
        return ""
    return f", {level(interval)} interval {span(interval, 2, scale=100, sign=False)} %"


def _slice_plots(parts: Sequence[Comparison]) -> tuple[Figure, ...]:
    metrics = tuple(dict.fromkeys(c.metric for c in parts))
    return tuple(
        _slice_plot(metric, [c for c in parts if c.metric == metric], index)
        for index, metric in enumerate(metrics)
    )


def _slice_plot(metric: str, parts: Sequence[Comparison], index: int) -> Figure:
    style = style_of(metric, parts[0].unit)
    scale = 100 if style.share else 1
    shown = parts
    note = ""
    if len(parts) > _DRAWN_SLICES:
        shown = sorted(parts, key=_harm, reverse=True)[:_DRAWN_SLICES]
        note = f"The {_DRAWN_SLICES} worst of {len(parts)} slices are drawn; the table has all."
    margin = next((c.margin for c in shown if c.margin is not None), None)
    higher = parts[0].direction == "higher"
    markers = [Marker(0.0, "no change")]
    if margin is not None:
        place = -scale * margin if higher else scale * margin
        markers.append(Marker(place, "margin", bad="below" if higher else "above"))
    svg = interval_plot(
        f"slices-{index}",
        f"Change of {style.label} on each slice",
        f"{len(shown)} slices with the interval of their change; a line at no change"
        + (" and one at the margin." if margin is not None else "."),
        [_slice_row(c, style, scale) for c in shown],
        write=lambda value: f"{value:+.3g}".replace("-", "\u2212") if value else "0",
        markers=markers,
    )
    unit = "points" if style.share else style.unit
    heading = f"Change of {style.label.lower()} on each slice" + (f" ({unit})" if unit else "")
    return Figure(svg, heading=heading, note=note)


def _harm(comparison: Comparison) -> float:
    """Return how much worse a slice is; one that was not measured counts as the worst."""
    if comparison.delta is None:
        return float("inf")
    return -comparison.delta if comparison.direction == "higher" else comparison.delta


def _slice_row(comparison: Comparison, style: Style, scale: int) -> Row:
    interval = comparison.interval
    delta = comparison.delta
    text = (
        fixed(scale * delta, 2, sign=True)
        if style.share and delta is not None
        else number(delta, 3, sign=True)
    )
    return Row(
        comparison.slice,
        None if delta is None else scale * delta,
        None if interval is None else scale * interval.low,
        None if interval is None else scale * interval.high,
        f"{text}{'' if interval else ' (no interval)'}",
        _LOOKS.get(change_tone(comparison), "candidate"),
    )
