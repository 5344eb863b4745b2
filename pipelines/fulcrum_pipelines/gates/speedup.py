"""Kind speedup: how many times as fast is the candidate, on the hardware that it was timed on?

A timing whose control (the baseline against itself) shows a difference proves nothing. A model is
exactly as fast as itself, even if the clock says otherwise.
"""

from __future__ import annotations

from fulcrum_pipelines.evidence import Interval, LatencyComparison, ValidateDetails
from fulcrum_pipelines.gates import wording
from fulcrum_pipelines.gates.interval import Observation, declared
from fulcrum_pipelines.gates.recompute import recorded_interval
from fulcrum_pipelines.gates.timings import check_timing
from fulcrum_pipelines.gates.undecided import anomalous, inconclusive
from fulcrum_pipelines.gates.verdict import Limit
from fulcrum_pipelines.resources.compressionjob import Gate, GateSlice

DEFAULT_BATCH = 1


def limit(gate: Gate, part: GateSlice | None) -> Limit:
    """Return the smallest accepted ratio."""
    if (low := declared(gate.min, "min")) is None:
        raise inconclusive("the gate names no min")
    return Limit(minimum=low)


def observe(gate: Gate, details: ValidateDetails, where: str, limit: Limit) -> Observation:
    """Return the ratio of the baseline's latency to the candidate's."""
    batch = gate.batch or DEFAULT_BATCH
    subject = f"speed-up at batch {batch}"
    if details.identical_models:
        return Observation(
            subject=subject,
            value=1.0,
            interval=Interval(level=gate.confidence, low=1.0, high=1.0, method="identical"),
            n=0,
            show=wording.times,
            detail="no difference: both models are the same file",
            exact=True,
        )
    timing = _find(details, batch)
    check_timing(timing, f"the {subject}")
    interval = recorded_interval(timing.speedup.interval, gate.confidence, f"the {subject}")
    _require_reliable(timing, f"the {subject}")
    return Observation(
        subject=subject,
        value=timing.speedup.ratio,
        interval=interval,
        n=timing.pairs,
        show=wording.times,
        unit="pairs of calls",
        detail=f"threads: {timing.threads}",
    )


def _find(details: ValidateDetails, batch: int) -> LatencyComparison:
    found = [timing for timing in details.latency if timing.batch == batch]
    if not found:
        timed = ", ".join(str(timing.batch) for timing in details.latency) or "none"
        raise inconclusive(
            f"batch {batch} was not timed (timed: {timed}); add it to measure.batchSizes"
        )
    if len(found) > 1:
        raise anomalous(f"the evidence has {len(found)} timings of batch {batch}")
    return found[0]


def _require_reliable(timing: LatencyComparison, what: str) -> None:
    """Refuse a timing that its own A/A run or its share of a CPU does not bear out."""
    if not timing.reliable:
        low, high = timing.aa.interval.low, timing.aa.interval.high
        raise inconclusive(
            f"{what} is not reliable: {timing.note or 'see the A/A run'} (the baseline against "
            f"itself gave [{wording.times(low)}, {wording.times(high)}]); measure again on a "
            "quiet machine"
        )
