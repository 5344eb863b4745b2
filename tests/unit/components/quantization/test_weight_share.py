"""Read back from the written file what was done to all weights, even if it is nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_graphs import Arrays, GraphBuilder, images, residual_net
from quantizing import run

from fulcrum_components.quantization.methods import METHODS
from fulcrum_components.stages.headlines import quantized
from fulcrum_pipelines.errors import UserError

TOKENS = np.random.default_rng(0).integers(0, 500, (16, 6))


def embedding_net(path: Path, *, head: bool = True) -> Path:
    """A table of 500 x 8, its mean, and a head of 8 x 3."""
    g = GraphBuilder()
    looked_up = g.node("Gather", [g.weight("table", 500, 8), "ids"], "lookup")
    mean = g.node("ReduceMean", [looked_up, g.constant("axis", np.array([1]))], "mean", keepdims=0)
    output = g.gemm(mean, "head", 8, 3) if head else mean
    inputs = [helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", 6])]
    outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", None])]
    graph = helper.make_graph(g.nodes, "test", inputs, outputs, g.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, str(path))
    return path


def test_share_is_over_all_weights_also_those_that_are_looked_up(tmp_path: Path) -> None:
    source = embedding_net(tmp_path / "m.onnx")
    tokens = {"data": Arrays(ids=TOKENS), "batch": {"ids": TOKENS}}
    whole = run(source, method="dynamic", **tokens)
    assert whole.weight_share == pytest.approx(4024 / 4027)
    part = run(source, method="dynamic", exclude=["lookup"], **tokens)
    assert part.int8_coverage == 1.0
    assert part.weight_share == pytest.approx(24 / 4027)
    assert quantized(part) == (
        "dynamic-s8: 0.6% of all weights and 100.0% of multiply-accumulates in integers"
    )


def test_excluded_gemm_stays_in_floating_point_dynamically(tmp_path: Path) -> None:
    """The dynamic quantizer makes a MatMul of another name of it first."""
    source = tmp_path / "m.onnx"
    onnx.save(residual_net(), str(source))
    details = run(source, method="dynamic", exclude=["head"])
    assert (details.weight_share, details.int8_coverage) == (0.0, 0.0)
    assert "1 node left out: excluded by the recipe" in quantized(details)


@pytest.mark.parametrize("method", ["static", "dynamic"])
def test_table_alone_is_quantized_without_arithmetic(tmp_path: Path, method: str) -> None:
    source = embedding_net(tmp_path / "m.onnx", head=False)
    details = run(source, data=Arrays(ids=TOKENS), batch={"ids": TOKENS}, method=method)
    assert (details.weight_share, details.int8_coverage) == (1.0, 0.0)


def test_rounded_weights_are_a_share_of_all(tmp_path: Path) -> None:
    source = embedding_net(tmp_path / "m.onnx")
    details = run(source, batch={"ids": TOKENS}, method="weightOnly", bits=4, exclude=["lookup"])
    assert quantized(details) == "w4-per-channel: 0.6% of all weights rounded to 4 bits"


def tree(path: Path) -> Path:
    node = helper.make_node(
        "TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", n_targets=1,
        nodes_treeids=[0] * 3, nodes_nodeids=[0, 1, 2], nodes_featureids=[0] * 3,
        nodes_values=[0.0] * 3, nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"],
        nodes_truenodeids=[1, 0, 0], nodes_falsenodeids=[2, 0, 0], target_treeids=[0, 0],
        target_nodeids=[1, 2], target_ids=[0, 0], target_weights=[-1.0, 1.0],
    )  # fmt: skip
    graph = helper.make_graph(
        [node],
        "tree",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 1])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), str(path))
    return path


@pytest.mark.parametrize("method", ["static", "dynamic", "auto"])
def test_tree_has_nothing_to_quantize(tmp_path: Path, method: str) -> None:
    source = tree(tmp_path / "m.onnx")
    x = np.zeros((4, 4), np.float32)
    details = run(source, data=Arrays(x=x), batch={"x": x}, method=method)
    assert (details.chosen, details.weight_share, details.candidates) == ("fp32", 0.0, ())
    assert quantized(details) == (
        "fp32: no MatMul, Gemm or Conv to quantize: the graph has TreeEnsembleRegressor"
    )
    assert source.with_name("int8.onnx").read_bytes() == source.read_bytes()


def conditional() -> onnx.ModelProto:
    """Both branches of an If multiply, and nothing else does."""
    branches = {}
    for name in ("then_branch", "else_branch"):
        product = helper.make_node("MatMul", ["x", "w"], [f"{name}_y"])
        output = helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, ["batch", 2])
        branches[name] = helper.make_graph([product], name, [], [output])
    graph = GraphBuilder()
    graph.weight("w", 4, 2)
    node = helper.make_node("If", ["flag"], ["y"], name="if", **branches)
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4]),
        helper.make_tensor_value_info("flag", TensorProto.BOOL, []),
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])]
    return helper.make_model(helper.make_graph([node], "g", inputs, outputs, graph.constants))


def relu_chain(op_type: str, *constants: str) -> onnx.ModelProto:
    g = GraphBuilder()
    for name in constants:
        g.weight(name, 4, 3, 3, 3)
    return g.model((3, 8, 8), g.node(op_type, ["x", *constants], "node"), 4)


@pytest.mark.parametrize(
    ("model", "method", "words"),
    [
        (conditional(), "static", "has If; MatMul inside the body of an If"),
        (relu_chain("Relu"), "auto", "the graph has Relu"),
        (relu_chain("Conv", "w"), "dynamic", "has Conv; method static quantizes Conv"),
        (relu_chain("Relu"), "weightOnly", "the graph has Relu"),
    ],
)
def test_reason_says_what_the_graph_has(model: onnx.ModelProto, method: str, words: str) -> None:
    found = METHODS[method].nothing_to_quantize(model)
    assert found is not None
    assert words in found


@pytest.mark.parametrize("half", [TensorProto.FLOAT16, TensorProto.BFLOAT16])
def test_half_precision_is_refused_with_what_to_do(tmp_path: Path, half: int) -> None:
    model = residual_net()
    for tensor in model.graph.initializer:
        tensor.data_type = half
        tensor.raw_data = tensor.raw_data[: len(tensor.raw_data) // 2]
    model.graph.input[0].type.tensor_type.elem_type = half
    model.graph.output[0].type.tensor_type.elem_type = half
    onnx.save(model, str(tmp_path / "m.onnx"))
    with pytest.raises(UserError, match=r"float16, for which .* module.float\(\)"):
        run(tmp_path / "m.onnx", data=Arrays(x=images(8)), method="static")
