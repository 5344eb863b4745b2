"""The results of an assessment of a run; `assessing` makes them. Pure, as are its readers."""

from __future__ import annotations

from dataclasses import dataclass

from fulcrum_pipelines.errors import FailureClass
from fulcrum_pipelines.evidence import Evidence
from fulcrum_pipelines.gates.verdict import Verdict


@dataclass(frozen=True)
class Assessment:
    """The gates' verdict on the evidence of a run that succeeded.

    Attributes:
        evidence_digest: Of the evidence, which the verdict and a promotion name.
        evidence_uri: Address of the evidence.
        candidate_digest: Of the compressed model.
        candidate_uri: Address of the compressed model; its content has the validated digest.
        candidate_bytes: Its size.
    """

    evidence: Evidence
    verdict: Verdict
    evidence_digest: str
    evidence_uri: str
    candidate_digest: str
    candidate_uri: str
    candidate_bytes: int


@dataclass(frozen=True)
class NoAssessment:
    """Why a run that succeeded cannot be judged: its evidence is missing, corrupt or of another."""

    message: str
    failure_class: FailureClass
