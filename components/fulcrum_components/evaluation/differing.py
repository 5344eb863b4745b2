"""How far two models' values of one output differ, added up batch by batch.

Outputs may be large (hidden states, masks), so of each example only sums remain, from which
everything else follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from fulcrum_components.models.signature import TensorSpec
from fulcrum_components.tasks import Array

FILL = 1e4
"""A value of this magnitude, and this many times the median of smaller ones, fills a place, as -1e9
in a mask does, if all such values of an output are the same: counted as a number it would be all of
the spread, and hide any difference elsewhere."""

MOST_VALUES = 16
"""Up to so many values of an example count each with its own scale: they are the coordinates of a
box, or targets of several units. More are features, which are used together: of 64 features with 2
to 3 % of error together, 7 bits lose 8 to 10 % each on average."""

LEAST_SCALE = 1e-5
"""Share of the largest standard deviation below which that of a value is float32's rounding."""

FILL_TOLERANCE = 0.1
"""Relative difference up to which two such values are the same; what matters is their size."""

CONSTANT = 1e-10
"""Share of the variance in the mean square below which values are constant: float32 rounds to a
relative 1e-7, and sums of it to 1e-5."""

Answer = Literal["", "largest value", "sign", "rounded", "equal values"]


@dataclass(frozen=True)
class Differences:
    """How one output of a candidate differs from the baseline's, on n examples or calls.

    Attributes:
        spec: The output.
        by_call: Whether each entry is a call with one example, since no axis counts examples.
        answer: What counts as the answer; empty if the output has none.
        squared: Sums of squared differences, (n,); None for whole numbers. Here and in the next
            two, each of at most `MOST_VALUES` values is in units of its own standard deviation.
        spread: Sums of squared distances of the baseline from its mean, (n,).
        power: Sums of the baseline's squares, (n,).
        same: Share of equal answers, (n,); None if there is no answer.
        wrong: Whether NaN, infinity, fill values or shapes differ, (n,).
        not_finite: Whether only the candidate has NaN or infinity, (n,).
        baseline: The baseline's values, (n, ...), if they were asked for.
        candidate: The candidate's.
    """

    spec: TensorSpec
    by_call: bool
    answer: Answer
    squared: Array | None
    spread: Array
    power: Array
    same: Array | None
    wrong: Array
    not_finite: Array
    baseline: Array | None = None
    candidate: Array | None = None

    def __len__(self) -> int:
        """Return n."""
        return len(self.wrong)

    @property
    def arrays(self) -> dict[str, Array]:
        """The figures of each example, by name."""
        names = ("squared", "spread", "power", "same", "wrong", "not_finite")
        arrays = {name: getattr(self, name) for name in (*names, "baseline", "candidate")}
        return {name: values for name, values in arrays.items() if values is not None}


@dataclass
class Total:
    """Sum of some of an output's values, of each element while all batches have one shape."""

    elements: Array | None = None
    squares: Array | None = None
    sum: float = 0.0
    count: int = 0

    def add(self, values: Array, chosen: Array) -> None:
        """Add the `chosen` of `values` (u, k)."""
        kept = np.where(chosen, values, 0.0)
        if not self.count and self.elements is None:
            self.elements = self.squares = np.zeros(values.shape[1])
        if self.elements is not None and len(self.elements) == values.shape[1]:
            self.elements = self.elements + kept.sum(axis=0)
            self.squares = self.squares + (kept**2).sum(axis=0)
        else:
            self.elements = self.squares = None
        self.sum += float(kept.sum())
        self.count += int(chosen.sum())


