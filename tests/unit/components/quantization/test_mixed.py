"""Convolutions with fixed ranges before an LSTM with ranges found at run time, in one file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx_graphs import Arrays, GraphBuilder, images
from quantizing import outputs, run

from fulcrum_components.quantization.coverage import optimized_graph

HIDDEN = 16
STEPS = 8  # a step of the LSTM is a row of the image: 16 channels x 8 columns
CLASSES = 5


@pytest.fixture
def conv_lstm(tmp_path: Path) -> Path:
    g = GraphBuilder()
    maps = g.relu(g.conv("x", "conv", 3, 16), "relu")
    rows = g.node("Transpose", [maps], "rows", perm=[2, 0, 1, 3])
    shape = g.constant("shape", np.array([STEPS, -1, 16 * 8]))
    sequence = g.node("Reshape", [rows, shape], "sequence")
    weights = [g.weight("w", 1, 4 * HIDDEN, 16 * 8), g.weight("r", 1, 4 * HIDDEN, HIDDEN)]
    g.nodes.append(
        helper.make_node("LSTM", [sequence, *weights], ["", "h"], name="lstm", hidden_size=HIDDEN)
    )
    last = g.node("Squeeze", ["h", g.constant("axis", np.array([0]))], "last")
    y = g.gemm(last, "head", HIDDEN, CLASSES)
    return g.save(tmp_path / "model.onnx", (3, 8, 8), y, CLASSES)


def test_mixed_is_built_runs_and_counts_both_kinds(conv_lstm: Path) -> None:
    x = images(400, seed=2)
    expected = outputs(conv_lstm, x)

    def agreement(path: Path) -> float:
        return float((outputs(path, x).argmax(axis=1) == expected.argmax(axis=1)).mean())

    details = run(
        conv_lstm,
        data=Arrays(x=images(64)),
        method="auto",
        maxDrop=0.1,
        quality=agreement,
        speedup=lambda path: 2.0 if path.stem == "mixed-u8s8" else 0.9,
    )
    coverage = {record.name: record.int8_coverage for record in details.candidates}
    convolution, recurrent, head = 64 * 16 * 27, STEPS * 4 * HIDDEN * (16 * 8 + HIDDEN), HIDDEN * 5
    total = convolution + recurrent + head
    assert coverage["static-u8s8"] == pytest.approx((convolution + head) / total)
    assert coverage["mixed-u8s8"] == 1.0
    assert (details.chosen, details.quantized_nodes, details.unquantized) == ("mixed-u8s8", 3, ())
    assert [(layer.layer, layer.op_type, layer.integer) for layer in details.layers] == [
        ("conv", "Conv", True),
        ("lstm", "LSTM", True),
        ("head", "Gemm", True),
    ]
    target = conv_lstm.with_name("int8.onnx")
    onnx.checker.check_model(onnx.load(str(target)))
    ops = {node.op_type for node in optimized_graph(target).graph.node}
    assert {"QLinearConv", "DynamicQuantizeLSTM", "QGemm"} <= ops
    assert not {"Conv", "ConvInteger", "LSTM"} & ops


def test_mixed_loses_no_more_than_its_parts(conv_lstm: Path) -> None:
    """Errors of independent roundings add up in squares, so the parts foretell the whole."""
    x = images(400, seed=2)
    expected = outputs(conv_lstm, x)
    run(
        conv_lstm,
        data=Arrays(x=images(64)),
        method="auto",
        quality=lambda _: 0.9,
        speedup=lambda _: 2.0,
    )

    def error(name: str) -> float:
        found = outputs(conv_lstm.parent / "work" / f"{name}.onnx", x)
        return float(np.sqrt(np.mean((found - expected) ** 2)))

    parts = np.hypot(error("static-u8s8"), error("dynamic-s8"))
    assert 0 < error("mixed-u8s8") < 1.5 * parts
    assert error("mixed-u8s8") < 0.02 * expected.std()
