"""Kinds size and memory: the candidate's bytes relative to the baseline's.

Bytes are counted, not sampled, so there is no interval and nothing to be undecided about unless
they are missing.
"""

from __future__ import annotations

from fulcrum_pipelines.gates import wording
from fulcrum_pipelines.gates.interval import declared
from fulcrum_pipelines.gates.undecided import Undecided, anomalous, finite, inconclusive
from fulcrum_pipelines.gates.verdict import GateResult, Limit, Outcome
from fulcrum_pipelines.resources.compressionjob import Gate


def decide_bytes(
    gate: Gate, what: str, baseline: int | None, candidate: int | None, note: str = ""
) -> GateResult:
    """Decide whether `candidate` / `baseline` bytes of `what` are at most the gate's max."""
    ratio, limit = None, None
    verdict: Outcome
    try:
        if (high := declared(gate.max, "max")) is None:
            raise inconclusive("the gate names no max")
        limit = Limit(maximum=high)
        ratio = _ratio(what, baseline, candidate, note)
    except Undecided as end:
        verdict, reason = end.verdict, end.reason
    else:
        verdict = "Pass" if ratio <= high else "Fail"
        reason = (
            f"{what} is {ratio:.3f} of the baseline's ({candidate:,} of {baseline:,} bytes); "
            f"must be {wording.limit(limit, wording.number)}"
        )
    return GateResult(
        name=gate.name,
        kind=gate.kind,
        mode=gate.mode,
        verdict=verdict,
        reason=reason,
        value=ratio,
        limit=limit,
        inputs=(what,),
    )


def _ratio(what: str, baseline: int | None, candidate: int | None, note: str) -> float:
    before = finite(baseline, f"the baseline's {what}", note)
    after = finite(candidate, f"the candidate's {what}", note)
    if min(before, after) <= 0:
        raise anomalous(f"{what} is recorded as {after} of {before} bytes")
    return after / before
