"""Rows of CSV files, plain or gzipped."""

from __future__ import annotations

import codecs
import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from csv import reader as read_cells
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv

from fulcrum_components.data.columns import check_same
from fulcrum_components.data.dataset import TEXT, TIME
from fulcrum_components.data.gathering import DataFile
from fulcrum_components.sources.archives import check_expansion
from fulcrum_components.sources.naming import listed
from fulcrum_pipelines.errors import UserError

BLOCK_BYTES = 1 << 18
"""How much text is parsed at once. Arrow reads some thirty of these ahead."""

ROWS_A_BLOCK = 16
"""A row must fit into a block, so blocks grow with the rows that the file begins with."""

LONGEST_ROW_BYTES = 1 << 24

CONVERSION = re.compile(r"CSV column #(\d+).*conversion error to (\w+): invalid value '(.*)'")
LINE_END = re.compile(rb"[\r\n]")
OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
WITH_COMMA = re.compile(r"\s*[-+]?[0-9.]*,[0-9]+(e[-+]?[0-9]+)?\s*", re.IGNORECASE)
"""A number with a decimal comma, perhaps with points between thousands."""

LINES_LOOKED_AT = 20
"""Number of lines from which the separator of columns is detected."""

RAGGED = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+)")
NUMBER = re.compile(r"[-+]?[0-9.]+(e[-+]?[0-9]+)?")
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
KINDS = {"double": "float64", "float": "float32"}
LINE = re.compile(r"Row #(\d+)")
"""How Arrow words a value of the wrong type; columns count from 0, lines from 1."""


class CsvRows:
    """Rows of one or more CSV files with the same header.

    Args:
        files: The files.

    Raises:
        UserError: A file has no header, or another one than the first.
    """

    def __init__(self, files: Sequence[DataFile]) -> None:
        self._files = files
        self._rows = tuple(map(self._count, files))
        headers = list(map(self._header, files))
        self.names = headers[0]
        for file, names in zip(files, headers, strict=True):
            check_same(names, self.names, files[0].name, where=file.where)

    def counts(self) -> tuple[int, ...]:
        """Return each file's rows: its lines with something in them, but for the header."""
        return self._rows

    def is_text(self, column: str) -> bool:
        """Return whether `column` may hold more than numbers, which only reading shows."""
        return column in self.names

    def _count(self, file: DataFile) -> int:
        """Return the number of rows of one file, read piece by piece.

        Raises:
            UserError: It is damaged, expands beyond reason, or has a line that no block can hold.
        """
        opener = gzip.open if file.path.suffix.lower() == ".gz" else open
        size, expanded, lines = file.path.stat().st_size, 0, _Lines()
        try:
            with opener(file.path, "rb") as stream:
                while piece := stream.read(BLOCK_BYTES):
                    expanded += len(piece)
                    check_expansion(expanded, size, file.where, kind="gzip")
                    lines.add(piece)
                    if lines.unended_bytes > LONGEST_ROW_BYTES:
                        message = (
                            f"{file.name} has a line of more than {LONGEST_ROW_BYTES} bytes; "
                            "store so many columns as .npz or .parquet"
                        )
                        raise UserError(message, where=file.where)
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(_readable(error, ()), where=file.where) from None
        return lines.filled - 1

    def batches(self, columns: Sequence[str], dtype: str) -> Iterator[pa.RecordBatch]:
        """Yield all rows of `columns` as `dtype`, some at a time."""
        kind = pa.string() if dtype in (TEXT, TIME) else pa.from_numpy_dtype(dtype)
        for file in self._files:
            try:
                with self._open(file, columns, kind) as reader:
                    yield from reader
            except (pa.ArrowInvalid, OSError, UnicodeDecodeError) as error:
                raise UserError(_readable(error, self.names), where=file.where) from None

    def _open(
        self, file: DataFile, columns: Sequence[str], kind: pa.DataType
    ) -> csv.CSVStreamingReader:
        return csv.open_csv(
            _stream(file.path),
            read_options=_options(file.path),
            convert_options=csv.ConvertOptions(
                include_columns=list(columns),
                column_types=dict.fromkeys(columns, kind),
                strings_can_be_null=False,
            ),
        )

    def _header(self, file: DataFile) -> tuple[str, ...]:
        try:
            with _stream(file.path) as stream:
                start = stream.read(BLOCK_BYTES)
            if start.startswith(UTF_16) or b"\0" in start:
                kind = "text in UTF-16" if start.startswith(UTF_16) else "binary data, not text"
                message = f"{file.name} is {kind}; save it as CSV in UTF-8"
                raise UserError(message, where=file.where)
            self._check_separator(file, start)
            with csv.open_csv(_stream(file.path), read_options=_options(file.path)) as reader:
                names = tuple(reader.schema.names)
        except (pa.ArrowInvalid, OSError, UnicodeDecodeError) as error:
            raise UserError(_readable(error, ()), where=file.where) from None
        self._check_header(file, names)
        return names

    def _check_separator(self, file: DataFile, start: bytes) -> None:
        """Refuse a file whose columns are not separated by commas, before they are counted."""
        text = start.removeprefix(codecs.BOM_UTF8).decode(errors="replace")
        lines = [line for line in text.splitlines() if line.strip()][:LINES_LOOKED_AT]
        for separator, word in OTHER_SEPARATORS.items():
            rows = list(read_cells(lines, delimiter=separator))
            if not _is_separated(rows, list(read_cells(lines))):
                continue
            numbers = [cell for row in rows[1:] for cell in row if WITH_COMMA.fullmatch(cell)]
            message = f"{file.name} has its columns separated by {word}; write it with commas"
            if numbers:
                message = (
                    f"{file.name} has its columns separated by {word} and decimal commas "
                    f"('{numbers[0]}'); write it with ',' between columns and '.' in numbers"
                )
            raise UserError(message, where=file.where)

    def _check_header(self, file: DataFile, names: Sequence[str]) -> None:
        twice = [name for name in dict.fromkeys(names) if name and names.count(name) > 1]
        if all(map(NUMBER.fullmatch, names)) or twice:
            detail = f"; there are several named {listed(map(repr, twice))}" if twice else ""
            message = f"{file.name} needs a first line with distinct names of the columns{detail}"
            raise UserError(message, where=file.where)


