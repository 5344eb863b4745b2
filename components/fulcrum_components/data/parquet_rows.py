"""Rows of Parquet files, one piece of a row group at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from fulcrum_components.data.dataset import TEXT
from fulcrum_pipelines.errors import UserError

BATCH_BYTES = 1 << 20
"""About how much is decoded at once; Arrow needs a few times as much."""

MAX_BATCH_ROWS = 1 << 16


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
        self.names = tuple(schemas[0].names)
        for path, schema in zip(paths, schemas, strict=True):
            if not schema.equals(schemas[0], check_metadata=False):
                message = f"{path.name} has other columns than {paths[0].name}"
                raise UserError(message, where=where)

    def count(self) -> int:
        """Return the number of rows, which each file's footer tells."""
        rows = 0
        for path in self._paths:
            with self._open(path) as file:
                rows += file.metadata.num_rows
        return rows

    def batches(self, columns: Sequence[str], dtype: str) -> Iterator[pa.RecordBatch]:
        """Yield all rows of `columns`, some at a time; numbers keep the type they have."""
        for path in self._paths:
            with self._open(path) as file:
                try:
                    for batch in file.iter_batches(
                        _batch_rows(file), columns=list(columns), use_threads=False
                    ):
                        yield _as_text(batch) if dtype == TEXT else batch
                except MemoryError:  # Arrow's is both; the file is not to blame
                    raise
                except (pa.ArrowException, OSError) as error:
                    reason = str(error).splitlines()[0]
                    message = f"{path.name} is damaged ({reason})"
                    raise UserError(message, where=self._where) from None

    def _open(self, path: Path) -> parquet.ParquetFile:
        try:
            return parquet.ParquetFile(path, memory_map=True, pre_buffer=False)
        except (pa.ArrowException, OSError):
            message = f"{path.name} is no Parquet file, or is truncated"
            raise UserError(message, where=self._where) from None


def _batch_rows(file: parquet.ParquetFile) -> int:
    """Return how many rows make about `BATCH_BYTES`."""
    metadata = file.metadata
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    total_bytes = sum(group.total_byte_size for group in groups)
    row_bytes: int = max(1, total_bytes // max(1, metadata.num_rows))
    return max(1, min(MAX_BATCH_ROWS, BATCH_BYTES // row_bytes))


def _as_text(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the one column of `batch` as text."""
    return pa.RecordBatch.from_arrays([batch.column(0).cast(pa.string())], batch.schema.names)
