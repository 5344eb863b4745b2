"""Which int8 forms were tried, which was kept and why, and what stayed in floating point."""

from __future__ import annotations

from collections.abc import Sequence

from fulcrum_operator.report.blocks import (
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
from fulcrum_operator.report.formatting import (
    NOT_MEASURED,
    byte_size,
    count,
    factor,
    number,
    percent,
    points,
    ratio,
)
from fulcrum_operator.report.metrics import Style, style_of
from fulcrum_operator.report.plots.intervals import Marker, Row, interval_plot
from fulcrum_operator.report.reading import details
from fulcrum_pipelines.evidence import (
    Evidence,
    QuantizationCandidate,
    QuantizeDetails,
)


def quantization_section(evidence: Evidence) -> Section:
    """Return the candidates with reasons, coverage, and the nodes left in float."""
    title = "Quantization"
    quantize = details(evidence, QuantizeDetails)
    if quantize is None:
        return Section("quantization", title, "", (missing("The recipe did not quantize."),))
    blocks: list[Block | None] = [_facts(quantize)]
    if quantize.candidates:
        blocks += [*_plot(quantize.candidates), _table(quantize)]
    else:
        blocks.append(missing("No candidates were compared."))
    blocks.append(_unquantized(quantize))
    lead = f"Chosen: {quantize.chosen} ({quantize.reason})."
    return Section("quantization", title, lead, only(blocks))


def _facts(quantize: QuantizeDetails) -> Facts:
    peak = quantize.calibration_peak_bytes
    return Facts(
        (
            ("Weights", _weights(quantize)),
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
    return "int8" if quantize.quantized_nodes else "floating point"


def _plot(candidates: Sequence[QuantizationCandidate]) -> tuple[Figures, ...]:
    rows = [
        Row(
            each.name,
            each.speedup.ratio if each.speedup else None,
            each.speedup.interval.low if each.speedup else None,
            each.speedup.interval.high if each.speedup else None,
            factor(each.speedup.ratio) if each.speedup else NOT_MEASURED,
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
        byte_size(each.size_bytes),
        style.value(each.quality),
        change,
        ratio(each.speedup),
        percent(each.int8_coverage, 1),
        each.reason,
    )


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
        folded=len(nodes) > 12,
    )
