"""Tables as people have them: each is read to the same numbers, or refused with what to do."""

from __future__ import annotations

import decimal
import gzip
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from model_files import SIGNATURE
from pyarrow import parquet

from fulcrum_components.data import fingerprint, from_arrays, open_dataset
from fulcrum_components.data.dataset import TableDataset
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.resources.compressionjob import DataSource

X = (np.arange(24, dtype=np.float32).reshape(6, 4) - 7) / 4
Y = [0, 2, 1, 0, 1, 2]
NAMES = "abcd"
COLUMNS = {"inputs": {"x": "a:d"}}
ONE = {"inputs": {"x": "x"}}
LINES = ["a,b,c,d,y", *(",".join(map(str, [*row, y])) for row, y in zip(X, Y, strict=True))]
TEXT = "\n".join(LINES) + "\n"


@dataclass(frozen=True)
class TestCase:
    """A file.

    Attributes:
        name: What is special about it.
        file: Its name.
        write: Writes it.
        error: Words of the error, or nothing if it is read.
        source: Further fields of the data source.
    """

    __test__ = False

    name: str
    file: str
    write: Callable[[Path], object]
    error: str = ""
    source: dict[str, Any] = field(default_factory=lambda: COLUMNS)


def csv(name: str, text: str | bytes, error: str = "", *, file: str = "d.csv") -> TestCase:
    """Return a case of a CSV file."""
    content = text.encode() if isinstance(text, str) else text
    return TestCase(name, file, lambda path: path.write_bytes(content), error)


def changed(row: int, line: str) -> str:
    """Return the CSV text with another line."""
    return "\n".join([*LINES[:row], line, *LINES[row + 1 :]]) + "\n"


def indexed() -> str:
    """Return the CSV text with the index that pandas writes: a column without a name."""
    return "\n".join(f"{'' if row == 0 else row - 1},{line}" for row, line in enumerate(LINES))


def european(separator: str, quote: str = "") -> str:
    """Return the CSV text with decimal commas and another separator."""
    rows = [[str(value).replace(".", ",") for value in [*row, y]] for row, y in zip(X, Y)]  # noqa: B905
    cells = [["a", "b", "c", "d", "y"], *rows]
    return "\n".join(separator.join(f"{quote}{c}{quote}" for c in row) for row in cells)


CSV = (
    csv("plain", TEXT),
    csv("ends of lines of Windows", TEXT.replace("\n", "\r\n")),
    csv("ends of lines of old Macs", TEXT.replace("\n", "\r")),
    csv("old Macs, last line open", TEXT.replace("\n", "\r").rstrip("\r")),
    csv("mixed ends of lines", TEXT.replace("\n", "\r\n", 3)),
    csv("a byte order mark", b"\xef\xbb\xbf" + TEXT.encode()),
    csv("empty last lines", TEXT + "\n\n\r\n"),
    csv("quoted", "\n".join(",".join(f'"{v}"' for v in line.split(",")) for line in LINES)),
    csv("an index", indexed()),
    csv("capital ending", TEXT, file="D.CSV"),
    csv("gzip", gzip.compress(TEXT.encode()), file="d.csv.gz"),
    csv("capital gzip", gzip.compress(TEXT.encode()), file="D.CSV.GZ"),
    csv("blanks", TEXT.replace(",", ", ").replace("a, b, c, d, y", "a,b,c,d,y")),
    csv("exponents", changed(1, f"{X[0, 0]:e},{X[0, 1]:+e},{X[0, 2]:E},{X[0, 3]},0")),
    csv("an unused text column", "\n".join(f"{line},who {n}" for n, line in enumerate(LINES))),
    csv("an unused column twice", "\n".join(f"{line},0,0" for line in LINES), "first line"),
    csv("semicolons", TEXT.replace(",", ";"), "separated by semicolons; write it with commas"),
    csv("tabs", TEXT.replace(",", "\t"), "separated by tabs"),
    csv("bars", TEXT.replace(",", "|"), "separated by bars"),
    csv("German", european(";"), "semicolons and decimal commas ('-1,75'); write it with ','"),
    csv("German, quoted", european(";", '"'), "semicolons and decimal commas ('-1,75')"),
    csv("German, with mark", b"\xef\xbb\xbf" + european(";").encode(), "and decimal commas"),
    csv("German, gzip", gzip.compress(european(";").encode()), "and decimal", file="d.csv.gz"),
    csv("comma in a name", european(";").replace("d;", "d, in m;", 1), "and decimal commas"),
    csv("tabs and decimal commas", european("\t"), "tabs and decimal commas ('-1,75')"),
    csv("all decimal commas", european(","), "line 2 has 9 columns, but the lines before have 5"),
    csv("semicolons in text", "\n".join(f"{line},u;{n};w" for n, line in enumerate(LINES))),
    csv("a column twice", TEXT.replace("a,b", "a,a"), "there are several named 'a'"),
    csv("UTF-16", TEXT.encode("utf-16"), "UTF-16; save it as CSV in UTF-8"),
    csv(
        "thousands",
        changed(2, '"1,234",1,1,1,0'),
        "in line 3 is no float64; write numbers with '.'",
    ),
    csv("decimal commas", changed(2, '"1,5",1,1,1,0'), "'1,5' in line 3 is no float64"),
    csv("NaN", changed(2, "NaN,1,1,1,0"), "column 'a' has no value in row 1"),
    csv("NA", changed(2, "NA,1,1,1,0"), "column 'a' has no value in row 1"),
    csv("inf", changed(2, "inf,1,1,1,0"), "example 1 holds inf"),
    csv("no label", changed(2, "1,1,1,1,"), "example 1 has no label"),
    csv("NaN as label", changed(2, "1,1,1,1,NaN"), "label 'NaN' of example 1 is no whole"),
    csv("a line break in quotes", changed(2, '1,1,1,1,"0\n"'), "line breaks"),
    csv("short row", changed(2, "1,1"), "5 columns"),
    csv("Excel", b"PK\x03\x04" + bytes(50), "d.csv is binary data, not text"),
    csv("Latin-1", changed(0, "a,b,c,d,\xe4").encode("latin-1"), "is not text in UTF-8"),
)


