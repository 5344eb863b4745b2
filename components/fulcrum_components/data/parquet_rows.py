"""Rows of Parquet files, one piece of a row group at a time.

Equal values next to each other take no room in the file, so a few bytes may encode billions of
values. So sizes are those after decoding, and text is kept as numbers into a dictionary until it
is handed out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from fulcrum_components.data.dataset import TEXT
from fulcrum_components.data.tabular import holds_numbers
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
        paths: The files.
        where: Field path and file, for messages.

    Raises:
        UserError: A file is damaged, or has other columns than the first.
    """

    def __init__(self, paths: Sequence[Path], where: str) -> None:
        self._paths = paths
        self._where = where
        schemas = []
        for path in paths:
            with self._open(path) as file:
                schemas.append(file.schema_arrow)
                size, place = path.stat().st_size, f"{where}: {path.name}"
                check_expansion(decoded_bytes(file.metadata), size, place, kind="Parquet")
        self.names = tuple(schemas[0].names)
        self._schema = schemas[0]
        for path, schema in zip(paths, schemas, strict=True):
            if not schema.equals(schemas[0], check_metadata=False):
                message = f"{path.name} has other columns than {paths[0].name}"
                raise UserError(message + _difference(schema, schemas[0]), where=where)

    def count(self) -> int:
        """Return the number of rows, from each file's footer."""
        rows = 0
        for path in self._paths:
            with self._open(path) as file:
                rows += file.metadata.num_rows
        return rows

    def is_text(self, column: str) -> bool:
        """Return whether `column` holds something else than numbers."""
        return not holds_numbers(self._schema.field(column).type)

    def batches(self, columns: Sequence[str], dtype: str) -> Iterator[pa.RecordBatch]:
        """Yield all rows of `columns`, some at a time; numbers keep the type they have."""
        for path in self._paths:
            with self._open(path, columns if dtype == TEXT else ()) as file:
                self._check_kinds(columns, text=dtype == TEXT)
                try:
                    for batch in file.iter_batches(
                        _batch_rows(file.metadata), columns=list(columns), use_threads=False
                    ):
                        yield from _as_text(batch) if dtype == TEXT else (batch,)
                except MemoryError:  # Arrow's is both; the file is not to blame
                    raise
                except (pa.ArrowException, OSError) as error:
                    reason = str(error).splitlines()[0]
                    message = f"{path.name} is damaged ({reason})"
                    raise UserError(message, where=self._where) from None

    def _open(self, path: Path, texts: Sequence[str] = ()) -> parquet.ParquetFile:
        try:
            return parquet.ParquetFile(
                path, memory_map=True, pre_buffer=False, read_dictionary=list(texts)
            )
        except (pa.ArrowException, OSError):
            message = f"{path.name} is no Parquet file, or is truncated"
            raise UserError(message, where=self._where) from None

    def _check_kinds(self, columns: Sequence[str], *, text: bool) -> None:
        """Refuse what is no number, or cannot be text, before any of it is decoded."""
        for name in columns:
            kind = self._schema.field(name).type
            if not (_has_text(kind) if text else holds_numbers(kind)):
                expected = "text or numbers" if text else "numbers"
                advice = TEMPORAL_ADVICE if pa.types.is_temporal(kind) else ""
                message = f"column '{name}' holds {kind}, expected {expected}{advice}"
                raise UserError(message, where=self._where)


def _has_text(kind: pa.DataType) -> bool:
    """Return whether Arrow writes values of `kind` as text."""
    if pa.types.is_dictionary(kind):
        return _has_text(kind.value_type)
    return bool(pa.types.is_primitive(kind) or pa.types.is_decimal(kind) or _is_text(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    )


def _difference(schema: pa.Schema, first: pa.Schema) -> str:
    """Return the first column in which two files differ, in words."""
    for one, other in zip(schema, first, strict=False):
        if not one.equals(other):
            return f": '{one.name}' is {one.type}, there '{other.name}' is {other.type}"
    return f": {len(schema)} columns, there {len(first)}"


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
