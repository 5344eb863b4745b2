"""Data from a function of the user's, for everything that no file format covers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fulcrum_components.data.arrays import ArrayTable
from fulcrum_components.data.dataset import TEXT, Table
from fulcrum_components.data.label_values import Array
from fulcrum_components.sources.naming import listed
from fulcrum_components.sources.usercode import load_function, user_errors
from fulcrum_components.tasks.values import Indices
from fulcrum_pipelines.errors import UserError


class ItemTable:
    """Examples of an object with `__len__` and `__getitem__`, fetched one by one.

    Args:
        items: The user's object; each item is a mapping of names to numbers or arrays.
        origin: File that the function is in.
        where: Field path and file, for messages.
    """

    flat = False
    targets_are_cheap = False
    folders = None

    def __init__(self, items: Any, *, origin: str, where: str) -> None:
        self.origin = origin
        self._items = items
        self._where = where
        with user_errors(where):
            self._examples = len(items)
        self.parts: tuple[int, ...] = (self._examples,)
        self.names = tuple(self._item(0)) if self._examples else ()

    def __len__(self) -> int:
        """Return the number of examples."""
        return self._examples

    def restrict(self, names: Sequence[str]) -> ItemTable:
        """Return the table itself: each item has all of its parts."""
        return self

    def read(self, names: Sequence[str], indices: Indices, dtype: str) -> Array:
        """Return the values of `names` for the examples `indices`, side by side if several."""
        rows = [self._row(names, int(index)) for index in indices]
        shapes = {row.shape for row in rows}
        if len(shapes) > 1:
            message = (
                f"{listed(names)} has shapes {listed(map(str, sorted(shapes)), 3)} in one batch; "
                "pad the examples to one shape"
            )
            raise UserError(message, where=self._where)
        values = np.stack(rows)
        if values.dtype.hasobject:
            raise UserError(
                f"{listed(names)} holds Python objects, expected numbers", where=self._where
            )
        return values.astype(str) if dtype == TEXT else values

    def _row(self, names: Sequence[str], index: int) -> Array:
        item = self._item(index)
        missing = [name for name in names if name not in item]
        if missing:
            message = f"example {index} has no {listed(missing)}; it has {listed(item)}"
            raise UserError(message, where=self._where)
        parts = [np.asarray(item[name]) for name in names]
        return parts[0] if len(parts) == 1 else np.stack(parts)

    def _item(self, index: int) -> Mapping[str, Any]:
        with user_errors(self._where):
            item = self._items[index]
        if not isinstance(item, Mapping):
            message = f"example {index} is a {type(item).__name__}, expected a mapping of names"
            raise UserError(message, where=self._where)
        return item


def open_python(path: Path, function: str, arguments: Mapping[str, str], *, where: str) -> Table:
    """Call the user's function and return what it gives as a table.

    Raises:
        UserError: The function is not there, raises, or returns something else than a mapping of
            arrays or an object with `__len__` and `__getitem__`.
    """
    found = load_function(path, function, where=where)
    with user_errors(where):
        value = found(**arguments)
    if isinstance(value, Mapping):
        with user_errors(where):
            arrays = {str(name): np.asarray(array) for name, array in value.items()}
        for name, array in arrays.items():
            if array.ndim == 0:
                raise UserError(f"'{name}' is a single value, not examples", where=where)
        return ArrayTable(arrays, origin=path.name, where=where)
    if hasattr(value, "__len__") and hasattr(value, "__getitem__"):
        return ItemTable(value, origin=path.name, where=where)
    message = (
        f"{function} returned a {type(value).__name__}, expected a mapping of arrays or an object "
        "with __len__ and __getitem__"
    )
    raise UserError(message, where=where)
