"""The gates' decisions, as values that are kept with the evidence.

They are records like the evidence itself, frozen and JSON, so that a verdict can be stored, shown,
and compared with one that is computed again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Final, Literal

from pydantic import AfterValidator

from fulcrum_pipelines.evidence import Digest, Finite, Interval, Record
from fulcrum_pipelines.texts import one_line

SCHEMA: Final = "fulcrum.dev/verdict/v1alpha1"

Outcome = Literal["Pass", "Fail", "Inconclusive", "Anomalous"]

Line = Annotated[str, AfterValidator(one_line)]
"""A sentence for people. Names in it come from evidence, and write no line of their own."""

PRECEDENCE: tuple[Outcome, ...] = ("Fail", "Anomalous", "Inconclusive", "Pass")
"""Of several outcomes the first in this order counts."""


class Limit(Record):
    """The range of a value that a gate accepts, in the value's own unit.

    `strict` limits must be cleared, others may be touched.
    """

    minimum: Finite | None = None
    maximum: Finite | None = None
    strict: bool = False


class SliceResult(Record):
    """A gate's decision on one slice.

    `p_adjusted` is the p-value of "the limit is kept" after Holm's correction over the gate's
    slices, given if it was needed to distinguish chance from harm.
    """

    slice: str
    verdict: Outcome
    reason: Line
    value: Finite | None = None
    interval: Interval | None = None
    limit: Limit | None = None
    n: int | None = None
    p_adjusted: Finite | None = None


class GateResult(Record):
    """One gate's decision, and its inputs.

    `value`, `interval`, `limit` and `n` are of all data; `slices` has each slice that was decided
    and `left_out` those with too few examples. `inputs` names the records of the evidence used.
    """

    name: str
    kind: str
    mode: Literal["Enforce", "DryRun"]
    verdict: Outcome
    reason: Line
    metric: str | None = None
    value: Finite | None = None
    interval: Interval | None = None
    limit: Limit | None = None
    n: int | None = None
    slices: tuple[SliceResult, ...] = ()
    left_out: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()


class Verdict(Record):
    """The outcome of all gates over one run's evidence.

    `caveats` are what the evidence takes on its author's word, and addresses of data that were
    skipped, empty or copies of others; they block nothing.

    The evidence and the gates of these digests give the same verdict to every reader by the rule
    `rules`. `evidence` is None if the evidence holds a number that JSON cannot hold.
    """

    schema_version: Literal["fulcrum.dev/verdict/v1alpha1"] = SCHEMA
    outcome: Outcome
    reasons: tuple[Line, ...]
    anomalies: tuple[Line, ...] = ()
    caveats: tuple[Line, ...] = ()
    gates: tuple[GateResult, ...]
    rules: str
    run: str
    evidence: Digest | None
    policy: Digest
    candidate_model: Digest | None


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """Return the outcome that counts; of nothing it is Inconclusive, never a pass."""
    return min(outcomes, key=PRECEDENCE.index, default="Inconclusive")
