"""Each layer's bits beside its sparsity, and what equalisation did to it."""

from __future__ import annotations

from builders.details import make_prune, make_quantize
from builders.evidence import make_evidence, make_stage
from builders.figures import make_latency

from fulcrum_pipelines.evidence import Evidence, LayerBits, QuantizeDetails
from fulcrum_pipelines.report import render
from fulcrum_pipelines.report.blocks import Facts, Table
from fulcrum_pipelines.report.formatting import NOT_MEASURED
from fulcrum_pipelines.report.sections.quantization import quantization_section


def evidence(quantize: QuantizeDetails) -> Evidence:
    return make_evidence(
        records=(
            make_stage("prune", details=make_prune()),
            make_stage("quantize", details=quantize),
        )
    )


def table(of: Evidence, caption: str) -> list[list[str]]:
    """Return the cells of the table whose caption has `caption`; none if there is no table."""
    blocks = quantization_section(of).blocks
    found = [block for block in blocks if isinstance(block, Table) and caption in block.caption]
    return [
        [cell.text.replace("\N{NO-BREAK SPACE}", " ") for cell in row]
        for each in found
        for row in each.rows
    ]


def test_bits_are_shown_beside_sparsity() -> None:
    rows = table(evidence(make_quantize()), "Bits of 4 layers")
    assert [(row[1], row[3], row[4], row[5], row[6]) for row in rows] == [
        ("stem.conv.weight", "8", "8", "integer", "50.0 %"),
        ("stage1.block.conv1.weight", "8", "8", "integer", "50.0 %"),
        ("stage1.block.conv2.weight", "8", "8", "integer", "50.0 %"),
        ("head.weight", "8", "8", "integer", "0.0 %"),
    ]


def test_floating_point_and_absent_operands_differ() -> None:
    layers = (
        LayerBits(
            layer="scores", op_type="MatMul", weight_bits=None, activation_bits=8, integer=True
        ),
        LayerBits(
            layer="lstm",
            op_type="LSTM",
            weights="val_3",
            weight_bits=32,
            activation_bits=8,
            integer=False,
            note="held in fewer bits, multiplied in floating point",
        ),
    )
    of = evidence(make_quantize(layers=layers))
    assert table(of, "Bits of 2 layers") == [
        ["scores", "–", "MatMul", "none read", "8", "integer", "–"],
        ["lstm", "val_3", "LSTM", "32 (float)", "8", "floating point", "–"],
    ]
    assert "held in fewer bits, multiplied in floating point" in render(of, None, title="job")


def test_equalised_pairs_are_listed_with_their_spreads() -> None:
    assert table(evidence(make_quantize()), "equalised") == [
        ["node_stage1.block.conv1", "node_stage1.block.conv2", "16", "812", "2.75", "3.50", "2.75"]
    ]
    assert table(evidence(make_quantize(equalized=())), "equalised") == []


def test_weights_are_reported_with_their_bits() -> None:
    layers = tuple(
        LayerBits(
            layer=f"layer{bits}",
            op_type="Conv",
            weight_bits=bits,
            activation_bits=8,
            integer=bits is not None and bits < 32,
        )
        for bits in (32, 7, None)
    )
    section = quantization_section(evidence(make_quantize(bits=None, layers=layers)))
    (facts,) = [block for block in section.blocks if isinstance(block, Facts)]
    assert ("Weights", "7 and 32 bits") in facts.items


def test_candidate_that_was_not_built_has_no_size() -> None:
    failed = make_quantize().candidates[-1].model_copy(update={"size_bytes": 0})
    rows = table(evidence(make_quantize(candidates=(failed,))), "Candidates")
    assert rows[0][2] == NOT_MEASURED


def test_candidate_without_a_speed_says_why() -> None:
    first, second, *_ = make_quantize().candidates
    doubtful = first.model_copy(
        update={"speedup": None, "timings": (make_latency(reliable=False),)}
    )
    spared = second.model_copy(update={"speedup": None})
    rows = table(evidence(make_quantize(candidates=(doubtful, spared))), "Candidates")
    assert [row[5] for row in rows] == ["unreliable", "not timed"]
