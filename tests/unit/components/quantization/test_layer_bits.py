"""Bits of every layer, as the optimised graph holds them, by the names that the user knows."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import pytest
from model_zoo import FAMILIES
from onnx import TensorProto, helper, numpy_helper
from onnx_graphs import Arrays, GraphBuilder, images, plain_net, residual_net
from quantizing import outputs, run

from fulcrum_components.export import export_onnx
from fulcrum_components.quantization.report import ROUNDED, SIMULATED
from fulcrum_pipelines.evidence import QuantizeDetails

Bits = tuple[str, str, int | None, int | None, bool]
"""Layer, operator, bits of weights and of activations, whether it runs in integers."""


def bits(details: QuantizeDetails) -> list[Bits]:
    return [
        (each.layer, each.op_type, each.weight_bits, each.activation_bits, each.integer)
        for each in details.layers
    ]


@dataclass(frozen=True)
class Case:
    name: str
    expected: list[Bits]
    options: dict[str, object] = field(default_factory=dict)


def everywhere(weights: int, activations: int, integer: bool) -> list[Bits]:
    kinds = {"stem": "Conv", "a": "Conv", "b": "Conv", "head": "Gemm"}
    return [(name, op, weights, activations, integer) for name, op in kinds.items()]


CASES = (
    Case("8 bits", everywhere(8, 8, True), {"method": "static", "reduceRange": "never"}),
    Case("7 bits", everywhere(7, 8, True), {"method": "static", "reduceRange": "always"}),
    Case(
        "7 unsigned bits",
        everywhere(7, 8, True),
        {"method": "static", "weights": "uint8", "reduceRange": "always"},
    ),
    Case("3 bits, simulated", everywhere(3, 32, False), {"method": "weightOnly", "bits": 3}),
    Case(
        "dynamic product behind convolutions in fp32",
        [*everywhere(32, 32, False)[:3], ("head", "Gemm", 8, 8, True)],
        {"method": "dynamic", "reduceRange": "never"},
    ),
    Case(
        "an excluded layer reads rounded activations",
        [
            *everywhere(8, 8, True)[:1],
            ("a", "Conv", 32, 8, False),
            *everywhere(8, 8, True)[2:],
        ],
        {"method": "static", "reduceRange": "never", "exclude": ["a"]},
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bits_of_a_residual_net(case: Case, tmp_path: Path) -> None:
    source = tmp_path / "model.onnx"
    onnx.save(residual_net(), str(source))
    details = run(source, data=Arrays(x=images(32)), **case.options)
    assert bits(details) == case.expected
    assert [each.weights for each in details.layers] == ["stem_w", "a_w", "b_w", "head_w"]


def test_simulated_bits_are_those_of_the_file(tmp_path: Path) -> None:
    """No channel of the written weights has more values than 3 bits can represent."""
    source = tmp_path / "model.onnx"
    onnx.save(residual_net(), str(source))
    details = run(source, method="weightOnly", bits=3, exclude=["b"])
    written = onnx.load(str(source.with_name("int8.onnx"))).graph.initializer
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in written}
    assert [layer.layer for layer in details.layers] == ["stem", "a", "b", "head"]
    for layer in details.layers:
        most = max(len(np.unique(channel)) for channel in weights[layer.weights])
        assert (most <= 2**3) is (layer.weight_bits == 3)
        assert (layer.note == SIMULATED) is (layer.layer != "b")


def test_rounded_weights_with_a_floating_point_kernel_are_reported(tmp_path: Path) -> None:
    """S8S8 at a skip connection: 8-bit weights in the file, a floating-point kernel behind."""
    source = tmp_path / "model.onnx"
    onnx.save(residual_net(), str(source))
    details = run(source, data=Arrays(x=images(16)), method="static", activations="int8")
    unfused = {layer.layer: layer for layer in details.layers if not layer.integer}
    assert set(unfused) == {node.name for node in details.unquantized}
    assert {layer.note for layer in unfused.values()} == {ROUNDED}
    assert {(layer.weight_bits or 0) < 32 for layer in unfused.values()} == {True}


def test_kept_fp32_has_32_bits_everywhere(tmp_path: Path) -> None:
    source = tmp_path / "model.onnx"
    onnx.save(plain_net(), str(source))
    details = run(
        source,
        data=Arrays(x=images(16)),
        method="auto",
        quality=lambda _: 0.9,
        speedup=lambda _: 0.8,
        equalization=True,
    )
    assert details.chosen == "fp32"
    assert details.equalized == ()
    assert "(in the candidates; 4 pairs of layers equalised)" in details.reason
    assert bits(details) == [
        ("conv1", "Conv", 32, 32, False),
        ("depthwise", "Conv", 32, 32, False),
        ("conv2", "Conv", 32, 32, False),
        ("fc1", "Gemm", 32, 32, False),
        ("fc2", "Gemm", 32, 32, False),
    ]


def test_exported_layers_are_named_by_their_parameters(tmp_path: Path) -> None:
    """So that they can be put beside what pruning says of the same parameters."""
    family = FAMILIES["residual CNN"]
    module = family.build()
    source = tmp_path / "model.onnx"
    export_onnx(module, family.signature(), source, example_inputs=family.examples(2))
    x = family.examples(8)
    details = run(source, data=Arrays(**x), method="static", batch=family.examples(1))
    assert {layer.weights for layer in details.layers} == {
        name for name, value in module.named_parameters() if value.ndim > 1
    }


def embedding_attention(path: Path) -> Path:
    """Rows of a table, a product of activations with themselves, and a MatMul by weights."""
    g = GraphBuilder()
    rows = g.node("Gather", [g.weight("table", 50, 16), "x"], "embed")
    turned = g.node("Transpose", [rows], "turn", perm=[0, 2, 1])
    mixed = g.node("MatMul", [g.node("MatMul", [rows, turned], "scores"), rows], "mix")
    y = g.node("MatMul", [mixed, g.weight("out_w", 16, 4)], "out")
    graph = helper.make_graph(
        g.nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.INT64, ["batch", 6])],
        [helper.make_tensor_value_info(y, TensorProto.FLOAT, ["batch", 6, 4])],
        g.constants,
    )
    opsets = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), str(path))
    return path


def test_lookups_and_products_of_activations_are_listed_too(tmp_path: Path) -> None:
    source = embedding_attention(tmp_path / "model.onnx")
    tokens = np.random.default_rng(0).integers(0, 50, (16, 6))
    details = run(
        source,
        data=Arrays(x=tokens),
        batch={"x": tokens[:2]},
        method="static",
        reduceRange="never",
        perChannel=False,
    )
    assert bits(details) == [
        ("embed", "Gather", 8, None, True),
        ("scores", "MatMul", None, 8, True),
        ("mix", "MatMul", None, 8, True),
        ("out", "MatMul", 8, 8, True),
    ]
    assert outputs(source.with_name("int8.onnx"), tokens).shape == (16, 6, 4)
