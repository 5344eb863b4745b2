"""Rows of Parquet files, one piece of a row group at a time.

Equal values next to each other take no room in the file, so a few bytes may encode billions of
values. So sizes are those after decoding, and text is kept as numbers into a dictionary until it
is handed out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from fulcrum_components.data.columns import check_same
from fulcrum_components.data.dataset import TEXT, TIME
from fulcrum_components.data.gathering import DataFile
from fulcrum_components.data.tabular import holds_numbers
from fulcrum_components.data.times import is_text
from fulcrum_components.sources.archives import check_expansion
from fulcrum_pipelines.errors import UserError

BATCH_BYTES = 1 << 20
"""About how much is decoded at once; Arrow needs a few times as much."""

MAX_BATCH_ROWS = 1 << 16

WIDTHS = {"INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8, "INT96": 12, "BYTE_ARRAY": 4}
"""Bytes of a value after decoding; of text, those of its number in a dictionary."""

TEMPORAL_ADVICE = (
    "; store times as numbers, such as seconds since a fixed day, in the form that the model takes"
)

ROW_NUMBER_BYTES = 8
"""A data set keeps the number of each row."""


class ParquetRows:
    """Rows of one or more Parquet files with the same columns.

    Args:
        files: The files.

    Raises:
        UserError: A file is damaged, or has other columns than the first.
    """

    def __init__(self, files: Sequence[DataFile]) -> None:
        self._files = files
        self._schema = self._check(files[0])
        self.names = tuple(self._schema.names)
        kinds = _kinds(self._schema)
        for file in files[1:]:
            schema = self._check(file)
            found = _kinds(schema), kinds
            check_same(schema.names, self.names, files[0].name, where=file.where, kinds=found)

    def counts(self) -> tuple[int, ...]:
        """Return the number of rows of each file, from its footer."""
        rows = []
        for each in self._files:
            with self._open(each) as file:
                rows.append(file.metadata.num_rows)
        return tuple(rows)

    def is_text(self, column: str) -> bool:
        """Return whether `column` holds something else than numbers."""
        return not holds_numbers(self._schema.field(column).type)

    def batches(self, columns: Sequence[str], dtype: str) -> Iterator[pa.RecordBatch]:
        """Yield all rows of `columns`, some at a time; numbers keep the type they have."""
        for each in self._files:
            with self._open(each, columns if dtype == TEXT else ()) as file:
                self._check_kinds(columns, dtype, each.where)
                try:
                    for batch in file.iter_batches(
                        _batch_rows(file.metadata), columns=list(columns), use_threads=False
                    ):
                        yield from _as_text(batch) if dtype == TEXT else (batch,)
                except MemoryError:  # Arrow's is both; the file is not to blame
                    raise
                except (pa.ArrowException, OSError) as error:
                    reason = str(error).splitlines()[0]
                    message = f"{each.name} is damaged ({reason})"
                    raise UserError(message, where=each.where) from None

    def _check(self, each: DataFile) -> pa.Schema:
        """Return the schema of a file that can be decoded.

        Raises:
            UserError: It is damaged, or expands beyond reason.
        """
        with self._open(each) as file:
            size = each.path.stat().st_size
            check_expansion(decoded_bytes(file.metadata), size, each.where, kind="Parquet")
            return file.schema_arrow

    def _open(self, each: DataFile, texts: Sequence[str] = ()) -> parquet.ParquetFile:
        try:
            return parquet.ParquetFile(
                each.path, memory_map=True, pre_buffer=False, read_dictionary=list(texts)
            )
        except (pa.ArrowException, OSError):
            message = f"{each.name} is no Parquet file, or is truncated"
            raise UserError(message, where=each.where) from None

    def _check_kinds(self, columns: Sequence[str], dtype: str, where: str) -> None:
        """Refuse what is no number, or cannot be text, before any of it is decoded."""
        for name in columns:
            kind = self._schema.field(name).type
            text = dtype in (TEXT, TIME)  # what can be no time is found when it is parsed
            if not (_has_text(kind) if text else holds_numbers(kind)):
                expected = "text or numbers" if text else "numbers"
                advice = TEMPORAL_ADVICE if pa.types.is_temporal(kind) else ""
                message = f"column '{name}' holds {kind}, expected {expected}{advice}"
                raise UserError(message, where=where)


def _has_text(kind: pa.DataType) -> bool:
    """Return whether Arrow writes values of `kind` as text."""
    if pa.types.is_dictionary(kind):
        return _has_text(kind.value_type)
    return bool(pa.types.is_primitive(kind) or pa.types.is_decimal(kind) or is_text(kind))


def _kinds(schema: pa.Schema) -> dict[str, str]:
    return {field.name: str(field.type) for field in schema}


def decoded_bytes(metadata: parquet.FileMetaData) -> int:
    """Return how much the rows of a file take at least, read as a whole and numbered."""
    groups = map(metadata.row_group, range(metadata.num_row_groups))
    indices = range(metadata.num_columns)
    columns = [group.column(index) for group in groups for index in indices]
    values = sum(column.num_values * WIDTHS.get(column.physical_type, 1) for column in columns)
    encoded = sum(column.total_uncompressed_size for column in columns)
    return int(max(values, encoded) + metadata.num_rows * ROW_NUMBER_BYTES)


def _batch_rows(metadata: parquet.FileMetaData) -> int:
    """Return how many rows make about `BATCH_BYTES`."""
    row_bytes: int = max(1, decoded_bytes(metadata) // max(1, metadata.num_rows))
    return max(1, min(MAX_BATCH_ROWS, BATCH_BYTES // row_bytes))


def _as_text(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Yield the one column of `batch` as text, in pieces if one of its texts is long."""
    column = batch.column(0)
    longest = 1
    if pa.types.is_dictionary(column.type):
        lengths = pc.binary_length(column.dictionary)
        longest = max(1, pc.max(lengths).as_py() or 0)
    rows = max(1, BATCH_BYTES // longest)
    for start in range(0, len(column), rows):
        text = column.slice(start, rows).cast(pa.string())
        yield pa.RecordBatch.from_arrays([text], batch.schema.names)
