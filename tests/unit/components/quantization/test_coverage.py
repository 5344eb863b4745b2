"""Multiply-accumulates of optimised graphs, against counts by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_graphs import GraphBuilder, images, plain_net, residual_net

from fulcrum_components.quantization.coverage import measure_coverage
from fulcrum_components.quantization.cpu import cpu_flags, saturates
from fulcrum_components.quantization.integer import IntegerOptions, build_dynamic


def recurrent(op_type: str, gates: int, *, both_ways: bool = False) -> onnx.ModelProto:
    """One recurrent node over (time 5, batch, 3) with 4 hidden units."""
    g = GraphBuilder()
    directions = 2 if both_ways else 1
    weights = [
        g.weight("w", directions, gates * 4, 3),
        g.weight("r", directions, gates * 4, 4),
    ]
    direction = "bidirectional" if both_ways else "forward"
    node = helper.make_node(
        op_type, ["x", *weights], ["y"], name="cell", hidden_size=4, direction=direction
    )
    graph = helper.make_graph(
        [node],
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [5, "batch", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [5, directions, "batch", 4])],
        g.constants,
    )
    opsets = [helper.make_opsetid("", 20)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


@dataclass(frozen=True)
class Counted:
    name: str
    make: Callable[[], onnx.ModelProto]
    x: np.ndarray
    macs: int


CONV = 64 * 9  # positions of an 8 x 8 map times 3 x 3 weights
CASES = (
    Counted(
        "residual net, batch of 2",
        residual_net,
        images(2),
        2 * (CONV * (3 * 16 + 2 * 16 * 16) + 16 * 5),
    ),
    Counted(
        "depthwise net",
        plain_net,
        images(1),
        CONV * (3 * 16 + 16 + 16 * 16) + 16 * 16 + 16 * 5,
    ),
    Counted(
        "LSTM, batch of 2",
        lambda: recurrent("LSTM", 4),
        np.ones((5, 2, 3), np.float32),
        5 * 2 * 4 * 4 * (3 + 4),
    ),
    Counted(
        "BiGRU",
        lambda: recurrent("GRU", 3, both_ways=True),
        np.ones((5, 1, 3), np.float32),
        5 * 2 * 3 * 4 * (3 + 4),
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_macs_are_those_by_hand(case: Counted, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(case.make(), str(path))
    coverage = measure_coverage(path, {"x": case.x})
    assert sum(node.macs for node in coverage.nodes) == case.macs
    assert coverage.share == 0
    assert coverage.integer_nodes == 0


def test_quantized_attention_multiplies_its_projections_only_in_integers(tmp_path: Path) -> None:
    """ONNX Runtime's QAttention: 8 x 24 weights on 2 x 5 positions, then 5 x 5 scores in fp32."""
    g = GraphBuilder()
    weight, bias = g.weight("w", 8, 24), g.weight("b", 24)
    node = helper.make_node(
        "Attention", ["x", weight, bias], ["y"], name="cell", domain="com.microsoft", num_heads=2
    )
    tensors = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 5, 8]) for name in "xy"
    ]
    graph = helper.make_graph([node], "test", tensors[:1], tensors[1:], g.constants)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    source, target = tmp_path / "model.onnx", tmp_path / "int8.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), str(source))
    build_dynamic(source, target, IntegerOptions(per_channel=False))
    coverage = measure_coverage(target, {"x": np.ones((2, 5, 8), np.float32)})
    assert [node.op_type for node in coverage.nodes] == ["QAttention"]
    projections, attention = 2 * 5 * 8 * 24, 2 * 2 * 5 * 5 * 8
    assert coverage.share == pytest.approx(projections / (projections + attention))


@dataclass(frozen=True)
class Cpu:
    name: str
    machine: str
    flags: frozenset[str]
    saturates: bool


CPUS = (
    Cpu("AVX2 only", "x86_64", frozenset({"avx2"}), True),
    Cpu("AVX-512 without VNNI", "x86_64", frozenset({"avx2", "avx512f"}), True),
    Cpu("AVX-512 VNNI", "x86_64", frozenset({"avx2", "avx512_vnni"}), False),
    Cpu("AVX VNNI", "AMD64", frozenset({"avx2", "avx_vnni"}), False),
    Cpu("AMX", "x86_64", frozenset({"amx_int8"}), False),
    Cpu("ARM", "aarch64", frozenset(), False),
)


@pytest.mark.parametrize("cpu", CPUS, ids=lambda cpu: cpu.name)
def test_seven_bits_are_needed_where_products_saturate(cpu: Cpu) -> None:
    assert saturates(cpu.machine, cpu.flags) is cpu.saturates


def test_flags_are_read_from_cpuinfo(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nflags\t\t: fpu avx2 avx_vnni\n")
    assert cpu_flags(cpuinfo) == {"fpu", "avx2", "avx_vnni"}
    assert cpu_flags(tmp_path / "absent") == frozenset()
