"""Finds in evidence what the report shows. A stage that did not run is None, never an error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from fulcrum_pipelines.catalog import MAIN_METRICS
from fulcrum_pipelines.evidence import (
    Comparison,
    EvaluateDetails,
    Evidence,
    FinetuneDetails,
    Metric,
    PruneDetails,
    QuantizeDetails,
    ValidateDetails,
)

D = TypeVar("D", EvaluateDetails, PruneDetails, FinetuneDetails, QuantizeDetails, ValidateDetails)


def details(evidence: Evidence, kind: type[D]) -> D | None:
    """Return the details of the given kind, or None if no stage recorded them."""
    return next(
        (stage.details for stage in evidence.stages if isinstance(stage.details, kind)), None
    )


def find_metric(metrics: Sequence[Metric], name: str, part: str = "all") -> Metric | None:
    """Return one metric on one slice, or None."""
    return next((m for m in metrics if m.name == name and m.slice == part), None)


def find_comparison(
    comparisons: Sequence[Comparison], name: str, part: str = "all"
) -> Comparison | None:
    """Return the comparison of one metric on one slice, or None."""
    return next((c for c in comparisons if c.metric == name and c.slice == part), None)


def main_comparison(validate: ValidateDetails) -> Comparison | None:
    """Return the comparison on all data that represents quality, or None without any."""
    found = [find_comparison(validate.comparisons, name) for name in MAIN_METRICS]
    whole = [c for c in validate.comparisons if c.slice == "all"]
    return next((c for c in (*found, *whole) if c is not None), None)
