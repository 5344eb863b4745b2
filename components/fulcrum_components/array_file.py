"""Files of named arrays (.npz), read without pickle."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from fulcrum_pipelines.errors import InfrastructureError

T = TypeVar("T")

Arrays = dict[str, np.ndarray[Any, np.dtype[Any]]]


def read_arrays(path: Path, what: str, parse: Callable[[Arrays], T]) -> T:
    """Return what `parse` makes of the arrays in `path`.

    Args:
        path: File of `np.savez` or `np.savez_compressed`.
        what: What the file holds, for the message.
        parse: Raises KeyError or ValueError if arrays are missing or wrong.

    Raises:
        InfrastructureError: The file is damaged or is something else.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            return parse({name: file[name] for name in file.files})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, TypeError) as error:
        message = f"is not a file of {what}, or is damaged; run the stage again with --no-cache"
        raise InfrastructureError(message, where=str(path)) from error
