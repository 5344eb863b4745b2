"""Open a data source of a manifest: format, files, columns, order, and the first checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fulcrum_components.data.arrays import ArrayTable
from fulcrum_components.data.columns import input_columns, resolve
from fulcrum_components.data.dataset import Binding, TableDataset
from fulcrum_components.data.formats import open_table
from fulcrum_components.data.gathering import gather
from fulcrum_components.data.label_values import Array
from fulcrum_components.data.labels import find_labels
from fulcrum_components.models.signature import Signature
from fulcrum_components.notes import Notes
from fulcrum_components.sources.naming import listed
from fulcrum_components.tasks.values import Indices
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.resources.compressionjob import DataSource


def open_dataset(
    source: DataSource,
    signature: Signature,
    task: str,
    *,
    where: str,
    cache_dir: Path,
    columns: Sequence[str] = (),
    needs_targets: bool = True,
    classes: Sequence[str] | None = None,
) -> TableDataset:
    """Open a data source for a model by itself, as `open_unlabelled` does, and map its labels.

    Args:
        source: As there.
        signature: As there.
        task: As there.
        where: As there.
        cache_dir: As there.
        columns: As there.
        needs_targets: As there.
        classes: Names of the classes, in the order of the model's outputs.
    """
    dataset = open_unlabelled(
        source,
        signature,
        task,
        where=where,
        cache_dir=cache_dir,
        columns=columns,
        needs_targets=needs_targets,
    )
    return _labelled_alone(dataset, classes)


def open_unlabelled(
    source: DataSource,
    signature: Signature,
    task: str,
    *,
    where: str,
    cache_dir: Path,
    columns: Sequence[str] = (),
    needs_targets: bool = True,
) -> TableDataset:
    """Open a data source for a model, reading no more than names, sizes and answers.

    Class labels are not mapped to classes yet, since that depends on the other data sets.

    Args:
        source: The data source of the manifest; its URLs are absolute.
        signature: What the model takes and gives.
        task: What the model is for.
        where: Field path for messages, for instance `spec.data.test`.
        cache_dir: Directory for copies of remote files and for unpacked ones.
        columns: Slice and group columns that will be read later, to find wrong names now.
        needs_targets: Whether answers are used; calibration does without, and does not read them.

    Raises:
        UserError: Files, names, shapes or types are wrong.
        InfrastructureError: Remote storage did not answer.
    """
    _check_scale(source, signature, where)
    notes = Notes()
    gathered = gather(source, where=where, cache_dir=cache_dir)
    table = open_table(gathered, source, signature, where=where, cache_dir=cache_dir, notes=notes)
    place = f"{where} ({table.origin})"
    if not len(table):
        raise UserError("the data set is empty", where=place)
    inputs = input_columns(source.inputs, signature, table.names, where=where, file=table.origin)
    target = None
    if needs_targets:
        field = f"{where}.target"
        (target,) = resolve(source.target, table.names, field=field, where=table.origin)
    extra = [
        resolve(name, table.names, field=f"{where} column", where=table.origin)[0]
        for name in columns
    ]
    used = [name for names in inputs.values() for name in names]
    table = table.restrict([*used, *([target] if target else []), *extra])
    binding = Binding(signature, inputs, target, task, source.scale)
    order = _order(source, len(table), place)
    dataset = TableDataset(table, binding, order, place, notes, gathered)
    dataset.examples(2)  # shapes and types of inputs are the same for all
    if table.targets_are_cheap and not binding.asked.labelled:
        _ = dataset.targets
    return dataset


def _labelled_alone(dataset: TableDataset, classes: Sequence[str] | None) -> TableDataset:
    found = dataset.observed()
    if found is None:
        return dataset
    signature, task = dataset.binding.signature, dataset.binding.asked
    count = task.classes(signature.outputs[0])
    return dataset.bound(signature, find_labels({"test": found}, classes, count))


def from_arrays(
    inputs: Mapping[str, Array],
    targets: Array | None,
    signature: Signature,
    task: str,
    *,
    columns: Mapping[str, Array] | None = None,
) -> TableDataset:
    """Return a data set of arrays in memory.

    Raises:
        UserError: The arrays do not fit the signature or each other.
    """
    arrays = {**inputs, **(columns or {})}
    target = None if targets is None else "targets"
    if targets is not None:
        arrays["targets"] = targets
    table = ArrayTable(arrays, origin="arrays", where="arrays").restrict(list(arrays))
    binding = Binding(signature, {name: (name,) for name in inputs}, target, task)
    return _labelled_alone(TableDataset(table, binding, np.arange(len(table)), "arrays"), None)


def _check_scale(source: DataSource, signature: Signature, where: str) -> None:
    integers = [s.name for s in signature.inputs if not s.dtype.startswith("float")]
    if source.scale is not None and integers:
        message = f"scale makes fractions, but the model takes integers as {listed(integers)}"
        raise UserError(message, where=f"{where}.scale")


def _order(source: DataSource, examples: int, where: str) -> Indices:
    """Return the numbers of the examples to use: shuffled, then skipped, then taken."""
    order = np.arange(examples)
    if source.shuffle_seed is not None:
        order = np.random.default_rng(source.shuffle_seed).permutation(order)
    order = order[source.skip :][: source.take]
    if not len(order):
        message = f"skip {source.skip} leaves none of the {examples} examples"
        raise UserError(message, where=where)
    if source.take is not None and len(order) < source.take:
        message = (
            f"take {source.take} after skip {source.skip} asks for more than "
            f"the {examples} examples there are"
        )
        raise UserError(message, where=where)
    return order