@dataclass
class Centre:
    """Statistics of a baseline's output that are needed before differences are counted."""

    rows: int = 0
    bound: float = np.inf  # magnitude from which values are large, known from the first batch
    usual_total: Total = field(default_factory=Total)
    large_total: Total = field(default_factory=Total)
    low: float = np.inf
    high: float = -np.inf
    smallest_large: float = np.inf
    largest: float = 0.0

    def add(self, values: Array) -> None:
        """Count values (u, k)."""
        magnitudes = np.abs(values)
        finite = np.isfinite(values)
        if np.isinf(self.bound):
            small = magnitudes[finite & (magnitudes > 0) & (magnitudes < FILL)]
            self.bound = FILL * max(1.0, float(np.median(small))) if small.size else np.inf
        large = finite & (magnitudes >= self.bound)
        self.rows += len(values)
        self.usual_total.add(values, finite & ~large)
        self.large_total.add(values, large)
        self.low = min(self.low, float(values[finite].min(initial=np.inf)))
        self.high = max(self.high, float(values[finite].max(initial=-np.inf)))
        self.smallest_large = min(self.smallest_large, float(magnitudes[large].min(initial=np.inf)))
        self.largest = max(self.largest, float(magnitudes[large].max(initial=0.0)))

    @property
    def fill(self) -> float:
        """Magnitude from which values fill places; infinite if none do."""
        same = self.largest > 0 and self.largest <= (1 + FILL_TOLERANCE) * self.smallest_large
        return self.smallest_large / 2 if same else np.inf

    def usual(self, *values: Array) -> Array:
        """Return where all of `values` are numbers to reckon with."""
        fill = self.fill
        found: Array = np.logical_and.reduce([np.abs(each) < fill for each in values])
        return found

    @property
    def mean(self) -> Array | float:
        """Mean of each element, or of all of them if batches differ in shape."""
        elements = self._of_elements("elements")
        if elements is not None:
            return elements
        totals = self._totals
        return sum(total.sum for total in totals) / max(1, sum(total.count for total in totals))

    def units(self, shape: Sequence[int]) -> Array | float:
        """Return the standard deviation of the value that each element of an example is.

        Args:
            shape: Of one example.

        Returns:
            Of each element, (k,); 1 if all count alike: features, or batches that differ in shape.
        """
        places, squares, mean = _values_of(shape), self._of_elements("squares"), self.mean
        if places is None or squares is None or not isinstance(mean, np.ndarray):
            return 1.0
        counts = np.bincount(places)
        power = np.bincount(places, squares) / counts
        variance = power - np.bincount(places, mean**2) / counts
        variance[variance <= CONSTANT * power] = 0.0
        most = variance.max(initial=0.0)
        if not most > 0:
            return 1.0
        # A value that is constant, or nearly so, is measured by the spread of the others.
        variance[variance <= most * LEAST_SCALE**2] = variance[variance > 0].mean()
        units: Array = np.sqrt(variance)[places]
        return units

    @property
    def _totals(self) -> list[Total]:
        if np.isfinite(self.fill):
            return [self.usual_total]
        return [self.usual_total, self.large_total]

    def _of_elements(self, name: Literal["elements", "squares"]) -> Array | None:
        """Return the mean of each element, or of its square; None if batches differ in shape."""
        parts: list[Array | None] = [getattr(total, name) for total in self._totals]
        found = [part for part in parts if part is not None]
        if len(found) < len(parts):
            return None
        mean: Array = np.sum(found, axis=0) / self.rows
        return mean

    @property
    def threshold(self) -> float:
        """Threshold between two answers of one number: probabilities are in [0, 1]."""
        return 0.5 if self.low >= 0 and self.high <= 1 else 0.0


@dataclass
class Sums:
    """Lists of the arrays that `Differences` has, one entry a batch."""

    squared: list[Array] = field(default_factory=list)
    spread: list[Array] = field(default_factory=list)
    power: list[Array] = field(default_factory=list)
    same: list[Array] = field(default_factory=list)
    wrong: list[Array] = field(default_factory=list)
    not_finite: list[Array] = field(default_factory=list)
    baseline: list[Array] = field(default_factory=list)
    candidate: list[Array] = field(default_factory=list)

    def count(self, before: Array, after: Array, centre: Centre | None, *, answers: bool) -> None:
        """Count one batch, (u, ...) of both models.

        Args:
            before: The baseline's values.
            after: The candidate's.
            centre: Of the baseline's floating-point numbers; None for others.
            answers: Whether one or more numbers an example may be an answer.
        """
        if centre is None:
            _count_whole(self, before, after)
        else:
            _count_floating(self, before, after, centre, answers=answers)