def table(name: str, change: dict[str, Any], error: str = "", **source: Any) -> TestCase:
    """Return a case of a Parquet file, with some columns changed; None leaves one out."""

    def write(path: Path) -> None:
        columns = {each: X[:, i] for i, each in enumerate(NAMES)} | {"y": Y} | change
        arrays = {key: pa.array(v) for key, v in columns.items() if v is not None}
        parquet.write_table(pa.table(arrays), path)

    return TestCase(name, "d.parquet", write, error, source or COLUMNS)


def twice(path: Path) -> None:
    """Write a table with two columns of one name."""
    arrays = [*(pa.array(X[:, i]) for i in range(4)), pa.array(Y)]
    parquet.write_table(pa.Table.from_arrays(arrays, ["a", "b", "b", "d", "y"]), path)


def other_twice(path: Path) -> None:
    """Write a table in which nothing that is used has the name of another column."""
    arrays = [*(pa.array(X[:, i]) for i in range(4)), pa.array(Y), pa.array(Y), pa.array(Y)]
    parquet.write_table(pa.Table.from_arrays(arrays, [*NAMES, "y", "z", "z"]), path)


A = X[:, 0]
LISTS = {"a": None, "b": None, "c": None, "d": None}
ROWS = X.tolist()
FIXED = pa.FixedSizeListArray.from_arrays(pa.array(X.ravel()), 4)
TENSOR = pa.FixedShapeTensorArray.from_numpy_ndarray(X)
NESTED = [[row[:2], row[2:]] for row in ROWS]
TIME = "expected numbers; store times as numbers"
PARQUET = (
    table("float32", {}),
    table("float16", {"a": A.astype(np.float16)}),
    table("all float16", {n: X[:, i].astype(np.float16) for i, n in enumerate(NAMES)}),
    table("float64", {"a": A.astype(np.float64)}),
    table("decimals", {"a": [decimal.Decimal(str(value)) for value in A]}),
    table("categories of numbers", {"a": pa.array(A).dictionary_encode()}),
    table("lists", {"x": ROWS, **LISTS}, **ONE),
    table("large lists", {"x": pa.array(ROWS, pa.large_list(pa.float32())), **LISTS}, **ONE),
    table("lists of one size", {"x": FIXED, **LISTS}, **ONE),
    table("tensors", {"x": TENSOR, **LISTS}, **ONE),
    table("lists of lists", {"x": NESTED, **LISTS}, **ONE),
    table("lists of float16", {"x": pa.array(X.astype(np.float16).tolist()), **LISTS}, **ONE),
    table("seconds", {"d": np.arange(6).astype("M8[s]")}, f"'d' holds timestamp[ms], {TIME}"),
    table("zoned", {"d": pa.array([0] * 6, pa.timestamp("us", "UTC"))}, "tz=UTC], expected"),
    table("dates", {"d": np.arange(6).astype("M8[D]")}, f"'d' holds date32[day], {TIME}"),
    table("times", {"d": pa.array([0] * 6, pa.time64("us"))}, f"'d' holds time64[us], {TIME}"),
    table("spans", {"d": np.arange(6).astype("m8[s]")}, f"'d' holds duration[s], {TIME}"),
    table("times as labels", {"y": np.arange(6).astype("M8[s]")}, "labels are text"),
    table("text", {"b": list("abcdef")}, "'b' holds string, expected numbers"),
    table("large text", {"b": pa.array(list("abcdef"), pa.large_string())}, "large_string"),
    table("categories", {"b": pa.array(list("abcdef")).dictionary_encode()}, "expected numbers"),
    table("bytes", {"b": [b"1"] * 6}, "'b' holds binary, expected numbers"),
    table("records", {"b": [{"u": 1}] * 6}, "'b' holds struct<u: int64>, expected numbers"),
    table("nothing", {"b": pa.nulls(6)}, "'b' holds null, expected numbers"),
    table("a gap", {"b": [1.0, None, 2.0, 3.0, 4.0, 5.0]}, "'b' has no value in row 1"),
    table("a gap in text", {"y": ["0", None, "1", "0", "1", "2"]}, "example 1 has no label"),
    table("a gap in lists", {"x": [[1.0, None, 1.0, 1.0]] * 6}, "'x' has empty values", **ONE),
    table("uneven lists", {"x": [[1.0] * (1 + i % 2) for i in range(6)]}, "different len", **ONE),
    table("lists of times", {"x": [[np.datetime64(0, "s")] * 4] * 6}, "expected numbers", **ONE),
    table("NaN", {"b": [1.0, np.nan, 2, 3, 4, 5]}, "example 1 holds nan"),
    TestCase("two columns of one name", "d.parquet", twice, "has 2 columns named 'b'; rename one"),
    TestCase("two other columns of one name", "d.parquet", other_twice),
)


