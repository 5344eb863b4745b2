"""Kind memory: the most memory that a serving session takes."""

from __future__ import annotations

from fulcrum_pipelines.evidence import ValidateDetails
from fulcrum_pipelines.gates.ratio import decide_bytes
from fulcrum_pipelines.gates.verdict import GateResult
from fulcrum_pipelines.resources.compressionjob import Gate


def decide(gate: Gate, details: ValidateDetails) -> GateResult:
    """Decide on the peak memory of a serving session."""
    size = details.size
    return decide_bytes(
        gate,
        "peak memory",
        size.baseline_peak_memory_bytes,
        size.candidate_peak_memory_bytes,
        size.memory_note,
    )
