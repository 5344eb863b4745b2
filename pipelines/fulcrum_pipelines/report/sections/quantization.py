"""Which int8 forms were tried, which was kept and why, and what each layer became."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fulcrum_pipelines.evidence import (
    EqualizedPair,
    Evidence,
    LayerBits,
    LayerSparsity,
    PruneDetails,
    QuantizationCandidate,
    QuantizeDetails,
)
from fulcrum_pipelines.report.blocks import (
    Block,
    Cell,
    Facts,
    Figure,
    Figures,
    Section,
    Table,
    columns,
    missing,
    only,
    plural,
    row,
)
from fulcrum_pipelines.report.formatting import (
    byte_size,
    count,
    factor,
    number,
    percent,
    points,
    ratio,
)
from fulcrum_pipelines.report.metric_styles import Style, style_of
from fulcrum_pipelines.report.plots.intervals import Marker, Row, interval_plot
from fulcrum_pipelines.report.reading import details

_FOLDED_ABOVE = 12
_FLOAT_BITS = 32


def quantization_section(evidence: Evidence) -> Section:
    """Return the candidates with reasons, and the layers with bits, sparsity and ranges."""
    title = "Quantization"
    quantize = details(evidence, QuantizeDetails)
    if quantize is None:
        return Section("quantization", title, "", (missing("The recipe did not quantize."),))
    blocks: list[Block | None] = [_facts(quantize)]
    if quantize.candidates:
        blocks += [*_plot(quantize.candidates), _table(quantize)]
    else:
        blocks.append(missing("No candidates were compared."))
    prune = details(evidence, PruneDetails)
    blocks += [
        _unquantized(quantize),
        _bits_table(quantize.layers, prune.layers if prune else ()),
        _equalized_table(quantize.equalized),
    ]
    lead = f"Chosen: {quantize.chosen} ({quantize.reason})."
    return Section("quantization", title, lead, only(blocks))


def _facts(quantize: QuantizeDetails) -> Facts:
    peak = quantize.calibration_peak_bytes
    return Facts(
        (
            ("Weights", _weights(quantize)),
            ("Preferred", quantize.prefer or "nothing: one method was asked for"),
            ("Of all weights, in fewer bits", percent(quantize.weight_share, 1)),
            ("Arithmetic in int8", percent(quantize.int8_coverage, 1)),
            ("Quantized nodes", count(quantize.quantized_nodes)),
            ("Nodes left in float", count(len(quantize.unquantized))),
            ("Calibration examples", count(quantize.calibration_examples)),
            ("Calibration held at most", byte_size(peak)),
            ("ONNX opset", f"{quantize.opset}"),
        )
    )


def _weights(quantize: QuantizeDetails) -> str:
    if quantize.bits is not None:
        return f"{quantize.bits} bits"
    if quantize.layers:
        found = {layer.weight_bits for layer in quantize.layers if layer.weight_bits is not None}
        return f"{' and '.join(map(str, sorted(found)))} bits"
    return "int8" if quantize.quantized_nodes else "floating point"


def _plot(candidates: Sequence[QuantizationCandidate]) -> tuple[Figures, ...]:
    rows = [
        Row(
            each.name,
            each.speedup.ratio if each.speedup else None,
            each.speedup.interval.low if each.speedup else None,
            each.speedup.interval.high if each.speedup else None,
            factor(each.speedup.ratio) if each.speedup else speed_missing(each),
            "candidate" if each.kept else "baseline",
        )
        for each in candidates
    ]
    if all(each.value is None for each in rows):
        return ()
    svg = interval_plot(
        "candidates",
        "Speed-up of each candidate over the float model",
        "; ".join(f"{each.name} {each.text}" for each in rows),
        rows,
        write=lambda value: f"×{value:g}",
        markers=[Marker(1.0, "no difference")],
        from_zero=True,
    )
    note = "Against the model that quantize was given, not the baseline; the chosen one in colour."
    return (Figures((Figure(svg, heading="Speed-up of the candidates", note=note),)),)


def _table(quantize: QuantizeDetails) -> Table:
    style = style_of(quantize.metric)
    return Table(
        "Candidates of the quantizer",
        columns(
            "Candidate",
            "Kept",
            "#Size",
            f"#Validation {style.label.lower()}",
            "#Change",
            "#Speed-up",
            "#In int8",
            "Reason",
        ),
        tuple(_row(each, style) for each in quantize.candidates),
    )


def _row(each: QuantizationCandidate, style: Style) -> tuple[Cell, ...]:
    change = points(each.quality_delta) if style.share else number(each.quality_delta, sign=True)
    return row(
        Cell(each.name, code=True),
        Cell("kept", "good", chip=True) if each.kept else Cell("no", "quiet"),
        byte_size(each.size_bytes or None),  # 0 is a file that could not be built
        style.value(each.quality),
        change,
        ratio(each.speedup) if each.speedup else speed_missing(each),
        percent(each.int8_coverage, 1),
        each.reason,
    )


def speed_missing(each: QuantizationCandidate) -> str:
    """Return why a candidate has no speed-up."""
    return "unreliable" if each.timings else "not timed"


def _unquantized(quantize: QuantizeDetails) -> Block:
    nodes = quantize.unquantized
    if not nodes and quantize.quantized_nodes == 0 and quantize.bits is None:
        return missing("Nothing was quantized: the model stays in floating point.")
    if not nodes:
        return missing("Every node that could be quantized was.")
    return Table(
        f"{plural(len(nodes), 'node')} left in floating point",
        columns("Node", "Operator", "Reason"),
        tuple(row(Cell(n.name, code=True), Cell(n.op_type, code=True), n.reason) for n in nodes),
        folded=len(nodes) > _FOLDED_ABOVE,
    )


def _bits_table(layers: Sequence[LayerBits], pruned: Sequence[LayerSparsity]) -> Block:
    """Return the achieved bits of each layer beside its achieved sparsity."""
    if not layers:
        return missing("The bits of each layer were not recorded.")
    sparsity = {layer.layer: layer.sparsity for layer in pruned}
    return Table(
        f"Bits of {plural(len(layers), 'layer')}, as it runs",
        columns(
            "Layer",
            "Weights",
            "Operator",
            "#Weight bits",
            "#Activation bits",
            "Kernel",
            "#Sparsity",
        ),
        tuple(
            row(
                Cell(each.layer, code=True),
                Cell(each.weights or "–", code=True),
                Cell(each.op_type, code=True),
                _bits(each.weight_bits),
                _bits(each.activation_bits),
                Cell("integer" if each.integer else "floating point", note=each.note),
                _sparsity(each, sparsity),
            )
            for each in layers
        ),
        folded=len(layers) > _FOLDED_ABOVE,
    )


def _bits(bits: int | None) -> str:
    if bits is None:
        return "none read"
    return f"{bits} (float)" if bits == _FLOAT_BITS else f"{bits}"


def _sparsity(layer: LayerBits, sparsity: Mapping[str, float]) -> str:
    """Find the layer where pruning names it by its module and the graph by its parameter."""
    share = sparsity.get(layer.weights, sparsity.get(layer.weights.removesuffix(".weight")))
    return "–" if share is None else percent(share, 1)


def _equalized_table(pairs: Sequence[EqualizedPair]) -> Table | None:
    """Return how uneven the channels of equalised layers were, and are."""
    if not pairs:
        return None
    return Table(
        f"{plural(len(pairs), 'pair')} of layers equalised: widest range of a channel / narrowest",
        columns(
            "First", "Second", "#Channels", "#First before", "#After", "#Second before", "#After"
        ),
        tuple(
            row(
                Cell(pair.first, code=True),
                Cell(pair.second, code=True),
                count(pair.channels),
                number(pair.first_spread_before, 3),
                number(pair.first_spread_after, 3),
                number(pair.second_spread_before, 3),
                number(pair.second_spread_after, 3),
            )
            for pair in pairs
        ),
        folded=len(pairs) > _FOLDED_ABOVE,
    )
