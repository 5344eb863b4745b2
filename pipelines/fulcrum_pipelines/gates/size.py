"""Kind size: the file that is served, as it is (not compressed)."""

from __future__ import annotations

from fulcrum_pipelines.evidence import ValidateDetails
from fulcrum_pipelines.gates.ratio import decide_bytes
from fulcrum_pipelines.gates.verdict import GateResult
from fulcrum_pipelines.resources.compressionjob import Gate


def decide(gate: Gate, details: ValidateDetails) -> GateResult:
    """Decide on the size of the model's file."""
    size = details.size
    return decide_bytes(gate, "file size", size.baseline_bytes, size.candidate_bytes)
