"""Count and decode rows in pieces, for every content of the file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from fulcrum_components.data import csv_rows
from fulcrum_components.data.csv_rows import CsvRows
from fulcrum_components.data.dataset import TEXT
from fulcrum_components.data.gathering import DataFile
from fulcrum_components.data.parquet_rows import BATCH_BYTES, ParquetRows


@dataclass(frozen=True)
class TestCase:
    """A CSV text and its number of rows."""

    __test__ = False

    name: str
    text: str
    rows: int


CASES = (
    TestCase("header only", "a,b\n", 0),
    TestCase("last line not ended", "a,b\n1,2\n3,4", 2),
    TestCase("last line ended", "a,b\n1,2\n3,4\n", 2),
    TestCase("blank lines", "\n\na,b\n\n1,2\n\n\n3,4\n\n", 2),
    TestCase("ends of Windows", "a,b\r\n1,2\r\n\r\n3,4\r\n", 2),
)


@pytest.mark.parametrize("piece_bytes", [1, 2, 3, 100])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_rows_are_counted_however_the_text_is_cut(
    case: TestCase, piece_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "d.csv"
    path.write_bytes(case.text.encode())
    opened = csv_rows._options(path)
    monkeypatch.setattr(csv_rows, "_options", lambda path: opened)
    monkeypatch.setattr(csv_rows, "BLOCK_BYTES", piece_bytes)
    rows = CsvRows([DataFile(path, path.name, "spec.data.test")])
    assert rows.counts() == (case.rows,)
    assert sum(len(batch) for batch in rows.batches(["a"], "int64")) == case.rows


def test_a_long_text_that_repeats_is_never_decoded_as_a_whole(tmp_path: Path) -> None:
    count, text = 3000, "a" * 200_000
    numbers = pa.array([0, 1] * (count // 2), pa.int32())
    column = pa.DictionaryArray.from_arrays(numbers, [text, "b"])
    parquet.write_table(pa.table({"who": column}), tmp_path / "d.parquet")
    file = DataFile(tmp_path / "d.parquet", "d.parquet", "spec.data.test")
    batches = ParquetRows([file]).batches(["who"], TEXT)
    sizes, seen = [], set()
    for batch in batches:
        sizes.append((len(batch), batch.nbytes))
        seen |= set(batch.column(0).to_pylist())
    assert seen == {text, "b"}
    assert sum(rows for rows, _ in sizes) == count
    assert max(size for _, size in sizes) <= 2 * BATCH_BYTES
