"""Running an ONNX file over a data set, and what it refuses."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from onnx import helper
from outcome_makers import Array, dataset_of, save_graph, softmax, write_identity, write_mlp

from fulcrum_components.evaluation import run_onnx, to_outcomes
from fulcrum_components.tasks import Outcomes, find_task
from fulcrum_pipelines.catalog import Meaning, task_of_meaning
from fulcrum_pipelines.errors import UserError

X = np.random.default_rng(1).normal(size=(23, 64)).astype(np.float32)
LABELS = np.arange(23) % 10


def test_logits_become_probabilities_in_the_order_of_the_data(tmp_path: Path) -> None:
    path = write_mlp(tmp_path / "model.onnx", 32)
    raw = ort.InferenceSession(path).run(None, {"x": X})[0]
    columns = {"group": np.array([f"g{i % 3}" for i in range(23)])}
    found = run_onnx(
        path,
        dataset_of(X, LABELS, columns=columns),
        "classification",
        "logits",
        columns=["group"],
        batch_size=5,
    )
    assert found.outputs.dtype == np.float32
    assert np.allclose(found.outputs, softmax(raw.astype(np.float64)), atol=1e-6)
    assert np.array_equal(found.targets, LABELS)
    assert np.array_equal(found.columns["group"], columns["group"])
    assert len(found) == 23


def test_a_model_of_fixed_batch_is_fed_in_its_batch(tmp_path: Path) -> None:
    free = write_mlp(tmp_path / "free.onnx", 32)
    fixed = write_mlp(tmp_path / "fixed.onnx", 32, batch=4)
    data = dataset_of(X, LABELS)
    expected = run_onnx(free, data, "classification", "logits").outputs
    assert np.allclose(
        run_onnx(fixed, data, "classification", "logits").outputs, expected, atol=1e-6
    )


@pytest.mark.parametrize("meaning", ["logits", "probabilities"])
def test_one_output_separates_two_classes(meaning: Meaning) -> None:
    raw = np.array([[0.25], [0.75]], dtype=np.float32)
    found = to_outcomes(raw, np.array([0, 1]), "classification", meaning, where="model").outputs
    expected = 1 / (1 + np.exp(-raw)) if meaning == "logits" else raw
    assert np.allclose(found, np.concatenate([1 - expected, expected], axis=1))


@pytest.mark.parametrize("shape", [(6,), (6, 1), (6, 1, 1)])
@pytest.mark.parametrize("target_shape", [(6,), (6, 1), (6, 1, 1)])
def test_values_pair_up_despite_axes_of_length_1(
    shape: tuple[int, ...], target_shape: tuple[int, ...]
) -> None:
    values = np.arange(6.0)
    raw, targets = values.reshape(shape), values.reshape(target_shape)
    found = to_outcomes(raw, targets, "regression", "value", where="model")
    find_task("regression").check(found, where="spec.data.test")
    np.testing.assert_array_equal(found.outputs, found.targets)


def test_values_of_one_output_are_flat(tmp_path: Path) -> None:
    path = write_identity(tmp_path / "model.onnx", 1)
    x = np.arange(5, dtype=np.float32)[:, None]
    found = run_onnx(path, dataset_of(x, np.arange(5.0)[:, None], "value"), "regression", "value")
    assert found.outputs.shape == found.targets.shape == (5,)


@dataclass(frozen=True)
class Refused:
    """A model that cannot be measured."""

    name: str
    raw: Array
    meaning: Meaning
    says: str
    targets: Array = field(default_factory=lambda: np.array([0, 1]))


SCORES = np.random.default_rng(3).normal(size=(20, 4))
SHARES = softmax(SCORES)
OVER_BATCH = softmax(SCORES.T).T
SIGMOIDS = 1 / (1 + np.exp(-SCORES))
NAN_SECOND = np.array([[1.0, 2.0], [np.nan, 0.0]], dtype=np.float32)
REFUSED = (
    Refused("nan", NAN_SECOND, "logits", "model: .*NaN or infinity for example 1"),
    Refused("infinity", np.array([[np.inf], [1]]), "value", "NaN or infinity for example 0"),
    Refused(
        "logits-as-probabilities", np.array([[0.5, 0.5], [3, -1]]), "probabilities", "example 1"
    ),
    Refused("sums-to-2", np.array([[1.0, 1.0], [0, 1]]), "probabilities", "one sigmoid a class"),
    Refused("sums-to-0.97", np.array([[0.97, 0.0], [0, 1]]), "probabilities", "example 0"),
    Refused("softmax-over-batch", OVER_BATCH, "probabilities", r"softmax over .* classes \(1\)"),
    Refused("softmax-over-one", np.ones((1, 4)), "probabilities", r"not over the batch \(0\)"),
    Refused("percentages", SHARES * 100, "probabilities", r"sums to 100 \(percentages\): divide"),
    Refused("255ths", SHARES * 255, "probabilities", "sums to 255: divide"),
    Refused("halves", SHARES / 2, "probabilities", "sums to 0.5: divide"),
    Refused("percentages-of-one", SIGMOIDS[:, :1] * 100, "probabilities", "if they are percent"),
    Refused("sigmoids", SIGMOIDS, "probabilities", "one sigmoid a class"),
    Refused("sigmoids-times-100", SIGMOIDS * 100, "probabilities", "if they are percentages"),
    Refused("logits", SCORES, "probabilities", "set meaning: logits"),
    Refused("one-logit", SCORES[:, 0], "probabilities", "set meaning: logits"),
    Refused("logits-after-relu", np.maximum(SCORES, 0) * 3, "probabilities", "if they are logits"),
    Refused("a-map", np.zeros((2, 3, 4)), "logits", r"must have shape \(batch, classes\)"),
)


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row.name)
def test_outputs_that_mean_nothing_are_refused(row: Refused) -> None:
    with pytest.raises(UserError, match=row.says):
        to_outcomes(
            row.raw, row.targets, task_of_meaning(row.meaning).name, row.meaning, where="model"
        )


def test_integer_softmax_may_miss_a_sum_of_one() -> None:
    raw = np.array([[0.996, 0.0], [1.004, 0.0]], dtype=np.float32)
    found = to_outcomes(raw, np.array([0, 1]), "classification", "probabilities", where="model")
    assert found.outputs.max() == 1


def test_the_first_bad_example_is_counted_over_batches(tmp_path: Path) -> None:
    path = write_identity(tmp_path / "roots.onnx", 64, "Sqrt")
    x = np.ones((23, 64), dtype=np.float32)
    x[17, 3] = -1
    with pytest.raises(UserError, match=r"roots.onnx: .* example 17 "):
        run_onnx(path, dataset_of(x, LABELS), "classification", "logits", batch_size=4)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"no protobuf")
    with pytest.raises(UserError, match=r"broken.onnx: ONNX Runtime cannot load"):
        run_onnx(path, dataset_of(X, LABELS), "classification", "logits")
    with pytest.raises(UserError, match="no such file"):
        run_onnx(tmp_path / "absent.onnx", dataset_of(X, LABELS), "classification", "logits")


def test_inputs_of_another_width_are_refused_with_what_is_declared(tmp_path: Path) -> None:
    path = write_mlp(tmp_path / "model.onnx", 8, inputs=32)
    with pytest.raises(UserError, match=r"x float32\[23, 64\]; it declares x tensor\(float\)"):
        run_onnx(path, dataset_of(X, LABELS), "classification", "logits")


def test_an_output_without_the_batch_is_refused(tmp_path: Path) -> None:
    node = helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)
    path = save_graph(tmp_path / "model.onnx", [node], ("batch", 64), (), {})
    with pytest.raises(UserError, match="axis 0 must be the batch"):
        run_onnx(path, dataset_of(X, LABELS), "classification", "logits")


def test_data_without_targets_are_refused(tmp_path: Path) -> None:
    path = write_mlp(tmp_path / "model.onnx", 8)
    with pytest.raises(UserError, match="no targets"):
        run_onnx(path, dataset_of(X, None), "classification", "logits")


@dataclass(frozen=True)
class Mismatch:
    """Outcomes whose targets do not fit the outputs."""

    name: str
    outcomes: Outcomes
    task: str
    says: str


THREE = np.full((2, 3), 1 / 3, dtype=np.float32)
MISMATCHES = (
    Mismatch("label-3-of-3", Outcomes(THREE, np.array([0, 3])), "classification", "target 3 of ex"),
    Mismatch("negative", Outcomes(THREE, np.array([-1, 0])), "classification", "knows 0 to 2"),
    Mismatch("fractions", Outcomes(THREE, np.array([0.5, 1])), "classification", "whole numbers"),
    Mismatch("values", Outcomes(THREE[:, 0], np.array([0, 1])), "classification", "examples, clas"),
    Mismatch("two-values", Outcomes(THREE, np.array([0.5, 1])), "regression", r"shape \[3\] an ex"),
    Mismatch("nan", Outcomes(THREE[:, 0], np.array([1, np.nan])), "regression", "not finite"),
)


@pytest.mark.parametrize("row", MISMATCHES, ids=lambda row: row.name)
def test_targets_that_do_not_fit_are_named(row: Mismatch) -> None:
    with pytest.raises(UserError, match=row.says):
        find_task(row.task).check(row.outcomes, where="spec.data.test")
