"""A data set as stages see it: batches of named arrays that are read when they are asked for.

In every format, examples are read by number from a `Table`, so shuffling, skipping, sampling
and overlap are written once, and nothing ever needs the whole set in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Protocol

import numpy as np

from fulcrum_components.data.example_checks import check_inputs
from fulcrum_components.data.gathering import Gathered
from fulcrum_components.data.label_values import Array, Observed, plain_labels
from fulcrum_components.data.labels import Labels
from fulcrum_components.data.times import parse_times
from fulcrum_components.models.signature import Signature, TensorSpec
from fulcrum_components.notes import Notes
from fulcrum_components.sources.naming import listed, suggestion
from fulcrum_components.tasks import Task, find_task
from fulcrum_components.tasks.values import Indices
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.evidence import AddressRead

TEXT = "text"
"""Element type of columns that name slices or groups."""

LABEL = "label"
"""Element type of class labels: the numbers or text in the data."""

TIME = "time"
"""Element type of the column that says when an example is from: as `parse_times` returns it."""

LABELS_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class Batch:
    """Some examples.

    Attributes:
        inputs: For each input of the signature, an array of its type; axis 0 is the example.
        targets: Right answers as the task has them, such as int64 classes, or absent.
        columns: The slice and group columns that were asked for.
    """

    inputs: dict[str, Array]
    targets: Array | None
    columns: dict[str, Array]


class Dataset(Protocol):
    """Examples in a fixed order, read lazily."""

    def __len__(self) -> int:
        """Return the number of examples."""

    @property
    def targets(self) -> Array | None:
        """All targets in order, or `None` without targets."""

    def batches(
        self, batch_size: int, *, shuffle_seed: int | None = None, columns: Sequence[str] = ()
    ) -> Iterator[Batch]:
        """Yield all examples in batches; the last may be short."""

    def times(self, column: str) -> Iterator[Array]:
        """Yield when all examples are from, in pieces, as `parse_times` returns it."""

    def subset(self, positions: Indices) -> Dataset:
        """Return a data set of the examples at `positions`, in that order."""


class Table(Protocol):
    """Examples of one format, reached by number.

    Attributes:
        names: Arrays or columns, in the order of the file.
        flat: Whether one example is a row of numbers, to be reshaped to what the model takes.
        origin: File or directory, for messages.
        targets_are_cheap: Whether reading all answers costs less than reading all inputs.
        parts: Number of examples of each file, in order.
    """

    names: tuple[str, ...]
    flat: bool
    origin: str
    targets_are_cheap: bool
    parts: tuple[int, ...]

    @property
    def folders(self) -> tuple[str, ...] | None:
        """Names of the folders of images, also of empty ones; None of other formats."""

    def __len__(self) -> int:
        """Return the number of examples."""

    def restrict(self, names: Sequence[str]) -> Table:
        """Return the table as far as the arrays or columns `names` need it, checked."""

    def read(self, names: Sequence[str], indices: Indices, dtype: str) -> Array:
        """Return the values of `names` for the examples `indices`, side by side if several.

        Args:
            names: Names out of `self.names`.
            indices: Numbers of examples, each below the length.
            dtype: Type to which text is converted: numpy's name of a type, `TEXT`, `LABEL`, or
                `TIME`, for which arrays may also come as they are stored.
        """


@dataclass(frozen=True)
class Binding:
    """The columns of the parts of an example.

    Attributes:
        signature: What the model takes.
        inputs: For each input, the names that feed it.
        target: Name of the answer, or `None`.
        task: What the model is for.
        scale: Factor for floating inputs.
        labels: The class of each label, once decided.
    """

    signature: Signature
    inputs: Mapping[str, tuple[str, ...]]
    target: str | None
    task: str
    scale: float | None = None
    labels: Labels | None = None

    @property
    def asked(self) -> Task:
        """The task, which says what answers may be."""
        return find_task(self.task)


@dataclass(frozen=True)
class TableDataset:
    """The data set that a table makes under a binding.

    Attributes:
        table: The examples.
        binding: How they feed the model.
        order: Numbers of the table's examples, in the order of this data set.
        where: Field path and file, for messages.
        notes: What was converted so far; subsets add to the same ones.
        gathered: The files of the table; None if it is not from a data source.
    """

    table: Table
    binding: Binding
    order: Indices = field(repr=False)
    where: str
    notes: Notes = field(default_factory=Notes, repr=False, compare=False)
    gathered: Gathered | None = field(default=None, repr=False, compare=False)

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.order)

    @cached_property
    def targets(self) -> Array | None:
        """All targets in order, checked, or `None` without targets."""
        return self._targets(self.order)

    def batches(
        self, batch_size: int, *, shuffle_seed: int | None = None, columns: Sequence[str] = ()
    ) -> Iterator[Batch]:
        """Yield all examples in batches; the last may be short.

        Args:
            batch_size: Examples a batch, at least 1.
            shuffle_seed: Seed of a random order; without it, the data set's own order.
            columns: Slice and group columns to read too.

        Raises:
            UserError: A value has the wrong shape or type or is not finite, or a label is out
                of range.
        """
        self._check_columns(columns)
        order = self.order
        if shuffle_seed is not None:
            order = np.random.default_rng(shuffle_seed).permutation(order)
        for start in range(0, len(order), batch_size):
            indices = order[start : start + batch_size]
            yield Batch(
                inputs={spec.name: self._input(spec, indices) for spec in self._specs},
                targets=self._targets(indices),
                columns={name: self.table.read([name], indices, TEXT) for name in columns},
            )

    def times(self, column: str) -> Iterator[Array]:
        """Yield when all examples are from, in pieces, as `parse_times` returns it.

        Raises:
            UserError: There is no such column, or it holds something else than times or numbers.
        """
        self._check_columns([column])
        for start in range(0, len(self.order), LABELS_AT_ONCE):
            indices = self.order[start : start + LABELS_AT_ONCE]
            values = self.table.read([column], indices, TIME)
            yield parse_times(values, column, partial(self._place, indices))

    def addresses(self) -> tuple[AddressRead, ...]:
        """Return what was read at each address of the data source, in order."""
        return () if self.gathered is None else self.gathered.record(self.table.parts)

    @property
    def skipped(self) -> tuple[str, ...]:
        """Addresses of the data source with nothing there."""
        return () if self.gathered is None else self.gathered.skipped

    def subset(self, positions: Indices) -> TableDataset:
        """Return a data set of the examples at `positions`, in that order."""
        return replace(self, order=self.order[positions])

    def examples(self, count: int) -> dict[str, Array]:
        """Return the inputs of the first `count` examples, without their answers.

        Raises:
            UserError: They are not what the model takes.
        """
        return {spec.name: self._input(spec, self.order[:count]) for spec in self._specs}

    def bound(self, signature: Signature, labels: Labels | None) -> TableDataset:
        """Return this data set for a model with `signature`, with the classes of its labels."""
        return replace(self, binding=replace(self.binding, signature=signature, labels=labels))

    def observed(self) -> Observed | None:
        """Return the labels that occur, before they are mapped; None without labels.

        Raises:
            UserError: They are no labels, or several an example.
        """
        if self.binding.target is None or not self.binding.asked.labelled:
            return None
        found = Observed(self.where, self.table.folders is not None)
        found.expect(self.table.folders or ())
        for start in range(0, len(self.order), LABELS_AT_ONCE):
            indices = self.order[start : start + LABELS_AT_ONCE]
            found.add(self._labels(self.binding.target, indices), indices)
        return found

    def _place(self, indices: Indices, position: int) -> tuple[str, int]:
        return self.where, int(indices[position])

    def _check_columns(self, columns: Sequence[str]) -> None:
        for name in columns:
            if name not in self.table.names:
                hint = suggestion(name, self.table.names)
                message = f"there is no column '{name}'{hint}; there are {listed(self.table.names)}"
                raise UserError(message, where=self.where)

    @property
    def _specs(self) -> tuple[TensorSpec, ...]:
        return self.binding.signature.inputs

    def _input(self, spec: TensorSpec, indices: Indices) -> Array:
        dtype = "float64" if spec.dtype.startswith("float") else spec.dtype
        values = self.table.read(self.binding.inputs[spec.name], indices, dtype)
        if self.table.flat:
            values = _reshaped(values, spec)
        return check_inputs(
            values, spec, indices, scale=self.binding.scale, where=self.where, notes=self.notes
        )

    def _targets(self, indices: Indices) -> Array | None:
        target, labels, task = self.binding.target, self.binding.labels, self.binding.asked
        if target is None:
            return None
        if task.labelled:
            assert labels is not None
            folders = self.table.folders is not None
            values = labels.classes_of(self._labels(target, indices), folders=folders)
        else:
            values = self.table.read([target], indices, "float64")
        output = self.binding.signature.outputs[0]
        return task.check_targets(values, output, indices, where=self.where, notes=self.notes)

    def _labels(self, target: str, indices: Indices) -> Array:
        values = self.table.read([target], indices, LABEL)
        classes = self.binding.asked.classes(self.binding.signature.outputs[0])
        return plain_labels(values, classes, indices, where=self.where, notes=self.notes)


def _reshaped(values: Array, spec: TensorSpec) -> Array:
    """Give rows of numbers the shape of `spec`, if the number of values allows."""
    sizes = [-1 if isinstance(size, str) else size for size in spec.shape[1:]]
    width = int(np.prod(values.shape[1:], dtype=np.int64))
    fixed = int(np.prod([size for size in sizes if size > 0], dtype=np.int64))
    if sizes.count(-1) > 1 or (width % fixed if -1 in sizes else width != fixed):
        return values
    return values.reshape([len(values), *sizes])
