"""Kind fidelity: does the candidate keep an output after the first?

Such outputs mostly have no right answers, so they are held against the baseline's: by their
relative error, and by the share of examples with the same answer. Every output that is not declared
ignored is decided, whether a gate names it or not: `decide_others` stands in where none does.
"""

from __future__ import annotations

from collections.abc import Sequence

from fulcrum_pipelines.evidence import Interval, OutputFidelity, ValidateDetails
from fulcrum_pipelines.fidelity_limits import MAX_RELATIVE_ERROR, MIN_AGREEMENT
from fulcrum_pipelines.gates import wording
from fulcrum_pipelines.gates.interval import Observation, declared, explain, judge
from fulcrum_pipelines.gates.recompute import recorded_interval
from fulcrum_pipelines.gates.undecided import Undecided, agree, anomalous, finite, inconclusive
from fulcrum_pipelines.gates.verdict import GateResult, Limit, SliceResult, worst
from fulcrum_pipelines.resources.compressionjob import Gate

KIND = "fidelity"

DEFAULT_NAME = "other-outputs"
"""Name of the gate that stands in where none is declared."""


def decide(gate: Gate, details: ValidateDetails) -> GateResult:
    """Decide a declared gate, by the figures that it has limits for."""
    try:
        record = _find(details, str(gate.output), gate.confidence)
        high, low = declared(gate.max, "max"), declared(gate.min, "min")
        parts = []
        if high is not None:
            parts.append(_error(record, gate, Limit(maximum=high)))
        if low is not None:
            parts.append(_agreement(record, gate, Limit(minimum=low)))
        if not parts:
            raise inconclusive("the gate names neither max nor min")
    except Undecided as end:
        parts = [_undecided(str(gate.output), end)]
    return _result(gate, parts)


def decide_others(gates: Sequence[Gate], details: ValidateDetails) -> GateResult | None:
    """Decide the outputs that no enforced gate names, by the default limits.

    None if there are no such outputs: the model has one, or the others are ignored or named.
    """
    name = DEFAULT_NAME
    while any(gate.name == name for gate in gates):
        name += "-2"
    gate = Gate(name=name, kind=KIND, max=MAX_RELATIVE_ERROR, min=MIN_AGREEMENT)
    if details.output_names is None:
        reason = (
            "the evidence does not say how many outputs the model has, since an older version made "
            "it; only the first was compared: run the job again"
        )
        return _result(gate, [SliceResult(slice="all", verdict="Inconclusive", reason=reason)])
    named = {each.output for each in gates if each.kind == KIND and each.mode == "Enforce"}
    names = [
        output
        for output in details.output_names[1:]
        if output not in named and output not in details.ignored_outputs
    ]
    parts = [part for output in names for part in _by_default(output, gate, details)]
    return _result(gate, parts) if parts else None


def _by_default(output: str, gate: Gate, details: ValidateDetails) -> list[SliceResult]:
    try:
        record = _find(details, output, gate.confidence)
        parts = []
        if record.relative_error is not None or not record.answer:
            parts.append(_error(record, gate, Limit(maximum=gate.max)))
        if record.answer:
            parts.append(_agreement(record, gate, Limit(minimum=gate.min)))
    except Undecided as end:
        return [_undecided(output, end)]
    return parts


def _find(details: ValidateDetails, output: str, level: float) -> OutputFidelity:
    found = [each for each in details.fidelity if each.output == output]
    if not found:
        raise inconclusive(f"the evidence has no comparison of output '{output}'")
    figures = {(each.n, each.relative_error, each.agreement, each.not_finite) for each in found}
    if len(figures) > 1:
        raise anomalous(f"the comparisons of output '{output}' contradict each other")
    return max(found, key=lambda each: _has_level(each, level))


def _has_level(record: OutputFidelity, level: float) -> bool:
    intervals = (record.relative_error_interval, record.agreement_interval)
    return any(each is not None and agree(each.level, level) for each in intervals)


