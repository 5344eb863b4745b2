"""When examples are from: every way to store a time, and test data that are not later."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from model_files import SIGNATURE
from pyarrow import parquet

from fulcrum_components.data import find_time_splits, fingerprint, open_dataset
from fulcrum_components.data.dataset import TableDataset
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.evidence import TimeSplit
from fulcrum_pipelines.resources.compressionjob import DataSource

Write = Callable[[Path, Sequence[Any]], Path]


def x_and_y(count: int) -> dict[str, Any]:
    """Return the other columns."""
    return {"x": np.ones((count, 4), np.float32), "y": np.arange(count) % 3}


def npz(path: Path, values: Sequence[Any]) -> Path:
    """Write an `.npz` file."""
    np.savez(path.with_suffix(".npz"), **x_and_y(len(values)), when=np.asarray(values))
    return path.with_suffix(".npz")


def stored(dtype: str) -> Write:
    """Return a writer of `.npz` files with values of a type."""
    return lambda path, values: npz(path, np.asarray(values, dtype))


def csv(path: Path, values: Sequence[Any]) -> Path:
    """Write a CSV file."""
    rows = [f"1,1,1,1,{i % 3},{value}" for i, value in enumerate(values)]
    path = path.with_suffix(".csv")
    path.write_text("\n".join(["x0,x1,x2,x3,y,when", *rows]) + "\n")
    return path


def typed(kind: pa.DataType | None = None) -> Write:
    """Return a writer of Parquet files."""

    def write(path: Path, values: Sequence[Any]) -> Path:
        columns = {f"x{i}": np.ones(len(values), np.float32) for i in range(4)}
        when = pa.array(list(values), kind)
        table = pa.table({**columns, "y": np.arange(len(values)) % 3, "when": when})
        parquet.write_table(table, path.with_suffix(".parquet"))
        return path.with_suffix(".parquet")

    return write


def opened(path: Path, **more: Any) -> TableDataset:
    """Open a file."""
    inputs = {"x": "x" if path.suffix == ".npz" else "x0:x3"}
    source = DataSource(uri=f"file://{path}", inputs=inputs, **more)
    place, cache = "spec.data.test", path.parent / "cache"
    return open_dataset(source, SIGNATURE, "classification", where=place, cache_dir=cache)


@dataclass(frozen=True)
class Case:
    """A way to store times: two of train, two of test.

    Attributes:
        name: What is stored.
        write: Writes it.
        values: Ascending; the first two are of train.
        kind: What it is read as.
        first: The first value, as the record shows it.
    """

    name: str
    write: Write
    values: Sequence[Any]
    kind: str
    first: str


TEN = "2024-05-31T10:00:00"
DATES = ("2024-05-30", "2024-05-31", "2024-06-01", "2024-06-02")
TIMES = ("2024-05-31T10:00:00", "2024-05-31T10:00:01", "2024-05-31T10:00:02", "2025-01-01T00:00:00")
NANO = tuple(f"2024-05-31 10:00:00.00000000{i}" for i in range(4))
ZONED = ("2024-05-31T10:00:00Z", "2024-05-31T13:00:00+02:00", "2024-05-31T07:00:00-05:00",
         "2024-06-01T00:00:00Z")  # fmt: skip
MOMENTS = [datetime.fromisoformat(each) for each in TIMES]
NUMBERS = (-1, 2, 3, 2**53)
CASES = (
    Case("CSV of dates", csv, DATES, "date", "2024-05-30"),
    Case("CSV of times", csv, TIMES, "time", TEN),
    Case("CSV of nanoseconds", csv, NANO, "time", TEN),
    Case("CSV of zones", csv, ZONED, "time with a zone", f"{TEN}Z"),
    Case("CSV of whole numbers", csv, NUMBERS, "number", "-1"),
    Case("CSV of fractions", csv, (0.25, 1, 1.5, 2e9), "number", "0.25"),
    Case("Parquet of dates", typed(), list(map(date.fromisoformat, DATES)), "date", "2024-05-30"),
    Case("Parquet of text", typed(), DATES, "date", "2024-05-30"),
    Case("Parquet of categories", typed(pa.dictionary(pa.int8(), pa.string())), DATES, "date",
         "2024-05-30"),
    *(
        Case(f"Parquet of {unit}", typed(pa.timestamp(unit)), MOMENTS, "time", TEN)
        for unit in ("s", "ms", "us", "ns")
    ),
    Case("Parquet of zones", typed(pa.timestamp("us", "Asia/Tokyo")),
         [each.replace(tzinfo=UTC) for each in MOMENTS], "time with a zone", f"{TEN}Z"),
    Case("Parquet of numbers", typed(pa.int64()), (-1, 2, 2**62, 2**62 + 1), "number", "-1"),
    Case("Parquet of small numbers", typed(pa.uint8()), (1, 2, 3, 4), "number", "1"),
    Case("Parquet of decimals", typed(), list(map(Decimal, ("1.5", "1.6", "1.7", "2.0"))), "number",
         "1.5"),
    Case("arrays of days", stored("datetime64[D]"), DATES, "date", "2024-05-30"),
    *(
        Case(f"arrays of {unit}", stored(f"datetime64[{unit}]"), TIMES, "time", TEN)
        for unit in ("s", "ms", "us", "ns")
    ),
    Case("arrays of text", npz, DATES, "date", "2024-05-30"),
    Case("arrays of bytes", npz, [each.encode() for each in DATES], "date", "2024-05-30"),
    Case("arrays of integers in the other byte order", stored(">i8"), NUMBERS, "number", "-1"),
    Case("arrays of times in the other byte order", stored(">M8[ms]"), TIMES, "time", TEN),
    Case("arrays of half precision", stored("f2"), (0.5, 1.0, 1.5, 2.0), "number", "0.5"),
    Case("Parquet of large text", typed(pa.large_string()), DATES, "date", "2024-05-30"),
    Case("Parquet of bytes", typed(pa.binary()), [each.encode() for each in DATES], "date",
         "2024-05-30"),
    Case("arrays of integers", npz, NUMBERS, "number", "-1"),
    Case("arrays of floats", npz, (0.5, 1.0, 1.5, 2.0), "number", "0.5"),
)  # fmt: skip


def split(case: Case, root: Path, train: Sequence[int], test: Sequence[int]) -> TimeSplit:
    """Return how the values at the positions `test` lie to those at `train`."""
    written = [
        case.write(root / name, [case.values[i] for i in positions])
        for name, positions in (("train", train), ("test", test))
    ]
    one, other = map(opened, written)
    (found,) = find_time_splits(other, {"train": one}, "when")
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_later_test_data_are_accepted(case: Case, tmp_path: Path) -> None:
    found = split(case, tmp_path, (1, 0), (3, 2))
    assert (found.kind, found.other_first) == (case.kind, case.first)
    assert (found.test_not_later, found.other_not_earlier, found.problem) == (0, 0, "")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_test_data_that_are_not_later_are_counted(case: Case, tmp_path: Path) -> None:
    """The same time is not later."""
    found = split(case, tmp_path, (0, 2, 1), (3, 2, 1))
    assert (found.test_not_later, found.other_not_earlier) == (2, 2)
    assert found.problem.startswith("2 test examples are not later than all of train: test is from")
    assert f"{found.other_first} to {found.other_last}" in found.problem
    assert split(case, tmp_path, (3,), (0, 1)).test_not_later == 2


ALIKE = {case.kind: case for case in (*CASES, CASES[0])}


@pytest.mark.parametrize("test", ALIKE)
@pytest.mark.parametrize("train", ALIKE)
def test_kinds_that_cannot_be_compared_are_refused(train: str, test: str, tmp_path: Path) -> None:
    """A date could be any time of its day, and a time without a zone is one of 26 hours."""
    one = opened(ALIKE[train].write(tmp_path / "train", ALIKE[train].values[:2]))
    other = opened(ALIKE[test].write(tmp_path / "test", ALIKE[test].values[2:]))
    if train == test:
        assert find_time_splits(other, {"train": one}, "when")[0].problem == ""
        return
    with pytest.raises(UserError, match=f"a {test} in test, but a {train} in train") as caught:
        find_time_splits(other, {"train": one}, "when")
    assert caught.value.where == "spec.data.timeColumn"


BAD = {
    "words": (csv, ("2024-05-30", "yesterday"), "example 1 is 'yesterday'"),
    "first value": (csv, ("May", "2024-05-30"), "example 0 is 'May'"),
    "nothing": (csv, ("2024-05-30", ""), "example 1 is ''"),
    "impossible date": (csv, ("2024-02-28", "2024-02-30"), "example 1 is '2024-02-30'"),
    "dates and times": (csv, ("2024-05-30", "2024-05-30T10:00:00"), "example 1 is"),
    "times and dates": (csv, ("2024-05-30T10:00:00", "2024-05-30"), "example 1 is"),
    "with and without zones": (csv, ("2024-05-30T10:00", "2024-05-30T10:00Z"), "example 1 is"),
    "numbers and dates": (csv, ("1", "2024-05-30"), "example 1 is '2024-05-30'"),
    "NaN in CSV": (csv, ("1", "nan"), "example 1 is 'nan'"),
    "null": (typed(pa.timestamp("us")), (MOMENTS[0], None), "example 1 is 'None'"),
    "null text": (typed(), ("2024-05-30", None), "example 1 is 'None'"),
    "far future": (typed(pa.timestamp("us")), (datetime(9999, 1, 1),), "1678 to 2261"),
    "booleans": (typed(), (True, False), "holds bool"),
    "lists": (typed(), ([1, 2], [3, 4]), "expected text or numbers"),
    "NaT": (stored("datetime64[s]"), ("2024-05-30", "NaT"), "example 1 is"),
    "NaN": (npz, (1.0, np.nan), "example 1 is 'nan'"),
    "months": (stored("datetime64[M]"), ("2024-05", "2024-06"), r"holds datetime64\[M\]"),
    "hours": (
        stored("datetime64[h]"),
        ("2024-05-30T01", "2024-05-30T02"),
        r"holds datetime64\[h\]",
    ),
    "several values": (npz, ((1, 2), (3, 4)), "2 axes"),
    "bytes that are no text": (npz, (b"2024-05-30", b"\xff"), "no text in UTF-8"),
    "bytes in Parquet": (typed(pa.binary()), (b"2024-05-30", b"\xff"), "no text in UTF-8"),
    "times of a day": (typed(), (MOMENTS[0].time(), MOMENTS[1].time()), "holds time64"),
    "durations": (typed(), (MOMENTS[1] - MOMENTS[0],), "holds duration"),
    "complex": (npz, (1j, 2j), "holds complex128"),
}


@pytest.mark.parametrize("name", BAD)
def test_values_that_are_no_times_are_refused(name: str, tmp_path: Path) -> None:
    write, values, words = BAD[name]
    dataset = opened(write(tmp_path / "d", values))
    with pytest.raises(UserError, match=words) as caught:
        list(dataset.times("when"))
    assert caught.value.where.startswith("spec.data.test (d.")


def test_kind_that_changes_between_files_is_refused(tmp_path: Path) -> None:
    paths = [csv(tmp_path / "a", DATES), csv(tmp_path / "b", TIMES)]
    source = DataSource(uris=tuple(f"file://{path}" for path in paths), inputs={"x": "x0:x3"})
    dataset = open_dataset(
        source, SIGNATURE, "classification", where="test", cache_dir=tmp_path / "cache"
    )
    with pytest.raises(UserError, match="holds a time, but date before") as caught:
        list(dataset.times("when"))
    assert caught.value.where == "test (b.csv)"


def test_only_examples_that_are_used_count(tmp_path: Path) -> None:
    train = opened(csv(tmp_path / "train", DATES), take=2)
    test = opened(csv(tmp_path / "test", DATES), skip=2)
    (found,) = find_time_splits(test, {"train": train}, "when")
    assert (found.problem, found.other_last, found.test_first) == ("", DATES[1], DATES[2])


def test_missing_column_is_named(tmp_path: Path) -> None:
    train, test = opened(csv(tmp_path / "train", DATES)), opened(csv(tmp_path / "test", DATES))
    with pytest.raises(UserError, match=r"no column 'wen'.*did you mean 'when'"):
        find_time_splits(test, {"train": train}, "wen")


@pytest.mark.parametrize("write", [csv, typed(), npz], ids=["csv", "parquet", "npz"])
def test_other_times_are_other_data(write: Write, tmp_path: Path) -> None:
    """Else a cache would answer for times that nothing has read."""
    one, other = opened(write(tmp_path / "a", DATES)), opened(write(tmp_path / "b", DATES[::-1]))
    assert fingerprint(one) == fingerprint(other)
    assert fingerprint(one, time_column="when") != fingerprint(other, time_column="when")
