"""Finding in the evidence what a gate needs.

Evidence may hold one figure several times, since each gate may ask for its own confidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fulcrum_pipelines.evidence import Comparison, Interval, Metric, ValidateDetails
from fulcrum_pipelines.gates.recompute import check_comparison
from fulcrum_pipelines.gates.undecided import agree, anomalous, finite, inconclusive

ALL = "all"
"""The slice that is not one: all data."""


def find_metric(metrics: Sequence[Metric], name: str, where: str, level: float) -> Metric:
    """Return the record of metric `name` on slice `where`, at best with an interval at `level`.

    Raises:
        Undecided: It is missing, or several records contradict each other.
    """
    found = [metric for metric in metrics if metric.name == name and metric.slice == where]
    if not found:
        raise inconclusive(f"the evidence has no {name} on {where}")
    values = {finite(metric.value, f"{name} on {where}", metric.note) for metric in found}
    if len(values) > 1:
        raise anomalous(f"the evidence has different values of {name} on {where}")
    return max(found, key=lambda metric: _has_level(metric.interval, level))


def find_comparison(
    details: ValidateDetails, metric: str, where: str, level: float, margin: float | None = None
) -> Comparison:
    """Return the comparison of `metric` on slice `where`, checked.

    Of several, that with an interval at `level` and made for `margin`.

    Raises:
        Undecided: They are missing, contradict each other, or do not add up.
    """
    found = [
        comparison
        for comparison in details.comparisons
        if comparison.metric == metric and comparison.slice == where
    ]
    if not found:
        raise inconclusive(f"the evidence has no comparison of {metric} on {where}")
    for comparison in found:
        check_comparison(comparison)
    if len({(each.n, each.groups, each.delta, each.counts) for each in found}) > 1:
        raise anomalous(f"the comparisons of {metric} on {where} contradict each other")
    return max(found, key=lambda each: (_has_level(each.interval, level), each.margin == margin))


def slice_sizes(details: ValidateDetails, by: str) -> dict[str, int]:
    """Return the slices `by` that any record has, with the number of their examples."""
    sizes: dict[str, int] = {}
    records: Iterable[Comparison | Metric] = (
        *details.comparisons,
        *details.metrics_baseline,
        *details.metrics_candidate,
    )
    for record in records:
        if record.slice.startswith(f"{by}="):
            sizes[record.slice] = max(sizes.get(record.slice, 0), record.n)
    return sizes


def _has_level(interval: Interval | None, level: float) -> bool:
    return interval is not None and agree(interval.level, level)
