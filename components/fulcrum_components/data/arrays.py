"""Tables whose columns are arrays, in memory or mapped from files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from fulcrum_components.data.columns import check_same
from fulcrum_components.data.dataset import TEXT
from fulcrum_components.data.gathering import DataFile
from fulcrum_components.data.label_values import Array
from fulcrum_components.sources.naming import listed
from fulcrum_components.tasks.values import Indices
from fulcrum_pipelines.errors import UserError


class Column(Protocol):
    """The interface of an array that a table needs."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The element type."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes; axis 0 counts examples."""

    def __len__(self) -> int:
        """Return the number of examples."""

    def __getitem__(self, indices: Indices, /) -> Array:
        """Return the entries at `indices`."""


class ArrayTable:
    """Arrays with one entry an example, one array a name.

    Args:
        arrays: The arrays; those mapped from a file are read only if examples are asked for.
        origin: File that they come from.
        where: Field path and file, for messages.

    Raises:
        UserError: An array holds Python objects.
    """

    flat = False
    targets_are_cheap = True
    folders = None

    def __init__(self, arrays: Mapping[str, Column], *, origin: str, where: str) -> None:
        self.names = tuple(arrays)
        self.origin = origin
        self.parts = _parts(next(iter(arrays.values()))) if arrays else (0,)
        self._arrays = dict(arrays)
        self._where = where
        for name, array in arrays.items():
            if array.dtype.hasobject:
                message = (
                    f"array '{name}' holds Python objects, which need unpickling; "
                    "store numbers or text of one type"
                )
                raise UserError(message, where=where)

    def __len__(self) -> int:
        """Return the number of examples."""
        return sum(self.parts)

    def restrict(self, names: Sequence[str]) -> ArrayTable:
        """Return this table with the number of examples that the arrays `names` have.

        Raises:
            UserError: Their lengths differ.
        """
        lengths = {name: len(self._arrays[name]) for name in names}
        if len(set(lengths.values())) > 1:
            found = ", ".join(f"'{name}' {length}" for name, length in lengths.items())
            raise UserError(f"arrays differ in length: {found}", where=self._where)
        parts = {name: _parts(self._arrays[name]) for name in names}
        for name, own in parts.items():
            self._check_parts(name, own, names[0], parts[names[0]])
        table = ArrayTable(self._arrays, origin=self.origin, where=self._where)
        table.parts = parts[names[0]]
        return table

    def _check_parts(
        self, name: str, own: Sequence[int], first: str, others: Sequence[int]
    ) -> None:
        """Refuse arrays that are cut at different examples, since those would be mixed up."""
        if len(own) != len(others):  # not from the same files
            return
        for number, (length, other) in enumerate(zip(own, others, strict=True)):
            if length != other:
                message = (
                    f"arrays differ in length in file {number + 1} of {len(own)}: "
                    f"'{first}' {other}, '{name}' {length}"
                )
                raise UserError(message, where=self._where)

    def read(self, names: Sequence[str], indices: Indices, dtype: str) -> Array:
        """Return the values of `names` for the examples `indices`, side by side if several."""
        parts = [self._column(name)[indices] for name in names]
        if len(parts) == 1:
            return np.asarray(parts[0].astype(str) if dtype == TEXT else parts[0])
        shapes = {part.shape for part in parts}
        if len(shapes) > 1 or parts[0].ndim != 1:
            message = f"only arrays with one number an example can be joined, not {listed(names)}"
            raise UserError(message, where=self._where)
        return np.stack(parts, axis=1)

    def _column(self, name: str) -> Column:
        array = self._arrays[name]
        if len(array) != len(self):
            message = f"array '{name}' has {len(array)} entries for {len(self)} examples"
            raise UserError(message, where=self._where)
        return array


class Pieces:
    """Arrays one after the other that are indexed as if they were one, without copying them.

    Args:
        parts: Arrays with the same element type, but for the length of text, and the same shape,
            but for axis 0.
    """

    def __init__(self, parts: Sequence[Array]) -> None:
        self._parts = parts
        self.lengths = tuple(map(len, parts))
        self._starts = np.cumsum([0, *self.lengths])
        self.dtype: np.dtype[Any] = np.result_type(*(part.dtype for part in parts))
        self.shape = (int(self._starts[-1]), *parts[0].shape[1:])

    def __len__(self) -> int:
        """Return the number of entries of all parts."""
        return int(self._starts[-1])

    def __getitem__(self, indices: Indices) -> Array:
        """Return the entries at `indices`."""
        values = np.empty((len(indices), *self.shape[1:]), self.dtype)
        owner = np.searchsorted(self._starts, indices, side="right") - 1
        for number in np.unique(owner):
            mine = owner == number
            values[mine] = self._parts[number][indices[mine] - self._starts[number]]
        return values


def concatenated(parts: Sequence[tuple[DataFile, Mapping[str, Array]]]) -> dict[str, Column]:
    """Return the arrays of several files, joined by name.

    Raises:
        UserError: A file has other names, types or shapes than the first.
    """
    (first, expected), *others = parts
    for file, arrays in others:
        kinds = _kinds(arrays), _kinds(expected)
        names, known = sorted(arrays), sorted(expected)  # their order means nothing
        check_same(names, known, first.name, where=file.where, kinds=kinds, what="array")
    if not others:
        return dict(expected)
    return {name: Pieces([arrays[name] for _, arrays in parts]) for name in expected}


def _parts(array: Column) -> tuple[int, ...]:
    """Return the number of entries from each file."""
    return array.lengths if isinstance(array, Pieces) else (len(array),)


def _kinds(arrays: Mapping[str, Array]) -> dict[str, str]:
    return {name: _kind(array) for name, array in arrays.items()}


def _kind(array: Array) -> str:
    """Return type and shape of an example, which all files need; text may be longer in some."""
    kind = "text" if array.dtype.kind in "SU" else str(array.dtype)
    return f"{kind}[n{''.join(f', {size}' for size in array.shape[1:])}]"
