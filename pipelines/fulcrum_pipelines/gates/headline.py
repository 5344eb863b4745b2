"""Which of all comparisons people look at first."""

from __future__ import annotations

from fulcrum_pipelines.catalog import MAIN_METRICS
from fulcrum_pipelines.evidence import Comparison, ValidateDetails
from fulcrum_pipelines.gates.records import ALL
from fulcrum_pipelines.gates.verdict import Verdict


def headline(details: ValidateDetails, verdict: Verdict) -> Comparison | None:
    """Return the comparison, on all data, of the first gate's metric, else of the task's first."""
    found = {each.metric: each for each in details.comparisons if each.slice == ALL}
    gated = (gate.metric for gate in verdict.gates if gate.metric is not None)
    return next((found[name] for name in (*gated, *MAIN_METRICS) if name in found), None)
