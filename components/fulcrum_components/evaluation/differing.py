"""How far two models' values of one output differ, added up batch by batch.

Outputs may be large (hidden states, masks), so of each example only sums remain, from which
everything else follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from fulcrum_components.evaluation.outcomes import Array
from fulcrum_components.models.signature import TensorSpec

FILL = 1e4
"""A value of this magnitude, and this many times the median of smaller ones, fills a place, as -1e9
in a mask does, if all such values of an output are the same: counted as a number it would be all of
the spread, and hide any difference elsewhere."""

FILL_TOLERANCE = 0.1
"""Relative difference up to which two such values are the same; what matters is their size."""

Answer = Literal["", "largest value", "sign", "rounded", "equal values"]


@dataclass(frozen=True)
class Differences:
    """How one output of a candidate differs from the baseline's, on n examples or calls.

    Attributes:
        spec: The output.
        by_call: Whether each entry is a call with one example, since no axis counts examples.
        answer: What counts as the answer; empty if the output has none.
        squared: Sums of squared differences, (n,); None for whole numbers.
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
        """What is known of each example, by name."""
        names = ("squared", "spread", "power", "same", "wrong", "not_finite")
        arrays = {name: getattr(self, name) for name in (*names, "baseline", "candidate")}
        return {name: values for name, values in arrays.items() if values is not None}


@dataclass
class Total:
    """Sum of some of an output's values, of each element while all batches have one shape."""

    elements: Array | None = None
    sum: float = 0.0
    count: int = 0

    def add(self, values: Array, chosen: Array) -> None:
        """Add the `chosen` of `values` (u, k)."""
        kept = np.where(chosen, values, 0.0)
        if not self.count and self.elements is None:
            self.elements = np.zeros(values.shape[1])
        if self.elements is not None and len(self.elements) == values.shape[1]:
            self.elements = self.elements + kept.sum(axis=0)
        else:
            self.elements = None
        self.sum += float(kept.sum())
        self.count += int(chosen.sum())


@dataclass
class Centre:
    """What has to be known of a baseline's output before differences are counted."""

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
        totals = (
            [self.usual_total] if np.isfinite(self.fill) else [self.usual_total, self.large_total]
        )
        elements = [total.elements for total in totals if total.elements is not None]
        if len(elements) == len(totals):
            mean: Array = np.sum(elements, axis=0) / self.rows
            return mean
        return sum(total.sum for total in totals) / max(1, sum(total.count for total in totals))

    @property
    def threshold(self) -> float:
        """What separates two answers that one number gives: probabilities are in [0, 1]."""
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
    else:  # what depends on the data may have another size
        not_finite = np.any(~np.isfinite(got), axis=1) & np.all(np.isfinite(wanted), axis=1)
        got, wrong = wanted, np.ones(len(wanted), dtype=bool)
    numbers = np.where(centre.usual(wanted), wanted, 0.0)
    difference = np.where(centre.usual(wanted, got), got, numbers) - numbers
    distance = np.where(centre.usual(wanted), numbers - centre.mean, 0.0)
    sums.squared.append((difference**2).sum(axis=1))
    sums.spread.append((distance**2).sum(axis=1))
    sums.power.append((numbers**2).sum(axis=1))
    sums.wrong.append(wrong)
    sums.not_finite.append(not_finite)
    if answers and before.ndim <= 2 and before.shape == after.shape and wanted.shape[1]:
        if wanted.shape[1] > 1:
            same = wanted.argmax(axis=1) == got.argmax(axis=1)
        else:
            same = (wanted > centre.threshold)[:, 0] == (got > centre.threshold)[:, 0]
        sums.same.append((same & ~wrong).astype(np.float64))


def _alike(wanted: Array, got: Array, fill: float) -> Array:
    """Return where values that are no usual numbers stand for the same."""
    large = (np.abs(wanted) >= fill) & (np.abs(got) >= fill)
    with np.errstate(invalid="ignore"):
        near = large & (np.abs(got - wanted) <= FILL_TOLERANCE * np.abs(wanted))
    same: Array = (wanted == got) | (np.isnan(wanted) & np.isnan(got)) | near
    return same