class _Lines:
    """Counts the lines of a text that comes in pieces.

    Attributes:
        unended_bytes: Length of the line at the end, which goes on in the next piece.
    """

    def __init__(self) -> None:
        self._ended = 0
        self._open = False
        self.unended_bytes = 0

    @property
    def filled(self) -> int:
        """Lines with something in them, the one at the end included."""
        return self._ended + self._open

    def add(self, piece: bytes) -> None:
        """Count one piece more."""
        piece = piece.replace(b"\r", b"\n")  # of both together, the line between is empty
        last = piece.rfind(b"\n")
        self.unended_bytes = len(piece) - last - 1 + (self.unended_bytes if last < 0 else 0)
        ends = np.frombuffer(piece, np.uint8) == ord("\n")
        if ends.size:
            before = np.concatenate([[not self._open], ends[:-1]])
            self._ended += int(np.count_nonzero(ends & ~before))
            self._open = not ends[-1]


def _is_separated(rows: list[list[str]], by_comma: list[list[str]]) -> bool:
    """Return whether the first lines of a file, in cells by another separator, are its rows."""
    if not rows or len(rows[0]) == 1:
        return False
    alike = len(set(map(len, rows))) == 1 < len(rows)
    return len(by_comma[0]) == 1 or (alike and len(set(map(len, by_comma))) > 1)


def _stream(path: Path) -> pa.NativeFile:
    """Open `path`; Arrow alone would also unpack what other endings promise."""
    return pa.input_stream(path, compression="gzip" if path.suffix.lower() == ".gz" else None)


def _options(path: Path) -> csv.ReadOptions:
    """Return how to read `path`, in blocks that hold several of its first rows."""
    with _stream(path) as stream:
        start = stream.read(BLOCK_BYTES)
        while not LINE_END.search(start) and len(start) < LONGEST_ROW_BYTES:
            more = stream.read(BLOCK_BYTES)
            if not more:
                break
            start += more
    longest = max(map(len, LINE_END.split(start)))
    return csv.ReadOptions(use_threads=False, block_size=max(BLOCK_BYTES, ROWS_A_BLOCK * longest))


def _readable(error: Exception, names: Sequence[str]) -> str:
    """Return Arrow's message in words about the file."""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    if "Empty CSV file" in text:
        return "the file is empty; it needs a first line with the names of the columns"
    if isinstance(error, UnicodeDecodeError) or "invalid UTF8" in text:
        return "is not text in UTF-8; save it in that coding"
    found = CONVERSION.search(text)
    if found:
        number, kind, value = found.groups()
        column = names[int(number)] if int(number) < len(names) else number
        line = LINE.search(text)
        place = f" in line {line.group(1)}" if line else ""
        advice = "; write numbers with '.' and no ','" if WITH_COMMA.fullmatch(value) else ""
        return f"column '{column}': '{value}'{place} is no {KINDS.get(kind, kind)}{advice}"
    ragged = RAGGED.search(text)
    if ragged:
        number, expected, got = ragged.groups()
        return (
            f"line {number} has {got} columns, but the lines before have {expected} columns; "
            "complete it, put cells with commas in quotes, and write numbers with '.'"
        )
    return f"is damaged, truncated or no CSV file ({text})"
