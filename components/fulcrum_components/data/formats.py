"""Detect the format of data and open it as a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fulcrum_components.data.arrays import ArrayTable, concatenated
from fulcrum_components.data.csv_rows import CsvRows
from fulcrum_components.data.dataset import Table
from fulcrum_components.data.image_folder import ImageTable
from fulcrum_components.data.label_values import Array
from fulcrum_components.data.npy import open_npy, open_npz
from fulcrum_components.data.parquet_rows import ParquetRows
from fulcrum_components.data.python_source import open_python
from fulcrum_components.data.tabular import RowTable
from fulcrum_components.models.signature import Signature
from fulcrum_components.notes import Notes
from fulcrum_components.sources.fetching import fetch_all
from fulcrum_components.sources.naming import listed
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.resources.compressionjob import DataSource

ENDINGS = {".npz": "npz", ".npy": "npy", ".csv": "csv", ".csv.gz": "csv", ".parquet": "parquet"}


def open_table(
    source: DataSource, signature: Signature, *, where: str, cache_dir: Path, notes: Notes
) -> Table:
    """Fetch the files of `source` and open them by their format; `notes` takes conversions.

    Raises:
        UserError: The format cannot be detected, or the files do not have it.
        InfrastructureError: Remote storage did not answer.
    """
    paths = fetch_all(source.uri, cache_dir=cache_dir, where=f"{where}.uri")
    kind = source.format if source.format != "auto" else _format_of(paths[0], where)
    place = f"{where} ({paths[0].name})"
    if kind == "imageFolder":
        folder = _single(paths, kind, where)
        if not folder.is_dir():
            raise UserError("is a file, an image folder is a directory", where=place)
        return ImageTable(folder, source, signature, where=place, notes=notes)
    if kind == "python":
        _check_kind(paths, where)
        if source.function is None:
            raise UserError("format python needs function", where=f"{where}.function")
        file = _single(paths, kind, where)
        return open_python(file, source.function, source.arguments or {}, where=place)
    paths = _files_of(paths, kind, place)
    if kind == "csv":
        return RowTable(CsvRows(paths, place), paths, cache_dir=cache_dir, where=place)
    if kind == "parquet":
        return RowTable(ParquetRows(paths, place), paths, cache_dir=cache_dir, where=place)
    if kind == "npy":
        return _npy_table(paths, source, signature, where=where, cache_dir=cache_dir)
    parts = [open_npz(path, cache_dir=cache_dir, where=f"{where} ({path.name})") for path in paths]
    return ArrayTable(concatenated(parts, place), origin=paths[0].name, where=place)


def _format_of(path: Path, where: str) -> str:
    if path.is_dir():
        return "imageFolder"
    for ending, kind in ENDINGS.items():
        if path.name.lower().endswith(ending):
            return kind
    message = (
        f"the format of '{path.name}' is not clear from its name; known endings are "
        f"{listed(ENDINGS)}, or set format"
    )
    raise UserError(message, where=f"{where}.format")


def _single(paths: Sequence[Path], kind: str, where: str) -> Path:
    if len(paths) != 1:
        message = f"matches {len(paths)} files, but format {kind} takes one"
        raise UserError(message, where=f"{where}.uri")
    return paths[0]


def _files_of(paths: Sequence[Path], kind: str, where: str) -> list[Path]:
    """Return `paths`, with a directory replaced by the files of `kind` in it."""
    endings = tuple(ending for ending, name in ENDINGS.items() if name == kind)
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += sorted(
                item
                for item in path.iterdir()
                if item.name.lower().endswith(endings) and item.name[0] != "."
            )
        else:
            files.append(path)
    if not files:
        raise UserError(f"the directory holds no {listed(endings)} files", where=where)
    _check_kind(files, where)
    return files


def _check_kind(paths: Sequence[Path], where: str) -> None:
    """Refuse what would be waited for or read without end."""
    for path in paths:
        if not path.is_file():
            raise UserError(f"'{path.name}' is no file that can be read", where=where)


def _npy_table(
    paths: Sequence[Path],
    source: DataSource,
    signature: Signature,
    *,
    where: str,
    cache_dir: Path,
) -> ArrayTable:
    """Return the arrays of `uri` and `targetUri` under the names that the binding looks for."""
    place = f"{where} ({paths[0].name})"
    if len(signature.inputs) != 1:
        message = f"format npy feeds one input, but the model has {len(signature.inputs)}; use npz"
        raise UserError(message, where=place)
    name = signature.inputs[0].name
    parts: list[dict[str, Array]] = [
        {name: open_npy(path, f"{where} ({path.name})")} for path in paths
    ]
    arrays = concatenated(parts, place)
    if source.target_uri is not None:
        answers = fetch_all(source.target_uri, cache_dir=cache_dir, where=f"{where}.targetUri")
        _check_kind(answers, f"{where}.targetUri")
        pieces = [
            {source.target: open_npy(path, f"{where}.targetUri ({path.name})")} for path in answers
        ]
        arrays |= concatenated(pieces, place)
    return ArrayTable(arrays, origin=paths[0].name, where=place)
