"""The end of a decision that the evidence does not support.

Missing and impossible values differ: a missing value may be measured yet, so it is inconclusive;
an impossible value is anomalous, because a person has to look at it.
"""

from __future__ import annotations

import math

from fulcrum_pipelines.gates.verdict import Outcome

SAME = 1e-9
"""Relative and absolute difference up to which two computations of one number agree."""


class Undecided(Exception):  # noqa: N818 - an outcome, not an error
    """Ends the decision of one gate on one slice; never a pass and never a fail."""

    def __init__(self, verdict: Outcome, reason: str) -> None:
        super().__init__(reason)
        self.verdict = verdict
        self.reason = reason


def inconclusive(reason: str) -> Undecided:
    """Return the end of a decision for which something is missing."""
    return Undecided("Inconclusive", reason)


def anomalous(reason: str) -> Undecided:
    """Return the end of a decision whose evidence cannot be right."""
    return Undecided("Anomalous", reason)


def finite(value: float | None, what: str, note: str = "") -> float:
    """Return `value`, named `what`, if it is present and a number.

    Raises:
        Undecided: It is missing (`note` says why), or it is NaN or infinite.
    """
    if value is None:
        raise inconclusive(f"{what} is missing{f': {note}' if note else ''}")
    if not math.isfinite(value):
        raise anomalous(f"{what} is {value}, which is not a number to decide from")
    return value


def agree(recorded: float, computed: float) -> bool:
    """Return whether two computations of one number differ by rounding only."""
    return math.isclose(recorded, computed, rel_tol=SAME, abs_tol=SAME)