def npz(name: str, error: str = "", **arrays: Any) -> TestCase:
    """Return a case of an `.npz` file."""
    found: dict[str, Any] = {"x": X, "y": np.array(Y)} | arrays
    return TestCase(name, "d.npz", lambda path: np.savez(path, **found), error, {})


NPZ = (
    npz("float32"),
    npz("float16", x=X.astype(np.float16)),
    npz("big endian", x=X.astype(">f8"), y=np.array(Y, ">i8")),
    npz("column order", x=np.asfortranarray(X)),
    npz("an object beside", "holds Python objects", meta=np.array([None])),
    npz("objects", "holds Python objects", x=X.astype(object)),
    npz("no examples", "is empty", x=X[:0], y=np.array(Y[:0])),
    npz("a single value", "'y.npy' is a single value", y=np.array(3)),
    npz("records", "but the model takes", x=np.zeros(6, [("u", "f4")])),
    npz("complex", "complex64[n, 4]", x=X.astype(np.complex64)),
    npz("text", "str", x=X.astype(str)),
    npz("times", "datetime64[s][n, 4], but", x=np.zeros((6, 4), "M8[s]")),
    npz("raw halves", "void16[n, 4], but", x=X.astype(np.float16).view("V2")),
)
CASES = (*CSV, *PARQUET, *NPZ)


def opened(case: TestCase, root: Path) -> TableDataset:
    """Write the file of a case and open it."""
    case.write(root / case.file)
    source = DataSource(uri=f"file://{root}/{case.file}", **case.source)
    return open_dataset(
        source, SIGNATURE, "classification", where="spec.data.test", cache_dir=root / "cache"
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.file} {case.name}")
def test_tables(case: TestCase, tmp_path: Path) -> None:
    if not case.error:
        expected = from_arrays({"x": X}, np.array(Y), SIGNATURE, "classification")
        assert fingerprint(opened(case, tmp_path)) == fingerprint(expected)
        return
    with pytest.raises(UserError) as caught:
        list(opened(case, tmp_path).batches(4))
    message = str(caught.value)
    assert case.error in message
    assert message.startswith("spec.data.test")
    assert "\n" not in message


def test_files_that_differ_name_the_column(tmp_path: Path) -> None:
    table("first", {}).write(tmp_path / "0.parquet")
    table("second", {"c": np.arange(6)}).write(tmp_path / "1.parquet")
    source = DataSource(uri=f"file://{tmp_path}/*.parquet", **COLUMNS)
    with pytest.raises(UserError, match=r"'c' is int64, in 0.parquet float"):
        open_dataset(
            source, SIGNATURE, "classification", where="test", cache_dir=tmp_path / "cache"
        )