def _error(record: OutputFidelity, gate: Gate, limit: Limit) -> SliceResult:
    what = f"the relative error of output '{record.output}'"
    part = f"{record.output}, relative error"
    interval = record.relative_error_interval
    return _part(part, what, record, record.relative_error, interval, gate, limit)


def _agreement(record: OutputFidelity, gate: Gate, limit: Limit) -> SliceResult:
    what = f"the share of equal answers of output '{record.output}'"
    part, interval = f"{record.output}, agreement", record.agreement_interval
    return _part(part, what, record, record.agreement, interval, gate, limit)


def _part(
    part: str,
    what: str,
    record: OutputFidelity,
    value: float | None,
    interval: Interval | None,
    gate: Gate,
    limit: Limit,
) -> SliceResult:
    """Return what one figure says; `part` and `what` name it for tables and for sentences."""
    try:
        _check_finite(record)
        seen = _observed(what, record, value, interval, gate.confidence)
        if seen.n < gate.min_samples:
            raise inconclusive(f"{what}: only {seen.n} {seen.unit}, minSamples {gate.min_samples}")
    except Undecided as end:
        return SliceResult(slice=part, verdict=end.verdict, reason=end.reason, limit=limit)
    verdict = judge(seen.interval, limit)
    reason = explain(seen, limit, verdict)
    if record.not_finite:
        verdict = "Fail"
        reason = (
            f"output '{record.output}' becomes NaN or infinite on {record.not_finite} of "
            f"{record.n} {record.unit}, for which the baseline gives numbers"
        )
    return SliceResult(
        slice=part,
        verdict=verdict,
        reason=reason,
        value=seen.value,
        interval=seen.interval,
        limit=limit,
        n=seen.n,
    )


def _check_finite(record: OutputFidelity) -> None:
    """Refuse counts that cannot be."""
    if not 0 <= record.not_finite <= record.n or not 0 <= record.wrong <= record.n:
        raise anomalous(
            f"altered evidence: of {record.n} {record.unit} of output '{record.output}' "
            f"{record.wrong} are wrong and {record.not_finite} not finite"
        )


def _observed(
    what: str,
    record: OutputFidelity,
    value: float | None,
    interval: Interval | None,
    level: float,
) -> Observation:
    if value is None and not record.note:
        kind = "holds whole numbers" if record.answer else "has no answer to compare"
        raise inconclusive(f"{what} is missing: it {kind}; use the other of max and min")
    number = finite(value, what, record.note)
    bounds = recorded_interval(interval, level, what)
    most = 1.0 if what.startswith("the share") else float("inf")
    if not 0 <= number <= most or not bounds.low <= number <= bounds.high:
        raise anomalous(
            f"altered evidence: {what} is {number:.6g}, and its interval "
            f"[{bounds.low:.6g}, {bounds.high:.6g}]"
        )
    detail = f"wrong on {record.wrong}" if record.wrong else ""
    return Observation(
        subject=what,
        value=number,
        interval=bounds,
        n=record.n if record.groups is None else record.groups,
        show=wording.percent,
        unit=record.unit if record.groups is None else "groups",
        detail=detail,
    )


def _undecided(output: str, end: Undecided) -> SliceResult:
    return SliceResult(slice=output, verdict=end.verdict, reason=end.reason)


def _result(gate: Gate, parts: Sequence[SliceResult]) -> GateResult:
    """Return the gate's result: the figures of the part that decides, all of them as slices."""
    verdict = worst(part.verdict for part in parts)
    deciding = [part for part in parts if part.verdict == verdict]
    first = deciding[0]
    reason = first.reason
    if others := len(deciding) - 1:
        reason += f"; so do {others} other figures" if verdict == "Pass" else f" (+{others} more)"
    return GateResult(
        name=gate.name,
        kind=gate.kind,
        mode=gate.mode,
        verdict=verdict,
        reason=reason,
        value=first.value,
        interval=first.interval,
        limit=first.limit,
        n=first.n,
        slices=tuple(parts) if len(parts) > 1 else (),
        inputs=tuple(f"{KIND} of {part.slice}" for part in parts),
    )
