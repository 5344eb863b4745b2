"""Tell the formats of data apart and open each as a table."""

from __future__ import annotations

from pathlib import Path

from fulcrum_components.data.arrays import ArrayTable
from fulcrum_components.data.dataset import Table
from fulcrum_components.data.npy import open_npz
from fulcrum_components.data.python_source import open_python
from fulcrum_components.models.signature import Signature
from fulcrum_components.sources.fetching import fetch_all
from fulcrum_pipelines.resources.compressionjob import DataSource

ENDINGS = {".npz": "npz", ".npy": "npy", ".csv": "csv", ".csv.gz": "csv", ".parquet": "parquet"}


def open_table(source: DataSource, signature: Signature, *, where: str, cache_dir: Path) -> Table:
    """Fetch the files of `source` and open them by their format.

    Raises:
        UserError: The format cannot be told, or the files do not hold it.
        InfrastructureError: Remote storage did not answer.
    """
    paths = fetch_all(source.uri, cache_dir=cache_dir, where=f"{where}.uri")
    place = f"{where} ({paths[0].name})"
    if source.format == "python":
        assert source.function is not None
        return open_python(paths[0], source.function, source.arguments or {}, where=place)
    arrays = open_npz(paths[0], cache_dir=cache_dir, where=place)
    return ArrayTable(arrays, origin=paths[0].name, where=place)
