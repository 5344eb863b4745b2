"""Requested and achieved pruning, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence

from fulcrum_pipelines.catalog import METRICS
from fulcrum_pipelines.evidence import (
    Evidence,
    LayerSparsity,
    Metric,
    PruneDetails,
    Sensitivity,
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
from fulcrum_pipelines.report.formatting import (
    NOT_MEASURED,
    NOT_RECORDED,
    byte_size,
    count,
    percent,
    short_count,
)
from fulcrum_pipelines.report.metric_styles import in_order, is_worse, style_of
from fulcrum_pipelines.report.plots.bars import Bar, bar_plot
from fulcrum_pipelines.report.plots.heatmap import HeatCell, heatmap
from fulcrum_pipelines.report.reading import details, find_metric

_DRAWN_LAYERS = 40


def pruning_section(evidence: Evidence) -> Section:
    """Return the achieved sparsity and the sensitivity of each layer."""
    title = "Pruning"
    prune = details(evidence, PruneDetails)
    if prune is None:
        return Section("pruning", title, "", (missing("The recipe did not prune."),))
    blocks: list[Block | None] = [
        _facts(prune),
        Note(prune.speed_claim) if prune.speed_claim else None,
        Figures((_layers(prune.layers), *_sensitivity(prune.sensitivity))),
        None if prune.sensitivity else missing("Sensitivity of the layers was not measured."),
        _validation_table(prune.validation_before, prune.validation_after),
        _layer_table(prune.layers),
        _sensitivity_table(prune.sensitivity) if prune.sensitivity else None,
    ]
    return Section("pruning", title, f"Method: {prune.method}.", only(blocks))


def _facts(prune: PruneDetails) -> Facts:
    rounded, statistics = prune.round_to, prune.batch_norm_examples
    asked = "nothing" if prune.asked_sparsity is None else percent(prune.asked_sparsity, 1)
    return Facts(
        (
            ("Sparsity asked", asked),
            ("Sparsity achieved", percent(prune.achieved_sparsity, 1)),
            ("Of all weights, removed", percent(prune.removed_share, 1)),
            ("Left whole", "; ".join(prune.left_whole) or "nothing"),
            ("Channels rounded to", "not rounded" if rounded is None else f"{rounded}"),
            ("Parameters", _arrow(prune.parameters_before, prune.parameters_after)),
            ("Non-zero after", count(prune.nonzero_after)),
            ("Multiply-accumulates", _arrow(prune.macs_before, prune.macs_after)),
            ("File", f"{byte_size(prune.size_bytes)}, gzip {byte_size(prune.gzip_bytes)}"),
            ("Validation", _main(prune.validation_before, prune.validation_after)),
            (
                "Batch norm re-estimated on",
                f"{count(statistics)} examples" if statistics else "none",
            ),
            ("Device", prune.device or NOT_RECORDED),
        )
    )


def _arrow(before: int | None, after: int | None) -> str:
    return f"{short_count(before)} → {short_count(after)}"


def _main(before: Sequence[Metric], after: Sequence[Metric]) -> str:
    """Return the change of the metric that represents quality; the table has the others."""
    for name in in_order(metric.name for metric in before):
        old, new = find_metric(before, name), find_metric(after, name)
        if old is not None and new is not None:
            style = style_of(name, old.unit)
            return f"{style.label} {style.value(old.value)} → {style.value(new.value)}"
    return NOT_MEASURED


def _validation_table(before: Sequence[Metric], after: Sequence[Metric]) -> Table | None:
    """Return the validation metrics before and after pruning, without any training between."""
    if not before and not after:
        return None
    rows = []
    for name in in_order(metric.name for metric in (*before, *after) if metric.slice == "all"):
        old, new = find_metric(before, name), find_metric(after, name)
        style = style_of(name, next((m.unit for m in (old, new) if m is not None), ""))
        values = [style.value(m.value if m is not None else None) for m in (old, new)]
        rows.append(row(style.label, *values))
    names = columns("Metric", "#Before", "#After")
    return Table("Validation before and after pruning", names, tuple(rows), folded=True)


def _layers(layers: Sequence[LayerSparsity]) -> Figure:
    shown = layers
    note = ""
    if len(layers) > _DRAWN_LAYERS:
        shown = sorted(layers, key=lambda layer: layer.sparsity, reverse=True)[:_DRAWN_LAYERS]
        note = f"The {_DRAWN_LAYERS} sparsest of {len(layers)} layers are drawn; the table has all."
    svg = bar_plot(
        "layers",
        "Achieved sparsity of each layer",
        f"{len(shown)} layers; 100 % would leave nothing.",
        [
            Bar(layer.layer, layer.sparsity, percent(layer.sparsity, 1), "candidate")
            for layer in shown
        ],
    )
    return Figure(svg, heading="Achieved sparsity by layer", note=note)


def _layer_table(layers: Sequence[LayerSparsity]) -> Table:
    return Table(
        f"Sparsity of {plural(len(layers), 'layer')}",
        columns("Layer", "#Shape before", "#Shape after", "#Sparsity", "Note"),
        tuple(
            row(
                Cell(layer.layer, code=True),
                _shape(layer.shape_before),
                _shape(layer.shape_after),
                percent(layer.sparsity, 1),
                layer.note or "–",
            )
            for layer in layers
        ),
        folded=True,
    )


def _shape(shape: Sequence[int]) -> str:
    return " × ".join(str(size) for size in shape) or "scalar"


def _sensitivity(measured: Sequence[Sensitivity]) -> tuple[Figure, ...]:
    """Return the grid of layers and sparsities, the most sensitive layers if there are many."""
    if not measured:
        return ()
    metric = measured[0].metric
    points = {(s.layer, s.sparsity): s for s in measured if s.metric == metric}
    layers = list(dict.fromkeys(layer for layer, _ in points))
    note = ""
    if len(layers) > _DRAWN_LAYERS:
        harm: dict[str, float] = {}
        for each in points.values():
            harm[each.layer] = max(abs(each.delta), harm.get(each.layer, 0.0))
        layers = sorted(layers, key=lambda name: harm[name], reverse=True)[:_DRAWN_LAYERS]
        note = f"The {_DRAWN_LAYERS} most sensitive layers are drawn; the table has all."
    shares = sorted({share for _, share in points})
    largest = max(abs(s.delta) for s in points.values()) or 1.0
    style = style_of(metric)
    svg = heatmap(
        "sensitivity",
        f"Change of {style.label} with only this layer pruned",
        f"{len(layers)} layers at {len(shares)} sparsities; the stronger the colour the larger.",
        layers,
        [percent(share, 0) for share in shares],
        [
            [_sensitivity_cell(points.get((name, share)), name, share, largest) for share in shares]
            for name in layers
        ],
        axis="sparsity of the one layer",
    )
    unit = " in points" if style.share else ""
    heading = f"Sensitivity: change of validation {style.label.lower()}{unit}"
    return (Figure(svg, heading=heading, note=note),)


def _sensitivity_cell(
    measured: Sensitivity | None, layer: str, share: float, largest: float
) -> HeatCell:
    if measured is None:
        return HeatCell(0.0, "quiet", "–", f"{layer} at {percent(share, 0)}: not measured")
    style = style_of(measured.metric)
    known = METRICS.get(measured.metric)
    look = "bad" if is_worse(known.direction if known else "higher", measured.delta) else "good"
    delta = percent(measured.delta, 1, sign=True) if style.share else f"{measured.delta:+.3g}"
    text = delta.removesuffix("%").strip().replace("-", "\u2212")
    tip = f"{layer} at {percent(share, 0)}: {style.value(measured.value)}"
    return HeatCell(abs(measured.delta) / largest, look, text, tip)


def _sensitivity_table(measured: Sequence[Sensitivity]) -> Table:
    trials = {(each.layer, each.sparsity) for each in measured}  # one may have several metrics
    return Table(
        f"Sensitivity, {plural(len(trials), 'trial')}",
        columns("Layer", "#Sparsity", "Metric", "#Value", "#Change"),
        tuple(
            row(
                Cell(each.layer, code=True),
                percent(each.sparsity, 0),
                style_of(each.metric).label,
                style_of(each.metric).value(each.value),
                percent(each.delta, 2, sign=True)
                if style_of(each.metric).share
                else f"{each.delta:+.4g}".replace("-", "\u2212"),
            )
            for each in measured
        ),
        folded=True,
    )
