"""A table that is tied to the output is held once in the file, and read as one."""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_graphs import Arrays
from quantizing import run

from fulcrum_components.graph import open_session, run_session

ROWS, WIDTH = 300, 16
TOLERANCE = 0.05  # of the output's deviation; one scale for another row's would give 0.5
IDS = {"x": np.random.default_rng(3).integers(0, ROWS, (32, 7))}
FORMS = {
    "copied": [("MatMul", "h copy", "o")],
    "transposed": [("Transpose", "table", "t"), ("MatMul", "h t", "o")],
    "gemm": [("ReduceMean", "h axes", "m"), ("Gemm", "m table", "o")],
    "two products": [("MatMul", "h copy", "p"), ("MatMul", "h copy", "q"), ("Add", "p q", "o")],
}
ATTRIBUTES = {"Gemm": {"transB": 1}, "ReduceMean": {"keepdims": 0}}


def build(path: Path, form: str, *, twice: bool = False) -> Path:
    """Write a table that is looked up, a hidden product, and a product by the table transposed."""
    generator = np.random.default_rng(5)
    table, hidden = (
        generator.normal(size=(size, WIDTH)).astype(np.float32) for size in (ROWS, WIDTH)
    )
    table *= np.linspace(0.2, 2, ROWS, dtype=np.float32)[:, None]  # rows differ in scale
    constants = {"table": table, "hidden": hidden, "axes": np.array([1])}
    if any("copy" in inputs for _, inputs, _ in FORMS[form]):
        constants["copy"] = np.ascontiguousarray(table.T)
    first = [("Gather", "table x", "r"), ("MatMul", "r hidden", "h")]
    if twice:
        first[:1] = [
            ("Gather", "table x", "r1"),
            ("Gather", "table x", "r2"),
            ("Add", "r1 r2", "r"),
        ]
    nodes = [
        helper.make_node(op, inputs.split(), [output], name=output, **ATTRIBUTES.get(op, {}))
        for op, inputs, output in (*first, *FORMS[form])
    ]
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.INT64, ["batch", 7])],
        [helper.make_tensor_value_info("o", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 20)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    onnx.save(onnx.shape_inference.infer_shapes(model), str(path))
    return path


def tables(path: Path) -> list[int]:
    """Return the types of the constants that are as large as the table."""
    tensors = onnx.load(str(path)).graph.initializer
    return [tensor.data_type for tensor in tensors if prod(tensor.dims) == ROWS * WIDTH]


def difference(source: Path) -> float:
    """Return the root of the mean squared error, in deviations of the output."""
    fp32, quantized = (
        run_session(open_session(path), IDS)[0] for path in (source, source.with_name("int8.onnx"))
    )
    return float(np.sqrt(((quantized - fp32) ** 2).mean()) / fp32.std())


@pytest.mark.parametrize("weights", ["int8", "uint8"])
@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("method", ["static", "dynamic"])
@pytest.mark.parametrize("form", FORMS)
def test_table_is_quantized_and_stored_once(
    form: str, method: str, per_channel: bool, weights: str, tmp_path: Path
) -> None:
    source = build(tmp_path / "model.onnx", form)
    details = run(source, data=Arrays(**IDS), batch=IDS, method=method, perChannel=per_channel,
                  weights=weights)  # fmt: skip
    (kind,) = tables(source.with_name("int8.onnx"))
    assert kind == {"int8": TensorProto.INT8, "uint8": TensorProto.UINT8}[weights]
    assert difference(source) < TOLERANCE
    assert details.weight_share > 0.95
    assert "r" in {layer.layer for layer in details.layers if layer.integer}


@pytest.mark.parametrize("method", ["static", "dynamic"])
def test_all_lookups_of_a_table_read_the_same(method: str, tmp_path: Path) -> None:
    source = build(tmp_path / "model.onnx", "copied", twice=True)
    run(source, data=Arrays(**IDS), batch=IDS, method=method)
    assert len(tables(source.with_name("int8.onnx"))) == 1
    assert difference(source) < TOLERANCE


@pytest.mark.parametrize("form", FORMS)
def test_simulated_bits_are_counted_once(form: str, tmp_path: Path) -> None:
    source = build(tmp_path / "model.onnx", form)
    details = run(source, batch=IDS, method="weightOnly", bits=8)
    assert tables(source.with_name("int8.onnx")) == [TensorProto.FLOAT]
    assert difference(source) < TOLERANCE
    assert details.weight_share > 0.95
    assert details.accounted_bytes < 2 * ROWS * WIDTH


@pytest.mark.parametrize("method", ["static", "dynamic", "weightOnly"])
@pytest.mark.parametrize("excluded", ["r", "o"])
def test_excluded_reader_keeps_its_floats(excluded: str, method: str, tmp_path: Path) -> None:
    source = build(tmp_path / "model.onnx", "copied")
    bits = {"bits": 4} if method == "weightOnly" else {}
    run(source, data=Arrays(**IDS), batch=IDS, method=method, exclude=[excluded], **bits)
    assert TensorProto.FLOAT in tables(source.with_name("int8.onnx"))
    if excluded == "o" or method == "weightOnly":
        assert len(tables(source.with_name("int8.onnx"))) == 1


def test_tables_that_only_look_alike_stay_apart(tmp_path: Path) -> None:
    source = build(tmp_path / "model.onnx", "copied")
    model = onnx.load(str(source))
    copy = next(tensor for tensor in model.graph.initializer if tensor.name == "copy")
    copy.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(copy), "copy"))
    onnx.save(model, str(source))
    run(source, data=Arrays(**IDS), batch=IDS, method="dynamic")
    assert len(tables(source.with_name("int8.onnx"))) == 2
    assert difference(source) < TOLERANCE