def collected(spec: TensorSpec, sums: Sums, centre: Centre | None, *, by_call: bool) -> Differences:
    """Return the differences of all batches."""

    def joined(parts: list[Array]) -> Array | None:
        return np.concatenate(parts) if parts else None

    return Differences(
        spec=spec,
        by_call=by_call,
        answer=_answer(spec, centre) if sums.same else "",
        squared=joined(sums.squared),
        spread=np.concatenate(sums.spread),
        power=np.concatenate(sums.power),
        same=joined(sums.same),
        wrong=np.concatenate(sums.wrong),
        not_finite=np.concatenate(sums.not_finite),
        baseline=joined(sums.baseline),
        candidate=joined(sums.candidate),
    )


def is_floating(spec: TensorSpec) -> bool:
    """Return whether an output holds floating-point numbers."""
    return np.issubdtype(np.dtype(spec.dtype), np.floating)


def flat(values: Array) -> Array:
    """Return values (n, ...) as float64 (n, k)."""
    return values.reshape(len(values), -1).astype(np.float64)


def _answer(spec: TensorSpec, centre: Centre | None) -> Answer:
    if centre is None:
        return "equal values"
    if _is_one_value(spec.shape):
        return "rounded" if centre.threshold else "sign"
    return "largest value"


def _is_one_value(shape: Sequence[int | str]) -> bool:
    return len(shape) == 1 or (len(shape) == 2 and 1 in shape)


def _count_whole(sums: Sums, before: Array, after: Array) -> None:
    """Count whole numbers and truth values: each is equal or not."""
    if before.shape == after.shape:
        equal = (before == after).reshape(len(before), -1)
        same = equal.mean(axis=1) if equal.shape[1] else np.ones(len(before))
    else:
        same = np.zeros(len(before))
    nothing = np.zeros(len(before))
    sums.same.append(same)
    sums.spread.append(nothing)
    sums.power.append(nothing)
    sums.wrong.append(np.full(len(before), before.shape != after.shape))
    sums.not_finite.append(nothing.astype(bool))


def _count_floating(
    sums: Sums, before: Array, after: Array, centre: Centre, *, answers: bool
) -> None:
    wanted, got = flat(before), flat(after)
    if wanted.shape == got.shape:
        bad = ~np.isfinite(got) & ~_alike(wanted, got, np.inf)
        wrong = np.any(~_alike(wanted, got, centre.fill) & ~centre.usual(wanted, got), axis=1)
        not_finite = np.any(bad, axis=1)
    else:  # outputs that depend on the data may have another size
        not_finite = np.any(~np.isfinite(got), axis=1) & np.all(np.isfinite(wanted), axis=1)
        got, wrong = wanted, np.ones(len(wanted), dtype=bool)
    numbers = np.where(centre.usual(wanted), wanted, 0.0)
    difference = np.where(centre.usual(wanted, got), got, numbers) - numbers
    distance = np.where(centre.usual(wanted), numbers - centre.mean, 0.0)
    units = centre.units(before.shape[1:])
    sums.squared.append(((difference / units) ** 2).sum(axis=1))
    sums.spread.append(((distance / units) ** 2).sum(axis=1))
    sums.power.append(((numbers / units) ** 2).sum(axis=1))
    sums.wrong.append(wrong)
    sums.not_finite.append(not_finite)
    if answers and before.ndim <= 2 and before.shape == after.shape and wanted.shape[1]:
        if wanted.shape[1] > 1:
            same = wanted.argmax(axis=1) == got.argmax(axis=1)
        else:
            same = (wanted > centre.threshold)[:, 0] == (got > centre.threshold)[:, 0]
        sums.same.append((same & ~wrong).astype(np.float64))


def _values_of(shape: Sequence[int]) -> Array | None:
    """Return for each element of an example the number of its value; None if they are features.

    Values are separated along the last axis or the first, as channels of an image are: the shorter.
    """
    axis = min((0, len(shape) - 1), key=lambda each: shape[each]) if shape else 0
    if not shape or not 1 < shape[axis] <= MOST_VALUES:
        return None
    numbers = np.arange(shape[axis]).reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return np.broadcast_to(numbers, shape).reshape(-1)


def _alike(wanted: Array, got: Array, fill: float) -> Array:
    """Return a mask of unusual values that mean the same in both."""
    large = (np.abs(wanted) >= fill) & (np.abs(got) >= fill)
    with np.errstate(invalid="ignore"):
        near = large & (np.abs(got - wanted) <= FILL_TOLERANCE * np.abs(wanted))
    same: Array = (wanted == got) | (np.isnan(wanted) & np.isnan(got)) | near
    return same
