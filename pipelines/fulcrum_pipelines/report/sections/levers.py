"""Effects of levers on the test metrics, as "loss 0.0012 → 0.0013 (+1.7 %)", with intervals."""

from __future__ import annotations

from collections.abc import Sequence

from fulcrum_pipelines.catalog import LEVER_METRICS
from fulcrum_pipelines.evidence import Comparison, LeverMetrics, Metric, ValidateDetails
from fulcrum_pipelines.report.blocks import (
    Block,
    Cell,
    Figure,
    Figures,
    Section,
    Table,
    columns,
    missing,
    row,
)
from fulcrum_pipelines.report.formatting import (
    NOT_MEASURED,
    level,
    relative_change,
)
from fulcrum_pipelines.report.metric_styles import Style, in_order, style_of
from fulcrum_pipelines.report.plots.intervals import Row
from fulcrum_pipelines.report.plots.lever_steps import lever_plot
from fulcrum_pipelines.report.reading import find_comparison, find_metric
from fulcrum_pipelines.report.sections.overview import change_tone
from fulcrum_pipelines.report.sections.quality import axis_writer

_SHOWN = 3
"""Metrics whose table is open: loss, mean squared error and accuracy of a classifier."""

LEVER_NAMES = {
    "baseline": "baseline",
    "convert": "candidate",
    "prune": "pruned",
    "finetune": "fine-tuned",
    "quantize": "quantized",
}


def levers_section(validate: ValidateDetails | None) -> Section:
    """Return a plot for each metric, and the table of changes."""
    title = "Effect of each lever"
    lead = "The same test set after each stage: what one step costs, and what the next wins back."
    levers = validate.levers if validate is not None else ()
    if not levers:
        empty = missing("The models between the stages were not measured on test.")
        return Section("levers", title, lead, (empty,))
    names = _metric_names(levers)
    blocks: tuple[Block, ...] = (
        Figures(tuple(_figure(name, levers) for name in names if _is_measured(name, levers))),
        _table("Test metrics after each lever", levers, names[:_SHOWN]),
    )
    if names[_SHOWN:]:
        more = _table("More metrics after each lever", levers, names[_SHOWN:], folded=True)
        blocks = (*blocks, more)
    return Section("levers", title, lead, blocks)


def compared_metrics(levers: Sequence[LeverMetrics]) -> tuple[str, ...]:
    """Return the metrics by which levers are compared: the loss, the squared error, one more."""
    return _metric_names(levers)[:_SHOWN]


def _metric_names(levers: Sequence[LeverMetrics]) -> tuple[str, ...]:
    """Return what was measured, loss and squared error first: levers are compared by them."""
    names = in_order(m.name for lever in levers for m in lever.metrics if m.slice == "all")
    first = tuple(name for name in LEVER_METRICS if name in names)
    return (*first, *(name for name in names if name not in first))


def _is_measured(name: str, levers: Sequence[LeverMetrics]) -> bool:
    found = (find_metric(lever.metrics, name) for lever in levers)
    return any(metric is not None and metric.value is not None for metric in found)


def _figure(name: str, levers: Sequence[LeverMetrics]) -> Figure:
    style = style_of(name)
    steps = tuple(_step(lever, find_metric(lever.metrics, name), style) for lever in levers)
    better = next(
        (m.direction for lever in levers for m in lever.metrics if m.name == name), "higher"
    )
    return Figure(
        lever_plot(
            f"lever-{name}",
            f"{style.label} after each lever",
            "; ".join(f"{step.name} {step.text}" for step in steps),
            steps,
            write=axis_writer(style),
            bounds=style.bounds,
        ),
        heading=f"{style.label} ({better} is better)",
    )


def lever_name(lever: str) -> str:
    """Return what a model is called after a lever."""
    return LEVER_NAMES.get(lever, lever)


def _step(lever: LeverMetrics, metric: Metric | None, style: Style) -> Row:
    value = metric.value if metric is not None else None
    interval = metric.interval if metric is not None else None
    return Row(
        lever_name(lever.lever),
        value,
        None if interval is None else interval.low,
        None if interval is None else interval.high,
        style.value(value),
        "baseline" if lever.lever == "baseline" else "candidate",
    )


def _table(
    caption: str, levers: Sequence[LeverMetrics], names: Sequence[str], *, folded: bool = False
) -> Table:
    return Table(
        caption,
        columns("Metric", "Model", "#Value", "#What this lever changed", "#Against the baseline"),
        tuple(_row(lever, name) for name in names for lever in levers),
        folded=folded,
    )


def _row(lever: LeverMetrics, name: str) -> tuple[Cell, ...]:
    metric = find_metric(lever.metrics, name)
    style = style_of(name, metric.unit if metric is not None else "")
    value = metric.value if metric is not None else None
    interval = metric.interval if metric is not None else None
    shown = Cell(
        style.value(value),
        note=f"{style.interval(interval, value)} {level(interval)}" if value is not None else "",
    )
    if lever.lever == "baseline":
        return row(style.label, lever_name(lever.lever), shown, "–", "–")
    return row(
        style.label,
        lever_name(lever.lever),
        shown,
        _change(find_comparison(lever.against_previous, name), style, values=True),
        _change(find_comparison(lever.against_baseline, name), style, values=False),
    )


def _change(comparison: Comparison | None, style: Style, *, values: bool) -> Cell:
    """Return a change with its interval below, and with the two values where asked for."""
    if comparison is None:
        return Cell("not compared", "quiet")
    if comparison.delta is None:
        return Cell(NOT_MEASURED, "quiet", note=comparison.note)
    text = style.delta(comparison)
    if values:
        before, after = style.value(comparison.baseline), style.value(comparison.candidate)
        relative = relative_change(comparison.baseline, comparison.candidate)
        text = f"{before} → {after} ({text if style.share else relative or text})"
    note = f"{style.delta_span(comparison)} {level(comparison.interval)}".strip()
    return Cell(text, change_tone(comparison), note=f"change {note}" if values else note)
