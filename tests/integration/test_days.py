"""A model trained on a window of days and tested on the day after, by `fulcrum run`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pytest
from one_process import Ended, fulcrum_run, write_job
from onnx import TensorProto, helper, numpy_helper
from pyarrow import parquet

from fulcrum_pipelines.evidence import DataRead, Evidence, StageEvidence, StageName, ValidateDetails
from fulcrum_pipelines.gates import decide
from fulcrum_pipelines.report import render

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

FEATURES, CLASSES, ROWS, WINDOW = 8, 4, 60, 5
FIRST = date(2024, 5, 27)
RANDOM = np.random.default_rng(5)
WEIGHT = RANDOM.normal(size=(CLASSES, FEATURES)).astype(np.float32)
GATES = [{"name": "accuracy", "kind": "nonInferiority", "metric": "accuracy", "margin": 0.1}]


def write_model(path: Path) -> None:
    """Write the linear classifier `WEIGHT`."""
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "weight"], ["scores"], transB=1)],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", FEATURES])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", CLASSES])],
        [numpy_helper.from_array(WEIGHT, "weight")],
    )
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), path)


def name_of(day: int) -> str:
    """Return the name of a day's file."""
    return f"{FIRST + timedelta(day)}.parquet"


@dataclass
class Site:
    """A directory with a model and a file for each day; test is the day after the window."""

    directory: Path
    days: list[dict[str, Any]] = field(default_factory=list)

    def write(self, number: int, **changes: Any) -> Path:
        """Write a day's file, with other columns than `days` has."""
        path = self.directory / name_of(number)
        parquet.write_table(pa.table(self.days[number] | changes), path)
        return path

    def run(
        self,
        *,
        through: StageName = "validate",
        train: Sequence[str] = tuple(map(name_of, range(WINDOW))),
        more: dict[str, Any] | None = None,
        **data: Any,
    ) -> Ended:
        """Run a job that trains on files and tests on the day after the window."""
        inputs = {"inputs": {"x": f"x0:x{FEATURES - 1}"}}
        spec = {
            "model": {"uri": "model.onnx"},
            "data": {
                "task": "classification",
                "timeColumn": "day",
                "train": {"uris": list(train), **inputs, **(more or {})},
                "test": {"uri": name_of(WINDOW), **inputs},
                **data,
            },
            "recipe": {"quantize": {"method": "weightOnly", "bits": 8}},
            "gates": GATES,
        }
        return fulcrum_run(write_job(self.directory, **spec), through)

    def stage(self, stage: StageName) -> StageEvidence:
        """Return the newest record of a stage."""
        paths = self.directory.glob(f"store/runs/*/stages/{stage}.json")
        newest = max(paths, key=lambda path: path.stat().st_mtime_ns)
        return StageEvidence.model_validate_json(newest.read_bytes())


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A window of days and the day after it."""
    write_model(tmp_path / "model.onnx")
    random, found = np.random.default_rng(6), Site(tmp_path)
    for day in range(WINDOW + 1):
        x = random.normal(size=(ROWS, FEATURES)).astype(np.float32)
        noise = random.normal(size=(ROWS, CLASSES))
        columns = {f"x{i}": x[:, i] for i in range(FEATURES)}
        columns["y"] = (x @ WEIGHT.T + noise).argmax(axis=1)
        columns["day"] = [FIRST + timedelta(day)] * ROWS
        columns["site"] = [f"site {i % 2}" for i in range(ROWS)]
        found.days.append(columns)
        found.write(day)
    return found


def read(evidence: Evidence, data: str) -> DataRead:
    """Return what validate read of a data set."""
    stage = evidence.stage("validate")
    assert stage is not None
    return next(each for each in stage.data if each.data == data)


def test_evidence_has_each_address_and_each_range(site: Site) -> None:
    ended = site.run()
    assert ended.exit_code == 0, ended.said
    train = read(ended.evidence, "train")
    for day, found in enumerate(train.addresses):
        content = (site.directory / name_of(day)).read_bytes()
        assert found.address == f"file://{site.directory}/{name_of(day)}"
        assert found.digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
        assert (found.size_bytes, found.examples) == (len(content), ROWS)
    assert (train.examples, len(train.addresses), train.skipped) == (WINDOW * ROWS, WINDOW, ())
    validate = ended.evidence.stage("validate")
    assert validate is not None
    assert train.digest == validate.inputs["data.train"]
    assert isinstance(validate.details, ValidateDetails)
    (split,) = validate.details.time_splits
    assert (split.other, split.kind, split.problem) == ("train", "date", "")
    assert (split.other_first, split.other_last) == ("2024-05-27", "2024-05-31")
    assert (split.test_first, split.test_last) == ("2024-06-01", "2024-06-01")
    assert validate.details.overlaps == ()


def test_missing_day_is_an_error_or_a_note(site: Site) -> None:
    (site.directory / name_of(2)).unlink()
    ended = site.run()
    assert ended.exit_code == 2
    file = f"{site.directory}/{name_of(2)}"
    assert f"spec.data.train.uris[2]: no file or directory '{file}'" in ended.line
    ended = site.run(more={"missing": "Skip", "minimum": 5})
    assert ended.exit_code != 0
    assert "only 4 of 5 addresses exist, but minimum is 5" in ended.line
    assert name_of(2) in ended.line
    ended = site.run(more={"missing": "Skip", "minimum": 4})
    assert ended.exit_code == 0, ended.said
    address = f"file://{site.directory}/{name_of(2)}"
    assert "train lacks 1 of its 5 addresses, which were skipped" in ended.line
    assert read(ended.evidence, "train").skipped == (address,)
    report = render(ended.evidence, decide(ended.evidence, ()), title="days")
    assert address in report
    assert "nothing there, skipped" in report


def test_cached_result_has_the_addresses_of_its_own_run(site: Site) -> None:
    """A renamed file changes nothing of the data, so all is cached but what was read."""
    assert site.run(through="evaluate").exit_code == 0
    assert site.stage("evaluate").cached_from is None
    (site.directory / name_of(0)).rename(site.directory / "renamed.parquet")
    names = ("renamed.parquet", *map(name_of, range(1, WINDOW)))
    assert site.run(through="evaluate", train=names).exit_code == 0
    assert site.stage("evaluate").cached_from is not None
    train = next(each for each in site.stage("evaluate").data if each.data == "train")
    assert train.addresses[0].address == f"file://{site.directory}/renamed.parquet"
    assert site.run(through="evaluate", train=names[::-1]).exit_code == 0
    assert site.stage("evaluate").cached_from is None  # another order is other data


LATE = (
    "column 'day': 60 test examples are not later than all of train: test is from {test} to "
    "{test}, train from 2024-05-27 to 2024-06-01, with {shared} examples from {test} on"
)


@pytest.mark.parametrize("cached", [False, True], ids=["first run", "after a good run"])
def test_test_day_within_the_window_is_refused_with_both_ranges(site: Site, cached: bool) -> None:
    if cached:
        assert site.run(through="evaluate").exit_code == 0
    site.write(3, day=[FIRST + timedelta(5)] * ROWS)
    ended = site.run(through="evaluate")
    assert ended.exit_code != 0
    assert LATE.format(test="2024-06-01", shared=ROWS) in ended.line
    assert "spec.data.timeColumn" in ended.line


def test_test_example_in_the_window_is_anomalous(site: Site) -> None:
    """Its date says nothing, since a row may be delivered twice."""
    test = site.days[WINDOW]
    inputs = {f"x{i}": site.days[1][f"x{i}"].copy() for i in range(FEATURES)}
    for name, values in inputs.items():
        values[7] = test[name][3]
    site.write(1, **inputs)
    ended = site.run()
    assert ended.exit_code != 0
    assert "1 of 60 test examples are also in train" in ended.line


def test_file_with_other_columns_is_named(site: Site) -> None:
    site.write(4, x2=site.days[4]["x2"].astype(np.float64))
    ended = site.run(through="evaluate")
    assert ended.exit_code != 0
    words = f"spec.data.train ({name_of(4)}): column 'x2' is double, in {name_of(0)} float"
    assert words in ended.line


def test_changed_slice_column_is_other_data(site: Site) -> None:
    """Else a cached result would have the metrics of slices that are no more."""
    slices = {"slices": [{"name": "site", "column": "site"}]}
    assert site.run(through="evaluate", **slices).exit_code == 0
    site.write(WINDOW, site=["site 0"] * ROWS)
    assert site.run(through="evaluate", **slices).exit_code == 0
    assert site.stage("evaluate").cached_from is None
