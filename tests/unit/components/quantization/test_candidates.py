"""Which candidates `auto` tries: layers left out of dynamic, products only, other scales."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx_graphs import Arrays, GraphBuilder
from quantizing import outputs, run

from fulcrum_components.quantization.building import Builder, Candidate
from fulcrum_components.quantization.candidates import explore
from fulcrum_pipelines.evidence import QuantizeDetails
from fulcrum_pipelines.resources.compressionjob import Quantize

HIDDEN, FEATURES = 32, 8


def two_lstms(path: Path) -> Path:
    """Two LSTM layers over (time, batch, features), and a head on the last state.

    The first feature is 300 times as large as the others and has weights of nearly nothing: 8 bits
    over the range of all features lose the others, so the first layer must stay in fp32.
    """
    g = GraphBuilder()
    g.weight("w1", 1, 4 * HIDDEN, FEATURES)
    g.weight("w2", 1, 4 * HIDDEN, HIDDEN)
    first = onnx.numpy_helper.to_array(g.constants[0]).copy()
    first[..., 0] /= 1e5
    g.constants[0].CopyFrom(onnx.numpy_helper.from_array(first, "w1"))
    recurrent = [g.weight(f"r{layer}", 1, 4 * HIDDEN, HIDDEN) for layer in (1, 2)]
    g.constant("axis", np.array([1]))
    g.constant("axis0", np.array([0]))
    nodes = [
        helper.make_node(
            "LSTM", ["x", "w1", recurrent[0]], ["a"], name="lstm1", hidden_size=HIDDEN
        ),
        helper.make_node("Squeeze", ["a", "axis"], ["b"], name="squeeze1"),
        helper.make_node(
            "LSTM", ["b", "w2", recurrent[1]], ["", "c"], name="lstm2", hidden_size=HIDDEN
        ),
        helper.make_node("Squeeze", ["c", "axis0"], ["d"], name="squeeze2"),
        helper.make_node("MatMul", ["d", g.weight("head_w", HIDDEN, 6)], ["y"], name="head"),
    ]
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [12, "batch", FEATURES])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 6])],
        g.constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))
    return path


def sequences(count: int, seed: int) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=(12, count, FEATURES)).astype(np.float32)
    x[..., 0] *= 300
    return x


class Sequences(Arrays):
    """Examples are numbered along the second axis."""

    def batches(self, batch_size: int, **_: object):  # type: ignore[no-untyped-def]
        yield from Arrays(x=self.inputs["x"][:, :batch_size]).batches(12)


def choose(
    source: Path, data: Arrays, validation: np.ndarray, **options: object
) -> QuantizeDetails:
    expected = outputs(source, validation).argmax(axis=1)
    return run(
        source,
        data=data,
        method="auto",
        maxDrop=0.05,
        quality=lambda path: float((outputs(path, validation).argmax(axis=1) == expected).mean()),
        speedup=lambda _: 2.0,
        batch={"x": validation[:, :1] if validation.ndim == 3 else validation[:1]},
        **options,
    )


def test_lstm_keeps_quality_with_its_first_layer_in_float(tmp_path: Path) -> None:
    """Agreement with fp32 on 400 sequences: all layers in int8 .66, the first in fp32 1.00."""
    source = two_lstms(tmp_path / "m.onnx")
    details = choose(source, Sequences(x=sequences(8, 1)), sequences(400, 2))
    quality = {record.name: record.quality for record in details.candidates}
    assert (quality["dynamic-s8"] or 0) < 0.9
    assert details.chosen == "dynamic-s8-without-1"
    (left,) = [node for node in details.unquantized if node.op_type == "LSTM"]
    assert (left.name, left.reason) == ("lstm1", "left in fp32 to keep the quality")
    assert not [name for name in quality if "entropy" in name]  # static has nothing to do here


def gated_net(path: Path) -> Path:
    """Two products, and half of the channels 300 times as large as the rest between them.

    8 bits over the range of the large ones lose the others, and both count alike in the end.
    """
    g = GraphBuilder()
    first = g.gemm("x", "first", 16, 64)
    g.constant("many", np.repeat(np.float32([300, 1.0]), 32)[None])
    scaled = g.node("Mul", [first, "many"], "scaled")
    g.constant("few", np.repeat(np.float32([1 / 300, 1.0]), 32)[None])
    back = g.node("Mul", [g.relu(scaled, "relu"), "few"], "back")
    return g.save(path, (16,), g.gemm(back, "second", 64, 6), 6)


def test_products_alone_keep_what_operators_between_them_lose(tmp_path: Path) -> None:
    """Agreement with fp32 on 1,000 examples: everything quantized .63, products only .99."""
    source = gated_net(tmp_path / "m.onnx")
    normal = np.random.default_rng(0).normal(size=(1200, 16)).astype(np.float32)
    expected = outputs(source, normal[:1000]).argmax(axis=1)
    details = run(
        source,
        data=Arrays(x=normal[1000:]),
        method="auto",
        maxDrop=0.05,
        quality=lambda path: float(
            (outputs(path, normal[:1000]).argmax(axis=1) == expected).mean()
        ),
        speedup=lambda path: 2.0 if path.stem.startswith("static-u8s8") else 0.5,
        batch={"x": normal[:1]},
    )
    names = [record.name for record in details.candidates]
    assert names[:2] == ["static-u8s8", "static-u8s8-products"]
    assert "static-u8s8-entropy" not in names
    assert details.chosen == "static-u8s8-products"


@dataclass(frozen=True)
class Unbuildable:
    """A candidate for which ONNX Runtime's quantizer failed."""

    candidate: Candidate
    built: None = None
    keeps_quality: bool = False
    drop: float = math.inf


def test_per_tensor_scales_are_tried_where_per_channel_fails() -> None:
    builder = SimpleNamespace(
        options=Quantize(), model=onnx.helper.make_model(onnx.helper.make_graph([], "g", [], []))
    )
    tried = explore(cast(Builder, builder), 0.01, Unbuildable)
    assert [each.candidate.name("int8") for each in tried][:2] == [
        "static-u8s8",
        "static-u8s8-per-tensor",
    ]


def test_names_say_how_a_candidate_was_made() -> None:
    made = Candidate(
        "static", "uint8", ("a", "b"), "entropy", products_only=True, per_channel=False
    )
    assert made.name("int8") == "static-u8s8-products-per-tensor-entropy-without-2"
    assert Candidate("dynamic", per_channel=True).name("int8") == "dynamic-s8-per-channel"
