"""Detect whether two data sets share examples or times, and whether one has changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fulcrum_components.data.dataset import Dataset
from fulcrum_components.data.label_values import Array
from fulcrum_components.data.times import ZONED, kind_of
from fulcrum_components.sources.naming import listed
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.evidence import Copies, Overlap, TimeKind, TimeSplit

BATCH_SIZE = 256
FIRST = 5
"""How many examples an overlap names."""


def sample(dataset: Dataset, count: int, seed: int) -> Dataset:
    """Return a seeded random subset of at most `count` examples, in the order of `dataset`."""
    if count >= len(dataset):
        return dataset
    chosen = np.random.default_rng(seed).choice(len(dataset), count, replace=False)
    return dataset.subset(np.sort(chosen))


def example_hashes(dataset: Dataset) -> npt.NDArray[np.uint64]:
    """Return for each example a 64-bit BLAKE2b hash of its inputs as the model gets them.

    Among a million examples against a million others, a false match has a probability of 5e-8.
    """
    hashes = np.empty(len(dataset), np.uint64)
    start = 0
    for batch in dataset.batches(BATCH_SIZE):
        arrays = list(batch.inputs.values())
        for row in range(len(arrays[0])):
            digest = hashlib.blake2b(digest_size=8)
            for array in arrays:
                digest.update(array[row].data)
            hashes[start + row] = int.from_bytes(digest.digest(), "little")
        start += len(arrays[0])
    return hashes


def find_overlap(test: Dataset, other: Dataset, name: str) -> Overlap:
    """Return which test examples have the same inputs as an example of `other`.

    Args:
        test: The data that decide.
        other: Data that something is tuned on.
        name: Name of `other`, for instance `train`.
    """
    shared = np.flatnonzero(np.isin(example_hashes(test), example_hashes(other)))
    return Overlap(
        other=name,
        examples=len(shared),
        first_indices=tuple(int(index) for index in shared[:FIRST]),
    )


def find_copies(test: Dataset) -> Copies:
    """Return how many examples of `test` have the same inputs as others of it."""
    _, inverse, sizes = np.unique(example_hashes(test), return_inverse=True, return_counts=True)
    repeated = sizes > 1
    disagreeing = np.zeros(len(sizes), bool)
    if test.targets is not None and repeated.any():
        answers = np.asarray(test.targets).reshape(len(inverse), -1)
        _, first = np.unique(inverse, return_index=True)
        differs = (answers != answers[first[inverse]]).any(axis=1)
        disagreeing[inverse[differs]] = True
    return Copies(
        distinct=len(sizes),
        effective=float(sizes.sum() ** 2 / (sizes.astype(np.float64) ** 2).sum()),
        sets=int(repeated.sum()),
        disagreeing=int(disagreeing.sum()),
    )


def find_time_splits(
    test: Dataset, others: Mapping[str, Dataset], column: str
) -> tuple[TimeSplit, ...]:
    """Return how the times of test examples lie to those of each other data set.

    Args:
        test: The data that decide.
        others: Data that something is tuned on, by name.
        column: Of each data set, that says when an example is from.

    Raises:
        UserError: The column is missing somewhere, holds no times, or cannot be compared.
    """
    if not others:
        return ()
    tested, found = _span(test, column), []
    for name, other in others.items():
        span = _span(other, column)
        if span.kind != tested.kind:
            message = (
                f"'{column}' holds a {tested.kind} in test, but a {span.kind} in {name}, which "
                "cannot be compared; store both alike"
            )
            raise UserError(message, where="spec.data.timeColumn")
        not_later = sum(int((part <= span.last).sum()) for part in _plain(test, column))
        not_earlier = sum(int((part >= tested.first).sum()) for part in _plain(other, column))
        found.append(
            TimeSplit(
                other=name,
                kind=span.kind,
                test_first=tested.text(tested.first),
                test_last=tested.text(tested.last),
                other_first=span.text(span.first),
                other_last=span.text(span.last),
                test_not_later=not_later,
                other_not_earlier=not_earlier,
            )
        )
    return tuple(found)


@dataclass(frozen=True)
class _Span:
    """The first and the last time of a data set."""

    kind: TimeKind
    first: Any
    last: Any

    def text(self, value: Any) -> str:
        """Return a time in ISO 8601, or a number in full."""
        if isinstance(value, np.datetime64):
            if self.kind == "date":
                return str(value)
            shown = str(value).rstrip("0").rstrip(".")  # it has nine digits after the second
            return f"{shown}Z" if self.kind == "time with a zone" else shown
        return str(int(value) if value == int(value) else float(value))


def _span(dataset: Dataset, column: str) -> _Span:
    kinds = {kind_of(part.dtype) for part in dataset.times(column)}
    if len(kinds) > 1:
        message = f"'{column}' holds {listed(sorted(kinds))} in one data set; store all alike"
        raise UserError(message, where="spec.data.timeColumn")
    bounds = [(part.min(), part.max()) for part in _plain(dataset, column)]
    return _Span(kinds.pop(), min(low for low, _ in bounds), max(high for _, high in bounds))


def _plain(dataset: Dataset, column: str) -> Iterator[Array]:
    """Yield the times as arrays that can be compared."""
    for part in dataset.times(column):
        yield part["utc"] if part.dtype == ZONED else part


def check_columns(
    first: Mapping[str, Sequence[str]], second: Mapping[str, Sequence[str]], where: str, other: str
) -> None:
    """Refuse data sets that feed the same columns to an input in different orders.

    A range such as `a:c` follows the file, so columns in another order reach the model swapped.

    Raises:
        UserError: The columns of an input are the same, their order is not.
    """
    for name, columns in first.items():
        others = second.get(name, ())
        if tuple(columns) == tuple(others) or sorted(columns) != sorted(others):
            continue
        place = next(i for i, (a, b) in enumerate(zip(columns, others, strict=True)) if a != b)
        message = (
            f"column {place + 1} of input '{name}' is '{columns[place]}', but '{others[place]}' in "
            f"{other}; list the columns in one order for both, since a range follows the file"
        )
        raise UserError(message, where=f"{where}.inputs.{name}")


def fingerprint(
    dataset: Dataset, columns: Sequence[str] = (), time_column: str | None = None
) -> str:
    """Return `sha256:<hex>` of the inputs, targets and columns of all examples in order.

    It does not depend on the file format, on the files that the examples come from or on how they
    are cut into batches.

    Args:
        dataset: The examples.
        columns: Slice and group columns that count too.
        time_column: The column of times, if it counts too.
    """
    digests: dict[str, hashlib._Hash] = {}
    kinds: dict[str, str] = {}
    for batch in dataset.batches(BATCH_SIZE, columns=columns):
        parts: dict[str, Array] = {f"input {key}": array for key, array in batch.inputs.items()}
        parts |= {f"column {key}": array for key, array in batch.columns.items()}
        if batch.targets is not None:
            parts["targets"] = batch.targets
        for key, array in parts.items():
            digest = digests.setdefault(key, hashlib.sha256())
            digest.update(_bytes(array))
            kinds[key] = (
                f"{'text' if array.dtype.kind in 'US' else array.dtype.str}{array.shape[1:]}"
            )
    if time_column is not None:
        times = digests.setdefault("times", hashlib.sha256())
        for part in dataset.times(time_column):
            times.update(part.tobytes())
            kinds["times"] = kind_of(part.dtype)
    lines = [f"{key} {kinds[key]} {digests[key].hexdigest()}\n" for key in sorted(digests)]
    whole = hashlib.sha256(f"{len(dataset)}\n{''.join(lines)}".encode())
    return f"sha256:{whole.hexdigest()}"


def _bytes(array: Array) -> bytes:
    """Return the values, text with its lengths, since its padding depends on the batch."""
    if array.dtype.kind in "US":
        return "".join(f"{len(text)}:{text}" for text in array.tolist()).encode()
    return array.tobytes()


def column_values(dataset: Dataset, column: str, *, limit: int, where: str) -> tuple[str, ...]:
    """Return the distinct values of a slice column, at most `limit` of them.

    Raises:
        UserError: There are more; the column is then no slice but an identity.
    """
    values: set[str] = set()
    for batch in dataset.batches(BATCH_SIZE, columns=[column]):
        values.update(batch.columns[column].tolist())
        if len(values) > limit:
            message = f"column '{column}' has more than {limit} distinct values"
            raise UserError(message, where=where)
    return tuple(sorted(values))
