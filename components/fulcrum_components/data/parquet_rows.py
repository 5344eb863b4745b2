"""Rows of Parquet files, one piece of a row group at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from fulcrum_components.data.dataset import TEXT
from fulcrum_pipelines.errors import UserError

BATCH_ROWS = 4096


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
                        BATCH_ROWS, columns=list(columns), use_threads=False
                    ):
                        yield _as_text(batch) if dtype == TEXT else batch
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


def _as_text(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the one column of `batch` as text."""
    return pa.RecordBatch.from_arrays([batch.column(0).cast(pa.string())], batch.schema.names)
