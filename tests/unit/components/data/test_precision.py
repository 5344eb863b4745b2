"""Numbers keep their digits until the difference is taken, and what is lost is said."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_files import SIGNATURE

from fulcrum_components.data import open_dataset
from fulcrum_components.data.dataset import TableDataset
from fulcrum_components.evaluation.running import to_outcomes
from fulcrum_components.models.signature import Signature, TensorSpec
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.resources.compressionjob import DataSource

COUNT = 40
GENERATOR = np.random.default_rng(5)
NORMAL = GENERATOR.normal(size=(COUNT, 4))
SECONDS = 1.7e9 + np.arange(COUNT * 4).reshape(COUNT, 4)[::-1] * 0.25
IDS = np.arange(COUNT * 4).reshape(COUNT, 4) + 2**24 + 1


@dataclass(frozen=True)
class TestCase:
    """Inputs of a model.

    Attributes:
        name: What is special about them.
        values: The inputs.
        dtype: What the model takes.
        note: Words of the note, or nothing where digits are kept or do not matter.
        error: Words of the error.
        scale: Factor, if any.
    """

    __test__ = False

    name: str
    values: Any
    dtype: str = "float32"
    note: str = ""
    error: str = ""
    scale: float | None = None


CASES = (
    TestCase("float64", NORMAL),
    TestCase("float64 for float64", SECONDS, "float64"),
    TestCase("large and spread", NORMAL * 1e9 + 0.5),
    TestCase("large in steps of 2^40", np.arange(COUNT * 4).reshape(COUNT, 4) << 40),
    TestCase("bytes", (NORMAL * 30).astype(np.int8)),
    TestCase("constant", np.full((COUNT, 4), 1.7e9 + 0.3)),
    TestCase("times in seconds", SECONDS + 0.1, note="float32 cannot hold all digits: 1700000"),
    TestCase("times in whole seconds", np.floor(SECONDS), note="cannot hold all digits"),
    TestCase("times, scaled", SECONDS, scale=1e-9, note="cannot hold all digits"),
    TestCase("ids", IDS, note="16777217 of example 0 becomes 16777216"),
    TestCase("ids as float64", IDS.astype(np.float64), note="16777217.0 of example 0"),
    TestCase("ids as uint32", IDS.astype(np.uint32), note="input 'x' is uint32"),
    TestCase("ids above 2^53", IDS + 2**60, "float64", note="cannot hold all digits"),
    TestCase("whole for float16", np.full((COUNT, 4), 2049), "float16", note="2049 of example 0"),
    TestCase("ids for int64", IDS + 2**60, "int64"),
    TestCase("whole fractions for int64", np.floor(NORMAL * 100), "int64"),
    TestCase("uint64 for int64", IDS.astype(np.uint64), "int64"),
    TestCase("fractions for int64", NORMAL, "int64", error="is float64[n, 4], but the model takes"),
    TestCase("too large for int32", IDS << 10, "int32", error="does not fit the model's int32"),
    TestCase("fractions too large", np.full((COUNT, 4), 2.0**60), "int64", error="takes int64"),
    TestCase("uint64 beyond int64", np.full((COUNT, 4), 2**63, np.uint64), "int64", error="int64"),
    TestCase("negative for uint8", np.full((COUNT, 4), -1), "uint8", error="model's uint8"),
    TestCase("0 and 1 for bool", (NORMAL > 0).astype(np.int64), "bool"),
    TestCase("2 for bool", np.full((COUNT, 4), 2), "bool", error="but the model takes bool"),
    TestCase("spans of time", np.zeros((COUNT, 4), "m8[s]"), error="timedelta64[s][n, 4]"),
    TestCase("dates for int64", np.zeros((COUNT, 4), "M8[s]"), "int64", error="datetime64[s]"),
    TestCase("big endian", NORMAL.astype(">f8")),
    TestCase("big endian whole", (NORMAL * 100).astype(">i4"), "int64"),
    TestCase("column order", np.asfortranarray(NORMAL)),
    TestCase("float16", NORMAL.astype(np.float16)),
)


def opened(case: TestCase, root: Path) -> TableDataset:
    """Write the inputs of a case and open them."""
    np.savez(root / "d.npz", x=case.values, y=np.arange(COUNT) % 3)
    inputs = (TensorSpec("x", ("batch", 4), case.dtype),)
    signature = Signature(inputs, SIGNATURE.outputs, "logits")
    source = DataSource(uri=f"file://{root}/d.npz", scale=case.scale)
    return open_dataset(source, signature, "classification", where="spec.data.test", cache_dir=root)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_inputs_keep_digits_or_say_so(case: TestCase, tmp_path: Path) -> None:
    if case.error:
        with pytest.raises(UserError) as caught:
            list(opened(case, tmp_path).batches(COUNT))
        assert case.error in str(caught.value)
        return
    dataset = opened(case, tmp_path)
    (batch,) = dataset.batches(COUNT)
    found = batch.inputs["x"]
    assert found.dtype == np.dtype(case.dtype)
    wanted = case.values if case.scale is None else case.values * case.scale
    np.testing.assert_array_equal(found, wanted.astype(case.dtype))
    notes = list(dataset.notes)
    assert len(notes) == (1 if case.note else 0), notes
    assert case.note in "".join(notes)


def test_csv_of_times_loses_nothing_on_the_way_to_float64(tmp_path: Path) -> None:
    rows = ["a,b,c,d,y", *(f"{','.join(map(repr, row.tolist()))},0.125" for row in SECONDS)]
    (tmp_path / "d.csv").write_text("\n".join(rows))
    inputs = (TensorSpec("x", ("batch", 4), "float64"),)
    signature = Signature(inputs, (TensorSpec("o", ("batch", 1), "float64"),), "value")
    source = DataSource(uri=f"file://{tmp_path}/d.csv", inputs={"x": "a:d"})
    dataset = open_dataset(source, signature, "regression", where="test", cache_dir=tmp_path / "c")
    (batch,) = dataset.batches(COUNT)
    np.testing.assert_array_equal(batch.inputs["x"], SECONDS)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_targets_stay_float64(dtype: str, tmp_path: Path) -> None:
    times = SECONDS[:, 0] + 0.1
    np.savez(tmp_path / "d.npz", x=NORMAL.astype(np.float32), y=times)
    output = TensorSpec("o", ("batch", 1), dtype)
    signature = Signature(SIGNATURE.inputs, (output,), "value")
    source = DataSource(uri=f"file://{tmp_path}/d.npz")
    dataset = open_dataset(source, signature, "regression", where="test", cache_dir=tmp_path / "c")
    assert dataset.targets is not None
    assert dataset.targets.tolist() == times.tolist()
    assert ("the model's float32 cannot hold" in "".join(dataset.notes)) == (dtype == "float32")


@dataclass(frozen=True)
class Shapes:
    """Shapes of targets and of an output an example; words of the note or of the error."""

    targets: tuple[int, ...]
    output: tuple[int | str, ...]
    note: str = ""
    error: str = ""


SHAPES = (
    Shapes((), ()),
    Shapes((), (1,)),
    Shapes((1,), (1,)),
    Shapes((2,), (2,)),
    Shapes((2,), ("length",)),
    Shapes((1,), (), note="the shape [n, 1] and the model gives float32[batch]"),
    Shapes((), (1, 1), note="[n] and the model gives float32[batch, 1, 1]; axes of length 1"),
    Shapes((1, 1), (), note="the shape [n, 1, 1]"),
    Shapes((1,), (1, 1), note="the shape [n, 1]"),
    Shapes((2,), (1, 2), note="the shape [n, 2]"),
    Shapes((2, 1), (2,), note="the shape [n, 2, 1]"),
    Shapes((3, 1), ("length",), note="the shape [n, 3, 1]"),
    Shapes((), (2,), error="[n], but the model gives float32[batch, 2]; store targets as [n, 2],"),
    Shapes((2,), (), error="store targets as [n], or give a model whose first output is [batch, 2"),
    Shapes((2,), (3,), error="store targets as [n, 3]"),
    Shapes((3, 2), (2, 3), error="store targets as [n, 2, 3]"),
    Shapes((6,), (2, 3), error="store targets as [n, 2, 3]"),
    Shapes((), ("length",), error="store targets as [n, length]"),
)


@pytest.mark.parametrize("case", SHAPES, ids=lambda case: f"{case.targets}-{case.output}")
def test_targets_may_differ_in_axes_of_length_1(case: Shapes, tmp_path: Path) -> None:
    targets = np.arange(COUNT * math.prod(case.targets)).reshape(COUNT, *case.targets) / 8
    np.savez(tmp_path / "d.npz", x=NORMAL.astype(np.float32), y=targets)
    output = TensorSpec("o", ("batch", *case.output), "float32")
    signature = Signature(SIGNATURE.inputs, (output,), "value")
    source = DataSource(uri=f"file://{tmp_path}/d.npz")
    where = {"where": "test", "cache_dir": tmp_path / "c"}
    if case.error:
        with pytest.raises(UserError) as caught:
            open_dataset(source, signature, "regression", **where)
        assert case.error in str(caught.value)
        return
    dataset = open_dataset(source, signature, "regression", **where)
    (batch,) = dataset.batches(COUNT)
    np.testing.assert_array_equal(batch.targets, targets)
    notes = list(dataset.notes)
    assert len(notes) == (1 if case.note else 0), notes
    assert case.note in "".join(notes)


def test_outcomes_of_float64_models_stay_float64() -> None:
    times = SECONDS[:, :1]
    outcomes = to_outcomes(times + 20.0, times, "regression", "value", where="test")
    assert outcomes.outputs.dtype == np.float64
    np.testing.assert_allclose(outcomes.outputs - outcomes.targets, 20.0, rtol=0)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_outcomes_of_other_models_are_float32(dtype: Any) -> None:
    outcomes = to_outcomes(
        NORMAL[:, :1].astype(dtype), NORMAL[:, :1], "regression", "value", where="test"
    )
    assert outcomes.outputs.dtype == np.float32
