"""The kinds of gates, in the order in which the schema has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Measured = Literal["metrics", "latency", "size", "memory", "outputs"]
LimitField = Literal["margin", "min", "max"]
Value = Literal["metric", "metric change", "relative change", "share", "ratio"]


@dataclass(frozen=True)
class GateKind:
    """Properties of a kind of gate that are known before it decides.

    Attributes:
        name: In manifests, verdicts and Prometheus metrics.
        description: What it looks at, in the schema.
        measures: What validate has to measure for it. `metrics` are compared with the baseline's at
            the gate's confidence, on all data and on the slices that the gate names.
        value: What it decides on, which says how that is written.
        limits: Fields of the gate that bound the value; at least one is needed.
        names_metric: Whether the gate names the metric.
        metric: The metric it looks at itself, if the gate names none.
        of_each_model: Whether it needs the metric of each model, beside the comparison of both.
        checks_gain: Whether it takes maxGain, and finds a larger gain anomalous.
    """

    name: str
    description: str
    measures: Measured
    value: Value
    limits: tuple[LimitField, ...]
    names_metric: bool = False
    metric: str | None = None
    of_each_model: bool = False
    checks_gain: bool = False

    def metric_of(self, named: str | None) -> str:
        """Return the metric that a gate which names the metric `named` looks at.

        Raises:
            ValueError: It looks at none.
        """
        found = self.metric if named is None else named
        if found is None:
            raise ValueError(f"gates of kind {self.name} look at no metric")
        return found

    @property
    def on_slices(self) -> bool:
        """Whether it can decide on slices too."""
        return self.measures == "metrics"

    @property
    def has_margin(self) -> bool:
        """Whether its limit is a margin, which a candidate without any change must clear."""
        return "margin" in self.limits

    @property
    def of_change(self) -> bool:
        """Whether it bounds a change between two models, not a figure that is 0 at best."""
        return self.value in ("metric change", "relative change")

    @property
    def of_one_model(self) -> bool:
        """Whether it looks at the candidate alone, and so says something without a baseline."""
        return self.value == "metric"

    @property
    def counts_bytes(self) -> bool:
        """Whether it compares bytes with the baseline's, for which no samples are needed."""
        return self.measures in ("size", "memory")


_ROWS = (
    GateKind(
        "nonInferiority",
        "the paired interval of the metric's change stays above -margin",
        "metrics",
        "metric change",
        ("margin",),
        names_metric=True,
        checks_gain=True,
    ),
    GateKind(
        "threshold",
        "the candidate's metric itself",
        "metrics",
        "metric",
        ("min", "max"),
        names_metric=True,
        of_each_model=True,
    ),
    GateKind(
        "change",
        "the metric relative to the baseline's",
        "metrics",
        "relative change",
        ("min", "max"),
        names_metric=True,
        of_each_model=True,
    ),
    GateKind("speedup", "baseline latency over candidate latency", "latency", "ratio", ("min",)),
    GateKind("size", "relative to the baseline's", "size", "ratio", ("max",)),
    GateKind("memory", "relative to the baseline's", "memory", "ratio", ("max",)),
    GateKind("churn", "share of changed answers", "metrics", "share", ("max",), metric="accuracy"),
    GateKind(
        "calibration",
        "expected calibration error (ECE)",
        "metrics",
        "share",
        ("max",),
        metric="ece",
        of_each_model=True,
        checks_gain=True,
    ),
    GateKind(
        "fidelity",
        "an output after the first, compared with the baseline's",
        "outputs",
        "share",
        ("min", "max"),
    ),
)

GATE_KINDS: Final = {row.name: row for row in _ROWS}
