"""From a run's evidence in the store to what may be said of its candidate, or why nothing may.

Used where a job is judged and again before a channel moves, so both read the same files by the
same rules. Where the store does not answer, the error passes through: that says nothing about the
evidence, and costs no attempt.
"""

from __future__ import annotations

from collections.abc import Sequence

from fulcrum_pipelines.errors import CorruptError
from fulcrum_pipelines.evidence import Evidence, ValidateDetails
from fulcrum_pipelines.gates import decide
from fulcrum_pipelines.gates.assessment import Assessment, NoAssessment
from fulcrum_pipelines.resources.compressionjob import Gate
from fulcrum_pipelines.storage.store import Store, object_path


def assess(
    store: Store, plan_digest: str, run: str, gates: Sequence[Gate]
) -> Assessment | NoAssessment:
    """Decide `gates` over the evidence of `run`, and write the verdict beside it.

    Blocks while it reads the whole candidate, so it belongs in a thread.

    Args:
        store: Source of the evidence, read under the run's key only.
        plan_digest: The plan that the evidence must be of.
        run: The run's key.
        gates: Those that the job started with.

    Raises:
        InfrastructureError: The store does not answer; try again later.
    """
    try:
        return _assess(store, plan_digest, run, gates)
    except CorruptError as error:
        return NoAssessment(str(error), error.failure_class)


def _assess(store: Store, plan_digest: str, run: str, gates: Sequence[Gate]) -> Assessment:
    path = f"runs/{run}/evidence.json"
    where = store.locate(path)
    evidence = store.evidence(run)
    if evidence is None:
        raise CorruptError("the evidence of the run is missing", where=where)
    details = _details(evidence, plan_digest, run, where)
    verdict = decide(evidence, gates)
    if verdict.evidence is None:
        raise CorruptError("the evidence has numbers that are not finite", where=where)
    size_bytes = store.verify(details.candidate_model)
    store.write_record(f"runs/{run}/verdict.json", verdict)
    return Assessment(
        evidence=evidence,
        verdict=verdict,
        evidence_digest=verdict.evidence,
        evidence_uri=where,
        candidate_digest=details.candidate_model,
        candidate_uri=store.locate(object_path(details.candidate_model)),
        candidate_bytes=size_bytes,
    )


def _details(evidence: Evidence, plan_digest: str, run: str, where: str) -> ValidateDetails:
    """Return what was validated, of this very run and plan."""
    if evidence.run != run:
        raise CorruptError(f"the evidence is of run {evidence.run}, not of {run}", where=where)
    if evidence.plan != plan_digest:
        message = f"the evidence is of plan {evidence.plan}, the run was of {plan_digest}"
        raise CorruptError(message, where=where)
    stage = evidence.stage("validate")
    if stage is None or not isinstance(stage.details, ValidateDetails):
        raise CorruptError("the evidence has no comparison by stage validate", where=where)
    return stage.details
