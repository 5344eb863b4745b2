"""What an assessment of a run comes to; `assessing` makes it. Pure, like what decides on it."""

from __future__ import annotations

from dataclasses import dataclass

from fulcrum_pipelines.errors import FailureClass
from fulcrum_pipelines.evidence import Evidence
from fulcrum_pipelines.gates.verdict import Verdict


@dataclass(frozen=True)
class Assessment:
    """What the gates say of the evidence of a run that succeeded.

    Attributes:
        evidence_digest: Of the evidence, which the verdict and a promotion name.
        evidence_uri: Where the evidence is.
        candidate_digest: Of the compressed model.
        candidate_uri: Where the compressed model is; its content has the digest that was validated.
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
