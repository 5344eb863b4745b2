"""Tables of rows: CSV and Parquet files, read once from front to back in pieces.

Neither format can be entered at any row, and text is slow to parse. So the columns that are asked
for are turned once into flat arrays in the cache, piece by piece, and mapped into memory from
there. That costs disk instead of memory, and makes shuffling and a second stage cheap.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from fulcrum_components.data.dataset import LABEL, TEXT, TIME
from fulcrum_components.data.gathering import DataFile
from fulcrum_components.data.label_values import Array
from fulcrum_components.data.times import kind_of, parse_times
from fulcrum_components.sources.naming import listed
from fulcrum_components.tasks.values import Indices
from fulcrum_pipelines.errors import UserError

VALUES, VOCABULARY = "values.npy", "vocabulary.json"


class RowReader(Protocol):
    """One format of rows.

    Attributes:
        names: The columns, in order.
    """

    names: tuple[str, ...]

    def batches(self, columns: Sequence[str], dtype: str) -> Iterator[pa.RecordBatch]:
        """Yield all rows of `columns` as `dtype`, some at a time.

        Raises:
            UserError: The file is damaged, or a value is not of the type.
        """

    def counts(self) -> tuple[int, ...]:
        """Return the number of rows of each file."""

    def is_text(self, column: str) -> bool:
        """Return whether `column` may hold something else than numbers."""


class RowTable:
    """Columns of rows, mapped from arrays in the cache.

    Args:
        reader: The rows.
        files: Files that they come from; a change of them makes the cache void.
        cache_dir: Directory for the arrays.
        where: Field path and file, for messages.
    """

    flat = True
    targets_are_cheap = True
    folders = None

    def __init__(
        self, reader: RowReader, files: Sequence[DataFile], *, cache_dir: Path, where: str
    ) -> None:
        self.names = reader.names
        self.origin = files[0].name if len(files) == 1 else f"{files[0].name}, ..."
        self._reader = reader
        self._files = files
        self._cache = cache_dir / "columns"
        self._where = where
        self.parts = reader.counts()
        self._examples = sum(self.parts)
        self._mapped: dict[Path, tuple[Array, Array | None]] = {}

    def __len__(self) -> int:
        """Return the number of rows."""
        return self._examples

    def restrict(self, names: Sequence[str]) -> RowTable:
        """Return the table itself: all columns have the same length."""
        return self

    def read(self, names: Sequence[str], indices: Indices, dtype: str) -> Array:
        """Return the values of `names` for the rows `indices`, side by side if several."""
        self._check_names(names)
        if dtype == LABEL:
            dtype = TEXT if self._reader.is_text(names[0]) else "float64"
        folder = self._cache / self._key(names, dtype)
        if folder not in self._mapped:
            if not folder.is_dir():
                self._convert(names, dtype, folder)
            self._mapped[folder] = _open(folder)
        values, vocabulary = self._mapped[folder]
        found: Array = np.asarray(values[indices])
        return found if vocabulary is None else vocabulary[found]

    def _check_names(self, names: Sequence[str]) -> None:
        for name in names:
            if self.names.count(name) > 1:
                message = f"has {self.names.count(name)} columns named '{name}'; rename one"
                raise UserError(message, where=self._where)

    def _key(self, names: Sequence[str], dtype: str) -> str:
        """Return a name for these columns of these files as they are now."""
        paths = [file.path for file in self._files]
        stats = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
        return hashlib.sha256(repr((stats, list(names), dtype)).encode()).hexdigest()

    def _convert(self, names: Sequence[str], dtype: str, folder: Path) -> None:
        self._cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._cache) as temporary:
            made = Path(temporary) / "made"
            made.mkdir()
            if dtype == TEXT:
                self._write_text(names[0], made)
            else:
                self._write_numbers(names, dtype, made)
            if not folder.is_dir():
                shutil.move(made, folder)

    def _write_numbers(self, names: Sequence[str], dtype: str, made: Path) -> None:
        values: Array | None = None
        row = 0
        for batch in self._reader.batches(names, dtype):
            if not len(batch):  # of a file without rows, which has no type in CSV
                continue
            block = self._block(batch, names, row, dtype)
            if values is None:
                shape = (self._examples, *block.shape[1:])
                values = np.lib.format.open_memmap(
                    made / VALUES, mode="w+", dtype=block.dtype, shape=shape
                )
            where, local = self._place(row)
            if block.shape[1:] != values.shape[1:]:
                message = f"{listed(names)} has rows of different lengths, near row {local}"
                raise UserError(message, where=where)
            if dtype == TIME and block.dtype != values.dtype:
                kinds = f"{kind_of(block.dtype)}, but {kind_of(values.dtype)} before"
                message = f"column '{names[0]}' holds a {kinds}, near row {local}"
                raise UserError(message, where=where)
            values[row : row + len(block)] = block[: self._examples - row]
            row += len(block)
        self._check_rows(row)

    def _place(self, row: int) -> tuple[str, int]:
        """Return the place of a row for messages: its file, and its number there from 0."""
        for file, rows in zip(self._files, self.parts, strict=True):
            if row < rows:
                return file.where, row
            row -= rows
        return self._where, row

    def _block(self, batch: pa.RecordBatch, names: Sequence[str], row: int, dtype: str) -> Array:
        """Return a piece as an array of shape (rows,) or (rows, values)."""
        if dtype == TIME:
            return parse_times(batch.column(0), names[0], lambda each: self._place(row + each))
        parts = [self._values(batch.column(name), name, row) for name in names]
        if len(parts) == 1:
            return parts[0]
        return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)

    def _values(self, column: Any, name: str, row: int) -> Array:
        if column.null_count:
            first = row + int(np.flatnonzero(column.is_null().to_numpy(False))[0])
            where, local = self._place(first)
            raise UserError(f"column '{name}' has no value in row {local}", where=where)
        return _flat(column, name, self._place(row)[0])

    def _write_text(self, name: str, made: Path) -> None:
        codes = np.lib.format.open_memmap(
            made / VALUES, mode="w+", dtype=np.int32, shape=(self._examples,)
        )
        known: dict[str, int] = {}
        row = 0
        for batch in self._reader.batches([name], TEXT):
            texts = batch.column(0).to_pylist()
            found = [known.setdefault("" if text is None else text, len(known)) for text in texts]
            codes[row : row + len(texts)] = found[: self._examples - row]
            row += len(texts)
        self._check_rows(row)
        (made / VOCABULARY).write_text(json.dumps(list(known)), "utf-8")

    def _check_rows(self, rows: int) -> None:
        """Refuse a file whose rows are not one a line, since they were counted as lines."""
        if rows != self._examples:
            message = (
                f"has {rows} rows in {self._examples} lines; values must not contain line breaks"
            )
            raise UserError(message, where=self._where)


def holds_numbers(kind: pa.DataType) -> bool:
    """Return whether values of the Arrow type `kind` are numbers, or lists of numbers."""
    kind = _stored(kind)
    if pa.types.is_dictionary(kind) or _is_list(kind):
        return holds_numbers(kind.value_type)
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
    )


def _stored(kind: pa.DataType) -> pa.DataType:
    """Return the storage type of `kind`, if it is an extension such as a tensor."""
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _open(folder: Path) -> tuple[Array, Array | None]:
    values = np.load(folder / VALUES, mmap_mode="r", allow_pickle=False)
    vocabulary = folder / VOCABULARY
    if not vocabulary.is_file():
        return values, None
    return values, np.array(json.loads(vocabulary.read_text("utf-8")), dtype=str)


def _flat(column: Any, name: str, where: str) -> Array:
    """Return a column of numbers, or of lists of equally many numbers, as an array."""
    if isinstance(column.type, pa.BaseExtensionType):
        return _flat(column.storage, name, where)
    if _is_list(column.type):
        if not pa.types.is_fixed_size_list(column.type):
            lengths = np.unique(column.value_lengths().to_numpy(False))
            if len(lengths) > 1:
                raise UserError(f"column '{name}' has lists of different lengths", where=where)
        return _flat(column.flatten(), name, where).reshape(len(column), -1)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_decimal(column.type):
        column = column.cast(pa.float64())
    if column.null_count:
        raise UserError(f"column '{name}' has empty values", where=where)
    values: Array = column.to_numpy(zero_copy_only=False)
    if values.dtype == np.uint64:  # beside signed numbers it would become fractions
        if values.size and values.max() > np.iinfo(np.int64).max:
            message = f"column '{name}' holds {values.max()}, which does not fit int64"
            raise UserError(message, where=where)
        values = values.astype(np.int64)
    return values
