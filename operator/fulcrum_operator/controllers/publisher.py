"""Turn the assessment of a run into what people take away: verdict, report, model."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.gates import Verdict
from fulcrum_pipelines.gates.assessment import Assessment
from fulcrum_pipelines.report.files import store_report
from fulcrum_pipelines.storage.store import Store


@dataclass(frozen=True)
class Published:
    """The results of a run, and their addresses.

    Attributes:
        assessment: What was measured, and what the gates say.
        report_path: Address of the HTML report.
        candidate_path: Address of the compressed model.
    """

    assessment: Assessment
    report_path: str
    candidate_path: str

    @property
    def verdict(self) -> Verdict:
        """The gates' verdict."""
        return self.assessment.verdict

    @property
    def peak_memory_bytes(self) -> int:
        """The most memory that a stage took."""
        return max(stage.peak_memory_bytes for stage in self.assessment.evidence.stages)


def publish(store: Store, plan: Plan, assessment: Assessment) -> Published:
    """Write report and candidate beside the evidence of the run that was assessed.

    Args:
        store: Holds the run.
        plan: Of the run.
        assessment: Made from what was read from `store`.

    Raises:
        InfrastructureError: The store fails, or its candidate is no longer what was assessed.
    """
    evidence, verdict = assessment.evidence, assessment.verdict
    report = store_report(store, plan.run, evidence, verdict, plan.name)
    return Published(assessment, report, _candidate(store, plan.run, assessment))


def _candidate(store: Store, run: str, assessment: Assessment) -> str:
    """Return the address of the candidate; in a local store it gets a name that people know."""
    if not store.is_local:
        return assessment.candidate_uri
    path = Path(store.locate(f"runs/{run}/candidate.onnx"))
    partial = path.with_suffix(".partial")
    # A copy: editing it must not change the artifact.
    os.replace(store.get(assessment.candidate_digest, partial), path)
    return str(path)


def to_document(published: Published) -> dict[str, object]:
    """Return what `--output json` says of the results."""
    assessment = published.assessment
    return {
        "verdict": json.loads(assessment.verdict.model_dump_json()),
        "evidence": assessment.evidence_uri,
        "report": published.report_path,
        "candidate": {
            "path": published.candidate_path,
            "digest": assessment.candidate_digest,
            "size_bytes": assessment.candidate_bytes,
        },
        "peak_memory_bytes": published.peak_memory_bytes,
    }
