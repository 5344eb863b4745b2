"""Which of several models to keep: a decision on figures, the same for the same figures.

The clock gives another figure in each run, so nothing is decided by small differences of it. Models
within `EQUAL_SPEED` of the fastest count as equally fast, and what separates them is quality and
size, which no other process disturbs. Where a timing cannot be relied on, speed has no say at all:
a figure that is wrong is worse than none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from fulcrum_pipelines.catalog import GATE_KINDS
from fulcrum_pipelines.evidence import LatencyComparison, RatioInterval
from fulcrum_pipelines.resources.compressionjob import Gate

Preference = Literal["latency", "size", "quality"]
ChoiceCriterion = Literal["speed", "size", "quality"]
Array = np.ndarray[Any, np.dtype[Any]]

EQUAL_SPEED = 0.1
"""Share of the fastest one's speed within which models count as equally fast. Sessions of one file
differ by 2 to 4 %, and a timing is used only if its interval is narrower than this."""
EQUAL_SIZE = 0.05
"""Share of the smallest one's bytes within which models count as equally small: names of nodes and
scales a channel make files differ by more than this, and less is not worth any quality."""
FEWEST_DIFFERENT = 6
"""Of fewer examples not even all losing shows a difference at 5 % (sign test: 2 / 2^5 = 6 %)."""
STANDARD_ERRORS = 1.96

ORDER: dict[Preference, tuple[ChoiceCriterion, ...]] = {
    "latency": ("speed", "quality", "size"),
    "size": ("size", "quality", "speed"),
    "quality": ("quality", "speed", "size"),
}


@dataclass(frozen=True)
class Quality:
    """How good a model is on the validation data.

    Attributes:
        value: The metric; NaN where it is undefined.
        losses: What each example adds to it, (n,), the lower the better; of the same examples in
            the same order for all models.
        objection: Why the model must not be taken, for any metric; empty if nothing is wrong.
    """

    value: float
    losses: Array
    objection: str = ""

    def is_worse_than(self, other: Quality) -> bool:
        """Return whether the examples show that this is worse, by a paired z-test at 5 %."""
        difference = np.asarray(self.losses - other.losses, dtype=np.float64)
        if np.count_nonzero(difference) < FEWEST_DIFFERENT:
            return False
        error = float(difference.std(ddof=1)) / math.sqrt(len(difference))
        return float(difference.mean()) > STANDARD_ERRORS * error


@dataclass(frozen=True)
class Speed:
    """Timings of a model against fp32.

    Attributes:
        overall: Speed-up over all batch sizes.
        timings: At each batch size.
    """

    overall: RatioInterval
    timings: tuple[LatencyComparison, ...] = ()

    @property
    def doubt(self) -> str:
        """Return why it cannot be relied on, nothing where it can."""
        return next((each.note for each in self.timings if not each.reliable), "")


@dataclass(frozen=True)
class Wanted:
    """Criteria of the choice.

    Attributes:
        prefer: What counts most.
        largest_bytes: Size that the gates allow; larger models are taken only if all are.
    """

    prefer: Preference = "latency"
    largest_bytes: float = math.inf


@dataclass(frozen=True)
class Option:
    """A model that keeps the quality. Of equal ones the first is taken, so their order counts."""

    name: str
    size_bytes: int
    quality: Quality


@dataclass(frozen=True)
class Choice:
    """The decision.

    Attributes:
        chosen: The option to keep.
        lost: Why each other option was not, by name.
        speeds: Of the options that were timed, by name.
        decided_by: Criteria that separated the options, in their order.
        doubt: Why timings were not used, if they should have been.
    """

    chosen: Option
    lost: dict[str, str]
    speeds: dict[str, Speed]
    decided_by: tuple[ChoiceCriterion, ...]
    doubt: str

    @property
    def timing_reliable(self) -> bool | None:
        """Whether the timings were, None if none was needed."""
        return not self.doubt if self.speeds else None


def preference(gates: Iterable[Gate]) -> Preference:
    """Return what the enforced gates ask for: size only if none asks for speed."""
    kinds = [GATE_KINDS[gate.kind] for gate in gates if gate.mode == "Enforce"]
    timed = any(kind.measures == "latency" for kind in kinds)
    return "size" if any(kind.counts_bytes for kind in kinds) and not timed else "latency"


def largest_size(gates: Iterable[Gate], baseline_bytes: int) -> float:
    """Return the most bytes that the enforced gates on size allow."""
    shares = [
        gate.max
        for gate in gates
        if GATE_KINDS[gate.kind].measures == "size"
        and gate.mode == "Enforce"
        and gate.max is not None
    ]
    return min(shares, default=math.inf) * baseline_bytes


def choose(options: Sequence[Option], wanted: Wanted, measure: Callable[[Option], Speed]) -> Choice:
    """Return which of `options` to keep.

    Args:
        options: At least one, in the order in which equal ones are preferred.
        wanted: What to choose by.
        measure: Times an option; asked only if its speed may decide.
    """
    race = _Race(list(options), measure)
    race.within_size(wanted.largest_bytes)
    for criterion in ORDER[wanted.prefer]:
        if len(race.left) > 1:
            {"speed": race.fastest, "quality": race.best, "size": race.smallest}[criterion]()
    chosen, *equal = race.left
    for option in equal:
        race.lost[option.name] = f"neither better nor smaller than {chosen.name}, which comes first"
    return Choice(chosen, race.lost, race.speeds, tuple(race.decided_by), race.doubt)


@dataclass
class _Race:
    """Options that are left, and why the others are not."""

    left: list[Option]
    measure: Callable[[Option], Speed]
    lost: dict[str, str] = field(default_factory=dict)
    speeds: dict[str, Speed] = field(default_factory=dict)
    decided_by: list[ChoiceCriterion] = field(default_factory=list)
    doubt: str = ""

    def within_size(self, largest_bytes: float) -> None:
        """Drop what the gates on size would reject, unless that is everything."""
        reasons = {
            option.name: f"larger than the gates on size allow, {largest_bytes:,.0f} bytes"
            for option in self.left
            if option.size_bytes > largest_bytes
        }
        if len(reasons) < len(self.left):
            self._drop(reasons, "size")

    def fastest(self) -> None:
        """Keep those that are about as fast as the fastest one."""
        for option in self.left:
            speed = self.speeds[option.name] = self.measure(option)
            if speed.doubt:
                self.doubt = speed.doubt
                return
        best = max(self.left, key=lambda option: self._ratio(option))
        least = self._ratio(best) * (1 - EQUAL_SPEED)
        self._drop(
            {
                option.name: f"{best.name} is {self._ratio(best) / self._ratio(option):.2f} times "
                "as fast"
                for option in self.left
                if self._ratio(option) < least
            },
            "speed",
        )

    def best(self) -> None:
        """Keep those that the validation data do not show to be worse than the best one."""
        best = min(self.left, key=lambda option: float(np.mean(option.quality.losses)))
        self._drop(
            {
                option.name: f"measurably worse than {best.name} on validation"
                for option in self.left
                if option.quality.is_worse_than(best.quality)
            },
            "quality",
        )

    def smallest(self) -> None:
        """Keep those that are about as small as the smallest one."""
        best = min(self.left, key=lambda option: option.size_bytes)
        self._drop(
            {
                option.name: f"{option.size_bytes / best.size_bytes:.2f} times as large as "
                f"{best.name}"
                for option in self.left
                if option.size_bytes > best.size_bytes * (1 + EQUAL_SIZE)
            },
            "size",
        )

    def _ratio(self, option: Option) -> float:
        return self.speeds[option.name].overall.ratio

    def _drop(self, reasons: dict[str, str], criterion: ChoiceCriterion) -> None:
        if not reasons:
            return
        self.lost |= reasons
        self.left = [option for option in self.left if option.name not in reasons]
        self.decided_by.append(criterion)
