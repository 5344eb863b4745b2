"""Turns the evidence of a finished run into what people take away: verdict, report, model."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from fulcrum_operator.gates import Verdict, decide
from fulcrum_operator.report.files import store_report
from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.errors import InfrastructureError
from fulcrum_pipelines.evidence import Evidence, ValidateDetails
from fulcrum_pipelines.store import Store, object_path


@dataclass(frozen=True)
class Published:
    """The results of a run, and where they are.

    Attributes:
        evidence: What was measured.
        verdict: What the gates say.
        evidence_path: Address of the evidence.
        report_path: Address of the HTML report.
        candidate_path: Address of the compressed model.
        candidate_digest: Its digest.
        candidate_bytes: Its size.
        peak_memory_bytes: The most memory that a stage took.
    """

    evidence: Evidence
    verdict: Verdict
    evidence_path: str
    report_path: str
    candidate_path: str
    candidate_digest: str
    candidate_bytes: int
    peak_memory_bytes: int


def publish(store: Store, plan: Plan) -> Published:
    """Decide the gates of a run that succeeded; write verdict, report and candidate beside it.

    Raises:
        InfrastructureError: The store fails, or evidence or model in it is not complete.
    """
    evidence = store.evidence(plan.run)
    validate = evidence.stage("validate") if evidence is not None else None
    if evidence is None or validate is None or not isinstance(validate.details, ValidateDetails):
        message = "the evidence of a comparison is missing"
        raise InfrastructureError(message, where=store.locate(f"runs/{plan.run}"))
    verdict = decide(evidence, plan.spec.gates)
    store.write_record(f"runs/{plan.run}/verdict.json", verdict)
    report = store_report(store, plan.run, evidence, verdict, plan.name)
    return Published(
        evidence=evidence,
        verdict=verdict,
        evidence_path=store.locate(f"runs/{plan.run}/evidence.json"),
        report_path=report,
        candidate_path=_candidate(store, plan.run, validate.details.candidate_model),
        candidate_digest=validate.details.candidate_model,
        candidate_bytes=validate.details.size.candidate_bytes,
        peak_memory_bytes=max(stage.peak_memory_bytes for stage in evidence.stages),
    )


def _candidate(store: Store, run: str, digest: str) -> str:
    """Return the address of the candidate; in a local store it gets a name that people know."""
    if not store.is_local:
        return store.locate(object_path(digest))
    path = Path(store.locate(f"runs/{run}/candidate.onnx"))
    partial = path.with_suffix(".partial")
    # A copy: somebody who edits it must not change the artifact.
    os.replace(store.get(digest, partial), path)
    return str(path)


def to_document(published: Published) -> dict[str, object]:
    """Return what `--output json` says of the results."""
    return {
        "verdict": json.loads(published.verdict.model_dump_json()),
        "evidence": published.evidence_path,
        "report": published.report_path,
        "candidate": {
            "path": published.candidate_path,
            "digest": published.candidate_digest,
            "size_bytes": published.candidate_bytes,
        },
        "peak_memory_bytes": published.peak_memory_bytes,
    }
