"""Normalise class labels: one whole number or text an example.

Files of the same data differ in this: numbers become floats if a value was missing once, text if
they went through CSV, and rows of zeros with a one if a trainer needed them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from fulcrum_components.notes import Notes
from fulcrum_components.tasks.values import Indices
from fulcrum_pipelines.errors import UserError

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Seen:
    """One label of a data set.

    Attributes:
        first: Number of the first example that has it.
        count: How many have it.
    """

    first: int
    count: int


@dataclass(frozen=True)
class Observed:
    """The labels of one data set.

    Attributes:
        where: Field path and file.
        folders: Whether they are names of folders of images.
        labels: By text.
    """

    where: str
    folders: bool
    labels: dict[str, Seen] = field(default_factory=dict)

    def expect(self, labels: Iterable[str]) -> None:
        """Add `labels` that are classes, whether an example has them or not."""
        for label in labels:
            self.labels.setdefault(label, Seen(0, 0))

    def add(self, labels: Array, indices: Indices) -> None:
        """Count plain labels (n,) of the examples `indices`."""
        distinct, first, counts = np.unique(labels, return_index=True, return_counts=True)
        for label, place, count in zip(distinct.tolist(), first, counts, strict=True):
            before = self.labels.get(str(label), Seen(0, 0))
            example = before.first if before.count else int(indices[place])
            self.labels[str(label)] = Seen(example, before.count + int(count))


def plain_labels(
    values: Array, classes: int | None, indices: Indices, *, where: str, notes: Notes
) -> Array:
    """Return labels as int64 or text, (n,).

    Args:
        values: As the data hold them, examples along axis 0.
        classes: Number of classes that the model distinguishes, if known.
        indices: Numbers of the examples, for messages.
        where: Field path and file, for messages.
        notes: Takes what was converted.

    Raises:
        UserError: They are no labels, or several an example.
    """
    if values.ndim > 1:
        values = _one_an_example(values, classes, indices, where, notes)
    kind = values.dtype.kind
    if kind in "SU":
        return _texts(values, indices, where)
    if kind == "b":
        return values.astype(str)
    if kind == "f":
        return _whole(values, indices, where, notes)
    if kind not in "iu":
        message = f"class labels are {values.dtype.name}, expected whole numbers or text"
        raise UserError(message, where=where)
    if kind == "u" and values.size and values.max() > np.iinfo(np.int64).max:
        raise UserError(f"the label {values.max()} is too large for a class", where=where)
    return values.astype(np.int64)


def _one_an_example(
    values: Array, classes: int | None, indices: Indices, where: str, notes: Notes
) -> Array:
    width = int(np.prod(values.shape[1:], dtype=np.int64))
    if width == 1:
        return values.reshape(len(values))
    advice = "store one label an example, such as the argmax of a row"
    if values.ndim != 2 or values.dtype.kind not in "biuf" or width != (classes or width):
        shape = ", ".join(map(str, ("n", *values.shape[1:])))
        message = f"class labels have {values.ndim} axes, [{shape}]; {advice}"
        raise UserError(message, where=where)
    one_hot = ((values == 0) | (values == 1)).all(axis=1) & ((values != 0).sum(axis=1) == 1)
    if not one_hot.all():
        place = int(np.argmin(one_hot))
        message = (
            f"class labels have 2 axes, and the row of example {indices[place]} is not one-hot; "
            f"{advice}"
        )
        raise UserError(message, where=where)
    notes.add("one-hot", "one-hot rows are read as the number of the column that holds the one")
    positions: Array = values.argmax(axis=1)
    return positions


def _texts(values: Array, indices: Indices, where: str) -> Array:
    if values.dtype.kind == "S":
        try:
            values = np.char.decode(values, "utf-8")
        except UnicodeDecodeError:
            raise UserError("class labels are bytes that are no UTF-8 text", where=where) from None
    texts = np.char.strip(values)
    empty = texts == ""
    if empty.any():
        message = f"example {indices[int(np.argmax(empty))]} has no label"
        raise UserError(message, where=where)
    return texts


def _whole(values: Array, indices: Indices, where: str, notes: Notes) -> Array:
    wide = values.astype(np.float64)
    wrong = ~((np.trunc(wide) == wide) & (np.abs(wide) < 2**53))
    if wrong.any():
        place = int(np.argmax(wrong))
        message = (
            f"the label of example {indices[place]} is {values[place]}; class labels are whole "
            "numbers or text"
        )
        raise UserError(message, where=where)
    notes.add("float labels", f"labels are {values.dtype.name}; all are whole and read as such")
    return values.astype(np.int64)
