"""Open the files of a data source as a table, by their format."""

from __future__ import annotations

from pathlib import Path

from fulcrum_components.data.arrays import ArrayTable, concatenated
from fulcrum_components.data.csv_rows import CsvRows
from fulcrum_components.data.dataset import Table
from fulcrum_components.data.gathering import Gathered
from fulcrum_components.data.image_folder import ImageTable
from fulcrum_components.data.npy import open_npy, open_npz
from fulcrum_components.data.parquet_rows import ParquetRows
from fulcrum_components.data.python_source import open_python
from fulcrum_components.data.tabular import RowTable
from fulcrum_components.models.signature import Signature
from fulcrum_components.notes import Notes
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.resources.compressionjob import DataSource


def open_table(
    gathered: Gathered,
    source: DataSource,
    signature: Signature,
    *,
    where: str,
    cache_dir: Path,
    notes: Notes,
) -> Table:
    """Open the files of `source`; `notes` takes conversions.

    Raises:
        UserError: The files do not have the format, or differ from each other.
    """
    files, place = gathered.files, f"{where} ({gathered.origin})"
    match gathered.kind:
        case "imageFolder":
            return ImageTable(files[0].path, source, signature, where=place, notes=notes)
        case "python":
            if source.function is None:
                raise UserError("format python needs function", where=f"{where}.function")
            arguments = source.arguments or {}
            return open_python(files[0].path, source.function, arguments, where=place)
        case "csv":
            return RowTable(CsvRows(files), files, cache_dir=cache_dir, where=place)
        case "parquet":
            return RowTable(ParquetRows(files), files, cache_dir=cache_dir, where=place)
        case "npy":
            return _npy_table(gathered, source, signature, place)
    parts = [(file, open_npz(file.path, cache_dir=cache_dir, where=file.where)) for file in files]
    return ArrayTable(concatenated(parts), origin=gathered.origin, where=place)


def _npy_table(
    gathered: Gathered, source: DataSource, signature: Signature, place: str
) -> ArrayTable:
    """Return the arrays of `uri` and `targetUri` under the names that the binding looks for."""
    if len(signature.inputs) != 1:
        message = f"format npy feeds one input, but the model has {len(signature.inputs)}; use npz"
        raise UserError(message, where=place)
    name = signature.inputs[0].name
    arrays = concatenated([(f, {name: open_npy(f.path, f.where)}) for f in gathered.files])
    if gathered.answers:
        answers = [(f, {source.target: open_npy(f.path, f.where)}) for f in gathered.answers]
        arrays |= concatenated(answers)
    return ArrayTable(arrays, origin=gathered.origin, where=place)
