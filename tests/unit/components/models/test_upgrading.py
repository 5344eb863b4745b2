"""Older operator sets: what is measured and delivered computes what the user's file computes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fulcrum_components.equivalence import run_onnx
from fulcrum_components.graph import upgrade_opset
from fulcrum_components.models import onnx_file
from fulcrum_components.models.onnx_file import load_onnx
from fulcrum_components.models.upgrading import upgrade
from fulcrum_pipelines.errors import QualityError, UserError

N = helper.make_node
IMAGE, ROW, SEQUENCE = (4, 6, 6), (12,), (3, 4)
RANDOM = np.random.default_rng(0)
Case = tuple[str, int, tuple[int, ...], Sequence[onnx.NodeProto], dict[str, Any]]


def floats(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


def scales(factor: float) -> dict[str, np.ndarray]:
    return {"s": np.array([1, 1, factor, factor], np.float32)}


def sampling() -> Iterator[Case]:
    for mode in ("nearest", "linear"):
        for factor in (2.0, 1.5, 3.0):
            for opset in (7, 8):
                node = N("Upsample", ["x"], ["o"], mode=mode, scales=[1.0, 1.0, factor, factor])
                yield f"Upsample {mode} {factor}", opset, IMAGE, [node], {}
            node = N("Upsample", ["x", "s"], ["o"], mode=mode)
            yield f"Upsample {mode} {factor}", 9, IMAGE, [node], scales(factor)
        for factor in (2.0, 1.5, 3.0, 0.5, 0.7):
            node = N("Resize", ["x", "s"], ["o"], mode=mode)
            yield f"Resize {mode} {factor}", 10, IMAGE, [node], scales(factor)
    node = N("Resize", ["x", "", "s"], ["o"], coordinate_transformation_mode="align_corners")
    yield "Resize align_corners", 13, IMAGE, [node], scales(2.0)


def over_axes() -> Iterator[Case]:
    for operation in ("Softmax", "LogSoftmax", "Hardmax"):
        for opset in (7, 11):
            for axis in (None, 0, 1, 2, 3):
                given = {} if axis is None else {"axis": axis}
                node = N(operation, ["x"], ["o"], **given)
                yield f"{operation} axis {axis}", opset, IMAGE, [node], {}
            yield f"{operation} of rows", opset, ROW, [N(operation, ["x"], ["o"])], {}
        yield f"{operation} axis -1", 11, IMAGE, [N(operation, ["x"], ["o"], axis=-1)], {}
        yield f"{operation} axis -2", 11, IMAGE, [N(operation, ["x"], ["o"], axis=-2)], {}
    for axis in (1, 2):
        yield f"Flatten {axis}", 7, IMAGE, [N("Flatten", ["x"], ["o"], axis=axis)], {}
    for operation in ("Sum", "Mean", "Max", "Min", "L1", "L2", "Prod", "LogSumExp", "SumSquare"):
        for opset in (7, 11):
            node = N(f"Reduce{operation}", ["x"], ["o"], axes=[2, 3], keepdims=0)
            yield f"Reduce{operation}", opset, IMAGE, [node], {}


def attributes_that_became_inputs() -> Iterator[Case]:
    for opset in (7, 10):
        bounds = N("Clip", ["x"], ["o"], min=-0.5, max=0.6)
        yield "Clip", opset, IMAGE, [bounds], {}
        yield "Clip below", opset, IMAGE, [N("Clip", ["x"], ["o"], min=0.0)], {}
        pads = [0, 0, 1, 2, 0, 0, 2, 1]
        yield "Pad", opset, IMAGE, [N("Pad", ["x"], ["o"], pads=pads, value=2.5)], {}
        yield "Pad reflect", opset, IMAGE, [N("Pad", ["x"], ["o"], pads=pads, mode="reflect")], {}
        yield "Dropout", opset, IMAGE, [N("Dropout", ["x"], ["o"], ratio=0.5)], {}
    for opset in (7, 11):
        nodes = [N("Unsqueeze", ["x"], ["u"], axes=[1]), N("Squeeze", ["u"], ["o"], axes=[1])]
        yield "Squeeze", opset, IMAGE, nodes, {}
        parts = [N("Split", ["x"], ["p", "q"], axis=1, split=[1, 3]), N("Neg", ["q"], ["o"])]
        yield "Split", opset, IMAGE, parts, {}
    halves = [N("Split", ["x"], ["p", "q"], axis=1), N("Neg", ["q"], ["o"])]
    yield "Split in halves", 7, IMAGE, halves, {}
    node = N("Slice", ["x"], ["o"], axes=[1, 2], starts=[1, 0], ends=[3, -1])
    yield "Slice", 7, IMAGE, [node], {}
    yield "TopK", 7, ROW, [N("TopK", ["x"], ["o", "i"], k=3, axis=1)], {}


def layers() -> Iterator[Case]:
    norm = {"a": floats(4), "b": floats(4), "m": floats(4), "v": np.abs(floats(4)) + 1}
    for opset in (7, 8, 9, 14):
        node = N("BatchNormalization", ["x", "a", "b", "m", "v"], ["o"], epsilon=1e-3)
        yield "BatchNormalization", opset, IMAGE, [node], norm
    window = {"kernel_shape": [3, 3], "strides": [2, 2]}
    for padded in (0, 1):
        node = N("AveragePool", ["x"], ["o"], pads=[1] * 4, count_include_pad=padded, **window)
        yield f"AveragePool {padded}", 7, IMAGE, [node], {}
    yield "AveragePool ceil", 10, IMAGE, [N("AveragePool", ["x"], ["o"], ceil_mode=1, **window)], {}
    yield "MaxPool ceil", 10, IMAGE, [N("MaxPool", ["x"], ["o"], ceil_mode=1, **window)], {}
    same = N("MaxPool", ["x"], ["o"], auto_pad="SAME_UPPER", **window)
    yield "MaxPool same", 8, IMAGE, [same], {}
    conv = N("Conv", ["x", "w"], ["o"], strides=[2, 2], auto_pad="SAME_LOWER")
    yield "Conv same", 7, IMAGE, [conv], {"w": floats(2, 4, 3, 3)}
    gemm = N("Gemm", ["x", "w", "b"], ["o"], alpha=0.5, beta=2.0)
    for opset in (7, 9, 11):
        yield "Gemm", opset, ROW, [gemm], {"w": floats(12, 5), "b": floats(5)}
    yield "PRelu", 7, IMAGE, [N("PRelu", ["x", "b"], ["o"])], {"b": floats(4, 1, 1)}
    yield "DepthToSpace", 10, IMAGE, [N("DepthToSpace", ["x"], ["o"], blocksize=2)], {}
    turned = N("Transpose", ["x"], ["t"], perm=[1, 0, 2])
    for gates, operation in ((4, "LSTM"), (3, "GRU")):
        weights = {"w": floats(1, gates * 5, 4), "r": floats(1, gates * 5, 5)}
        names = ["", "h"]
        node = N(operation, ["t", "w", "r"], names, hidden_size=5)
        back = N("Squeeze", ["h"], ["o"], axes=[0])
        yield operation, 7, SEQUENCE, [turned, node, back], weights


CASES = [*sampling(), *over_axes(), *attributes_that_became_inputs(), *layers()]


def write(path: Path, case: Case, *, runs: bool = True) -> Path:
    """Write a graph of an old operator set."""
    _, opset, shape, nodes, constants = case
    kinds = {"f": TensorProto.FLOAT, "i": TensorProto.INT64}
    old = [
        helper.make_tensor_value_info(name, kinds[value.dtype.kind], value.shape)
        for name, value in constants.items()
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *shape]), *old],
        [helper.make_tensor_value_info("o", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=4)
    sizes = run_onnx(model)({"x": np.ones((2, *shape), np.float32)})[0].shape if runs else shape
    result = helper.make_tensor_value_info(
        "o", TensorProto.FLOAT, ["N", *(sizes[1:] if runs else sizes)]
    )
    model.graph.output[0].CopyFrom(result)
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize(
    ("case", "target"),
    [
        pytest.param(case, target, id=f"{case[0]} from {case[1]} to {target}")
        for case in CASES
        for target in (13, 17)
        if case[1] < target
    ],
)
def test_upgraded_graph_computes_the_same(case: Case, target: int, tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx", case)
    upgraded = upgrade(onnx.load(str(path)), case[1], target)
    for size in (2, 5):
        inputs = {"x": np.random.default_rng(size).normal(size=(size, *case[2])).astype(np.float32)}
        expected, found = run_onnx(path)(inputs)[0], run_onnx(upgraded)(inputs)[0]
        # the same kernels on the same numbers; only pooling and softmax go other ways
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["Upsample linear 2.0", "Resize nearest 0.7", "Hardmax axis 1"])
def test_load_gives_the_function_of_the_file(name: str, tmp_path: Path) -> None:
    case = next(case for case in CASES if case[0] == name)
    path = write(tmp_path / "m.onnx", case)
    ready, _, notes = load_onnx(path, cache_dir=tmp_path / "cache", task="regression")
    assert notes == (f"the operator set was upgraded from {case[1]} to 17",)
    inputs = {"x": np.random.default_rng(3).normal(size=(3, *case[2])).astype(np.float32)}
    np.testing.assert_array_equal(run_onnx(ready)(inputs)[0], run_onnx(path)(inputs)[0])


def test_upgrade_that_changes_the_function_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(model: onnx.ModelProto, source: int, target: int) -> onnx.ModelProto:
        upgraded = upgrade(model, source, target)
        for node in upgraded.graph.node:
            if node.op_type == "Clip":
                node.op_type = "Relu"
                del node.input[1:]
        return upgraded

    case = next(case for case in CASES if case[0] == "Clip")
    path = write(tmp_path / "m.onnx", case)
    monkeypatch.setattr(onnx_file, "upgrade", broken)
    says = r"output 'o' at batch 2.*the operator set was upgraded from 7 to 17 by \d.*opset 17"
    with pytest.raises(QualityError, match=says):
        load_onnx(path, cache_dir=tmp_path / "cache", task="regression")


def test_operator_set_that_nothing_runs_is_refused(tmp_path: Path) -> None:
    norm = {"a": floats(4), "b": floats(4), "m": floats(4), "v": np.abs(floats(4)) + 1}
    node = N("BatchNormalization", ["x", *norm], ["o"], is_test=1)
    path = write(tmp_path / "m.onnx", ("", 6, IMAGE, [node], norm), runs=False)
    with pytest.raises(UserError, match=r"cannot be compared .* opset 17 or newer"):
        load_onnx(path, cache_dir=tmp_path / "cache", task="regression")


def test_graph_that_is_new_enough_is_left(tmp_path: Path) -> None:
    model = onnx.load(str(write(tmp_path / "m.onnx", CASES[-1])))
    assert upgrade_opset(model, 7) is model
