"""All gates over one run's evidence, to one verdict.

Pure: the same evidence and gates give the same verdict, anywhere and at any time.
"""

from __future__ import annotations

from collections.abc import Sequence

from fulcrum_pipelines.contract import canonical_json, digest_of, to_json
from fulcrum_pipelines.evidence import Evidence
from fulcrum_pipelines.fidelity_limits import MAX_RELATIVE_ERROR, MIN_AGREEMENT
from fulcrum_pipelines.gates import fidelity
from fulcrum_pipelines.gates.integrity import anomalies, caveats, validate_details
from fulcrum_pipelines.gates.kinds import KINDS
from fulcrum_pipelines.gates.verdict import GateResult, Outcome, Verdict, worst
from fulcrum_pipelines.resources.compressionjob import Gate

RULES = (
    "fulcrum.dev/gates/v1alpha1: an interval gate passes if all of its interval keeps the limit, "
    "fails if none of it does (on slices: Holm-adjusted p below (1 - confidence) / 2), else it is "
    "inconclusive; of the enforced gates Fail counts before Anomalous before Inconclusive before "
    "Pass; nothing enforced is inconclusive; untrustworthy evidence is anomalous; an output after "
    "the first that is neither ignored nor named by an enforced gate must have a relative error of "
    f"at most {MAX_RELATIVE_ERROR:g} and at least {MIN_AGREEMENT:g} equal answers; a candidate "
    "that is no better than a constant answer and worse than the baseline is anomalous, as are "
    "gates on answers of which a constant answer keeps each; two equal files have no change; of a "
    "model without a candidate, gates that compare are anomalous."
)
"""The rule that a verdict was made by; its name changes whenever a decision could."""


def decide(evidence: Evidence, gates: Sequence[Gate]) -> Verdict:
    """Return what `gates` say of `evidence`.

    Gates of mode DryRun are decided and reported, but do not count. An empty list, or one with
    nothing enforced, is inconclusive. Outputs after the first that no enforced gate names are
    decided by the default limits, and count.
    """
    digest, found = _digest(evidence), tuple(anomalies(evidence, gates))
    if digest is None:
        found = (*found, "the evidence has numbers that are not finite")
    details = validate_details(evidence)
    results = tuple(
        _unmeasured(gate) if details is None else KINDS[gate.kind](gate, details) for gate in gates
    )
    outcomes: list[Outcome] = [each.verdict for each in results if each.mode == "Enforce"]
    of_run: list[Outcome] = ["Anomalous"] if found else []
    others = None if details is None else fidelity.decide_others(gates, details)
    added = () if others is None else (others,)
    outcome = worst([worst(outcomes), *of_run, *(each.verdict for each in added)])
    policy = sorted((gate.model_dump(mode="json") for gate in gates), key=str)
    return Verdict(
        outcome=outcome,
        reasons=_reasons(outcome, found, results, added),
        anomalies=found,
        caveats=tuple(caveats(evidence, gates)),
        gates=(*results, *added),
        rules=RULES,
        run=evidence.run,
        evidence=digest,
        policy=digest_of(canonical_json(policy)),
        candidate_model=None if details is None else details.candidate_model,
    )


def _unmeasured(gate: Gate) -> GateResult:
    return GateResult(
        name=gate.name,
        kind=gate.kind,
        mode=gate.mode,
        metric=gate.metric,
        verdict="Inconclusive",
        reason="the evidence has no stage validate, so nothing was compared",
    )


def _reasons(
    outcome: Outcome,
    found: Sequence[str],
    results: Sequence[GateResult],
    added: Sequence[GateResult],
) -> tuple[str, ...]:
    """Return the lines that answer "why", the deciding ones only."""
    declared = [result for result in results if result.mode == "Enforce"]
    enforced = [*declared, *added]
    if outcome == "Pass":
        return tuple(f"{result.name}: {result.reason}" for result in enforced)
    lines = list(found) if outcome == "Anomalous" else []
    lines += [f"{each.name}: {each.reason}" for each in enforced if each.verdict == outcome]
    if not declared:
        lines.append(
            "no gate is enforced: every gate has mode DryRun, and nothing passes unproven"
            if results
            else "there are no gates, and nothing passes unproven"
        )
    return tuple(lines)


def _digest(evidence: Evidence) -> str | None:
    try:
        return digest_of(to_json(evidence))
    except ValueError:  # NaN or an infinity, which JSON does not have
        return None
