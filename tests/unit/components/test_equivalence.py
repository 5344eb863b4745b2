"""Steps that must keep a function: rounding passes, anything else is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from fulcrum_components.equivalence import (
    Array,
    Arrays,
    Function,
    of_module,
    of_onnx,
    require_same,
    run_onnx,
)
from fulcrum_pipelines.errors import QualityError

BATCHES = [{"x": np.random.default_rng(size).normal(size=(size, 8)).astype(np.float32)}
           for size in (2, 5)]  # fmt: skip


def graph(scale: float = 1.0, *, opset: int = 17) -> onnx.ModelProto:
    """Return two layers with outputs `big` (about 1e4 times `small`) and `small`."""
    random = np.random.default_rng(0)
    constants = {
        "w": random.normal(size=(8, 16)),
        "v": random.normal(size=(16, 4)) * scale,
        "k": np.array(1e4),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Tanh", ["h"], ["t"]),
        helper.make_node("MatMul", ["t", "v"], ["small"]),
        helper.make_node("Mul", ["small", "k"], ["big"]),
    ]
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 8])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 4]) for n in ("big", "small")],
        [numpy_helper.from_array(value.astype(np.float32), n) for n, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(made, opset_imports=opsets, ir_version=8)


def numpy_twin(inputs: Arrays) -> list[Array]:
    """Compute the graph in double precision, as another implementation would."""
    constants = {each.name: numpy_helper.to_array(each) for each in graph().graph.initializer}
    hidden = np.tanh(inputs["x"].astype(np.float64) @ constants["w"])
    small = hidden @ constants["v"]
    return [(small * 1e4).astype(np.float32), small.astype(np.float32)]


def compare(after: Callable[[Arrays], list[Array]]) -> float:
    return require_same("the step", of_onnx(graph()), after, BATCHES, ["big", "small"])


def test_another_order_of_sums_passes() -> None:
    assert 0 < compare(numpy_twin) < 0.1


@dataclass(frozen=True)
class Change:
    """How a step changes the outputs, and the expected error."""

    name: str
    change: Callable[[list[Array]], list[Array]]
    says: str


def at(outputs: list[Array], index: int, value: float) -> list[Array]:
    outputs[index][1, 2] = value
    return outputs


CHANGES = (
    Change("scaled", lambda o: [o[0], o[1] * np.float32(1.0001)], "'small' at batch 2: differs"),
    Change("beside big numbers", lambda o: at(o, 1, float(o[1][1, 2]) + 1e-3), "'small'"),
    Change("a channel", lambda o: [o[0], o[1][:, ::-1]], "'small' .* after the step by [0-9]"),
    Change("another example", lambda o: [each[::-1] for each in o], "'big' at batch 2"),
    Change("NaN", lambda o: at(o, 0, np.nan), "'big' .* became nan"),
    Change("infinity", lambda o: at(o, 0, np.inf), "'big' .* became inf"),
    Change("a shape", lambda o: [o[0], o[1][:, :3]], r"shape \[2, 3\] after the step, \[2, 4\]"),
)


@pytest.mark.parametrize("row", CHANGES, ids=lambda row: row.name)
def test_change_is_named_with_step_output_and_size(row: Change) -> None:
    with pytest.raises(QualityError, match=row.says):
        compare(lambda inputs: row.change(numpy_twin(inputs)))


def test_difference_at_another_size_of_batch_is_found() -> None:
    def fixed(inputs: Arrays) -> list[Array]:
        return [each[:2].repeat(3, axis=0)[: len(each)] if len(each) > 2 else each
                for each in numpy_twin(inputs)]  # fmt: skip

    with pytest.raises(QualityError, match="at batch 5"):
        compare(fixed)


def test_equal_nan_and_infinity_are_the_same() -> None:
    def odd(inputs: Arrays) -> list[Array]:
        big, small = numpy_twin(inputs)
        small[0] = [np.nan, np.inf, -np.inf, 1]
        return [big, small]

    assert require_same("it", Function(odd), odd, BATCHES, ["big", "small"]) == 0


def test_whole_numbers_must_be_equal() -> None:
    def labels(inputs: Arrays) -> list[Array]:
        return [numpy_twin(inputs)[1].argmax(axis=1)]

    assert require_same("it", Function(labels), labels, BATCHES, ["label"]) == 0
    with pytest.raises(QualityError, match="'label' at batch 2: differs after it by 1"):
        require_same("it", Function(labels), lambda x: [labels(x)[0] + 1], BATCHES, ["label"])


def test_random_model_is_refused() -> None:
    module = nn.Sequential(nn.Linear(8, 4), nn.Dropout(0.5)).train()

    def run(inputs: Arrays) -> list[Array]:
        with torch.no_grad():
            return [module(torch.from_numpy(inputs["x"])).numpy()]

    with pytest.raises(QualityError, match="is another when the model runs again"):
        require_same("it", of_module(module, run), run, BATCHES, ["y"])


@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.float64])
def test_noise_follows_the_precision_and_weights_come_back(kind: torch.dtype) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4)).to(kind).eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}

    def run(inputs: Arrays) -> list[Array]:
        with torch.no_grad():
            return [module(torch.from_numpy(inputs["x"]).to(kind)).double().numpy()]

    def off(share: float) -> Callable[[Arrays], list[Array]]:
        return lambda inputs: [run(inputs)[0] * (1 + share)]

    unit = torch.finfo(kind).eps
    function = of_module(module, run)
    # inputs are float32, whose own rounding counts where the module is more precise
    require_same("it", function, off(max(unit, 1e-7) / 4), BATCHES, ["y"])
    with pytest.raises(QualityError):
        require_same("it", function, off(max(unit, 1e-7) * 1000), BATCHES, ["y"])
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_scales_that_must_be_exact_are_not_moved() -> None:
    nodes = [helper.make_node("Resize", ["x", "", "s"], ["o"], mode="nearest")]
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 8])],
        [helper.make_tensor_value_info("o", TensorProto.FLOAT, ["N", 24])],
        [numpy_helper.from_array(np.array([1, 3], np.float32), "s")],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert require_same("it", of_onnx(model), run_onnx(model), BATCHES, ["o"]) == 0
