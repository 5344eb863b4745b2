"""Kinds of gates, each with the records that let it pass, fail or be undecided."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from builders.details import make_validate
from builders.evidence import make_evidence
from builders.figures import (
    make_comparison,
    make_delta,
    make_fidelity,
    make_latency,
    make_metric,
)

from fulcrum_pipelines.evidence import Evidence, ValidateDetails
from fulcrum_pipelines.resources.compressionjob import Gate, GateSlice
from fulcrum_pipelines.statistics import proportion_interval, ratio_interval

PER_CLASS = 150
CLASSES = tuple(f"class={index}" for index in range(10))

# Frozen, so made once: thousands of situations are built from them.
GOOD = make_evidence()
GOOD_DETAILS = make_validate()
SLIM_DETAILS = make_validate(
    comparisons=(
        make_comparison(),
        make_comparison(n=PER_CLASS, broken=1, fixed=1, margin=None, slice="class=3"),
        make_comparison(n=1350, broken=1, fixed=1, margin=None, slice="class=0"),
    ),
    levers=(),
    latency=(),
    metrics_baseline=(),
    metrics_candidate=(),
)
WORSE_SLICE = make_comparison(
    n=PER_CLASS, right=146, broken=60, fixed=0, margin=0.05, slice="class=3"
)
IMPLAUSIBLE = make_comparison(right=1300, broken=3, fixed=120)


def make_gate(kind: str = "nonInferiority", **changes: Any) -> Gate:
    """Return a gate of `kind`."""
    return Gate(**{"name": "under-test", "kind": kind} | changes)


def by_class(**changes: Any) -> tuple[GateSlice, ...]:
    """Return slices by class."""
    return (GateSlice(by="class", **changes),)


def with_details(details: ValidateDetails) -> Evidence:
    """Return a run's evidence with `details` of validate, unchecked, so that it may hold NaN."""
    return with_stage("validate", details=details)


def with_stage(name: str, **changes: Any) -> Evidence:
    """Return a run's evidence with fields of one stage's record set, unchecked."""
    stages = tuple(
        stage.model_copy(update=changes) if stage.stage == name else stage for stage in GOOD.stages
    )
    return GOOD.model_copy(update={"stages": stages})


class Subject:
    """A kind of gate with records that pass, fail, and so on. Subclasses are the columns.

    `where` is "all" or a slice, `n` the examples there.
    """

    gate: Gate
    values = ("delta",)  # fields that hold what is decided on
    interval = "interval"

    def within(self, where: str = "all", n: int = 1500) -> Any:
        """Return a record with all of the interval within the limit."""
        raise NotImplementedError

    beyond = across = by_chance = within

    def unchanged(self, n: int) -> Any:
        """Return a record of `n` examples on all data without a change."""
        raise NotImplementedError

    def gained(self) -> tuple[Any, Gate] | None:
        """Return a record with an implausible gain and the gate that thinks so."""
        return None

    def touching(self, record: Any) -> Gate:
        """Return the gate whose limit the record's interval touches from within."""
        raise NotImplementedError

    def put(self, details: ValidateDetails, records: Sequence[Any]) -> ValidateDetails:
        """Return `details` with `records` in place of all that this gate looks at."""
        raise NotImplementedError

    def with_value(self, record: Any, value: float | None) -> Any:
        """Return the record with another value, unchecked."""
        return record.model_copy(update=dict.fromkeys(self.values, value))

    def with_interval(self, record: Any, **changes: Any) -> Any:
        """Return the record with the interval changed, unchecked; without one for none=True."""
        if changes.pop("none", False):
            return record.model_copy(update={self.interval: None})
        interval = getattr(record, self.interval).model_copy(update=changes)
        return record.model_copy(update={self.interval: interval})

    def contradicting(self, record: Any) -> Any:
        """Return the record with numbers that cannot all be true."""
        return self.with_interval(record, low=0.9, high=-0.9)

    def whole_only(self) -> Gate:
        return self.gate.model_copy(update={"slices": None})


class Compared(Subject):
    """A gate on comparisons of `metric`."""

    metric: str

    def put(self, details: ValidateDetails, records: Sequence[Any]) -> ValidateDetails:
        kept = [each for each in details.comparisons if each.metric != self.metric]
        return details.model_copy(update={"comparisons": (*kept, *records)})


class Counted(Compared):
    metric = "accuracy"
    gate = make_gate(metric="accuracy", margin=0.02, slices=by_class(margin=0.05))

    def _at(self, broken: int, fixed: int, where: str, n: int) -> Any:
        return make_comparison(n=n, broken=broken, fixed=fixed, slice=where, margin=None)

    def within(self, where: str = "all", n: int = 1500) -> Any:
        return self._at(1, 1, where, n)

    def beyond(self, where: str = "all", n: int = 1500) -> Any:
        return self._at(n // 5, 0, where, n)

    def across(self, where: str = "all", n: int = 1500) -> Any:
        return self._at(30 if n == 1500 else 6, 0, where, n)

    def unchanged(self, n: int) -> Any:
        return self._at(0, 0, "all", n)

    def by_chance(self, where: str, n: int) -> Any:
        return self._at(15, 0, where, n)

    def gained(self) -> tuple[Any, Gate]:
        return IMPLAUSIBLE, self.whole_only()

    def touching(self, record: Any) -> Gate:
        return self.whole_only().model_copy(update={"margin": -record.interval.low})


class Recorded(Compared):
    metric = "logLoss"
    gate = make_gate(metric="logLoss", margin=0.02, slices=by_class(margin=0.05))

    def _at(self, delta: float, half_width: float, where: str, n: int) -> Any:
        return make_delta("logLoss", 0.08, 0.08 + delta, half_width, slice=where, n=n)

    def within(self, where: str = "all", n: int = 1500) -> Any:
        return self._at(0.002, 0.004, where, n)

    def beyond(self, where: str = "all", n: int = 1500) -> Any:
        return self._at(0.2, 0.01, where, n)

    def across(self, where: str = "all", n: int = 1500) -> Any:
        return self._at(0.02 if where == "all" else 0.05, 0.02, where, n)

    def unchanged(self, n: int) -> Any:
        return self._at(0.0, 0.004, "all", n)

    def by_chance(self, where: str, n: int) -> Any:
        return self._at(0.072, 0.02, where, n)

    def gained(self) -> tuple[Any, Gate]:
        gate = self.whole_only().model_copy(update={"max_gain": 0.05})
        return self._at(-0.07, 0.002, "all", 1500), gate

    def touching(self, record: Any) -> Gate:
        return self.whole_only().model_copy(update={"margin": record.interval.high})


class Change(Recorded):
    gate = make_gate("change", metric="logLoss", max=0.25, slices=by_class())

    def across(self, where: str = "all", n: int = 1500) -> Any:
        return self._at(0.02, 0.02, where, n)

    def by_chance(self, where: str, n: int) -> Any:
        return self._at(0.042, 0.02, where, n)

    def gained(self) -> None:
        return None

    def touching(self, record: Any) -> Gate:
        known = self._baseline(record)
        relative = ratio_interval(record.delta, record.interval, known.value, known.interval)
        assert relative is not None
        return self.whole_only().model_copy(update={"max": relative.high})

    def put(self, details: ValidateDetails, records: Sequence[Any]) -> ValidateDetails:
        """Return `details` with `records`, and the baseline's own metric to each of them."""
        known = tuple(self._baseline(record) for record in records)
        others = tuple(each for each in details.metrics_baseline if each.name != self.metric)
        changed = details.model_copy(update={"metrics_baseline": (*others, *known)})
        return super().put(changed, records)

    def _baseline(self, record: Any) -> Any:
        return make_metric(self.metric, 0.08, half_width=0.004, slice=record.slice, n=record.n)


class Threshold(Subject):
    metric = "logLoss"
    values = ("value",)
    gate = make_gate("threshold", metric="logLoss", max=0.1, slices=by_class())

    def _at(self, value: float, half_width: float, where: str, n: int) -> Any:
        return make_metric(self.metric, value, half_width=half_width, slice=where, n=n)

    def within(self, where: str = "all", n: int = 1500) -> Any:
        return self._at(0.05, 0.02, where, n)

    def beyond(self, where: str = "all", n: int = 1500) -> Any:
        return self._at(0.3, 0.05, where, n)

    def across(self, where: str = "all", n: int = 1500) -> Any:
        return self._at(0.1, 0.02, where, n)

    def by_chance(self, where: str, n: int) -> Any:
        return self._at(0.122, 0.02, where, n)

    def touching(self, record: Any) -> Gate:
        return self.whole_only().model_copy(update={"max": record.interval.high})

    def put(self, details: ValidateDetails, records: Sequence[Any]) -> ValidateDetails:
        kept = [each for each in details.metrics_candidate if each.name != self.metric]
        before = [each for each in details.metrics_baseline if each.name != self.metric]
        baseline = (*before, make_metric(self.metric, 0.06))
        changes = {"metrics_candidate": (*kept, *records), "metrics_baseline": baseline}
        return details.model_copy(update=changes)


class Calibration(Threshold):
    metric = "ece"
    gate = make_gate("calibration", max=0.1, slices=by_class())

    def gained(self) -> tuple[Any, Gate]:
        return self._at(0.001, 0.0005, "all", 1500), self.whole_only()


class Churn(Compared):
    metric = "accuracy"
    values = ("churn",)
    interval = "churn_interval"
    gate = make_gate("churn", max=0.05, slices=by_class())

    def _at(self, changed: int, where: str, n: int) -> Any:
        return make_comparison(
            n=n,
            right=n // 2,
            broken=1,
            fixed=1,
            margin=None,
            slice=where,
            churn=changed / n,
            churn_interval=proportion_interval(changed, n, 0.95),
        )

    def within(self, where: str = "all", n: int = 1500) -> Any:
        return self._at(2, where, n)

    def beyond(self, where: str = "all", n: int = 1500) -> Any:
        return self._at(n // 3, where, n)

    def across(self, where: str = "all", n: int = 1500) -> Any:
        return self._at(n // 20, where, n)

    def by_chance(self, where: str, n: int) -> Any:
        return self._at(15, where, n)

    def touching(self, record: Any) -> Gate:
        return self.whole_only().model_copy(update={"max": record.churn_interval.high})


class Speedup(Subject):
    gate = make_gate("speedup", min=4.0)

    def within(self, where: str = "all", n: int = 1500) -> Any:
        return make_latency(1, speedup=6.0, pairs=min(n, 400))

    def beyond(self, where: str = "all", n: int = 1500) -> Any:
        return make_latency(1, speedup=2.0)

    def across(self, where: str = "all", n: int = 1500) -> Any:
        return make_latency(1, speedup=4.0)

    def touching(self, record: Any) -> Gate:
        return self.gate.model_copy(update={"min": record.speedup.interval.low})

    def with_value(self, record: Any, value: float | None) -> Any:
        speedup = record.speedup.model_copy(update={"ratio": value})
        return record.model_copy(update={"speedup": speedup})

    def with_interval(self, record: Any, **changes: Any) -> Any:
        interval = record.speedup.interval.model_copy(update=changes)
        speedup = record.speedup.model_copy(update={"interval": interval})
        return record.model_copy(update={"speedup": speedup})

    def put(self, details: ValidateDetails, records: Sequence[Any]) -> ValidateDetails:
        return details.model_copy(update={"latency": tuple(records)})


class Size(Subject):
    """Bytes: the record is the pair (baseline, candidate)."""

    gate = make_gate("size", max=0.25)
    fields = ("baseline_bytes", "candidate_bytes")

    def within(self, where: str = "all", n: int = 1500) -> Any:
        return (1000, 100)

    def beyond(self, where: str = "all", n: int = 1500) -> Any:
        return (1000, 900)

    def touching(self, record: Any) -> Gate:
        return self.gate.model_copy(update={"max": record[1] / record[0]})

    def with_value(self, record: Any, value: float | None) -> Any:
        return (record[0], value)

    def put(self, details: ValidateDetails, records: Sequence[Any]) -> ValidateDetails:
        pair = records[0] if records else (None, None)
        changes = dict(zip(self.fields, pair, strict=True))
        return details.model_copy(update={"size": details.size.model_copy(update=changes)})


class Memory(Size):
    gate = make_gate("memory", max=0.25)
    fields = ("baseline_peak_memory_bytes", "candidate_peak_memory_bytes")


class Fidelity(Subject):
    values = ("relative_error",)
    interval = "relative_error_interval"
    gate = make_gate("fidelity", output="embedding", max=0.1)

    def within(self, where: str = "all", n: int = 1500) -> Any:
        return make_fidelity(error=0.02, half_width=0.005)

    def beyond(self, where: str = "all", n: int = 1500) -> Any:
        return make_fidelity(error=0.3, half_width=0.02)

    def across(self, where: str = "all", n: int = 1500) -> Any:
        return make_fidelity(error=0.1, half_width=0.02)

    def touching(self, record: Any) -> Gate:
        return self.gate.model_copy(update={"max": record.relative_error_interval.high})

    def put(self, details: ValidateDetails, records: Sequence[Any]) -> ValidateDetails:
        changes = {"output_names": ("logits", "embedding"), "fidelity": tuple(records)}
        return details.model_copy(update=changes)


SUBJECTS: dict[str, Subject] = {
    "nonInferiority, counted": Counted(),
    "nonInferiority, recorded": Recorded(),
    "threshold": Threshold(),
    "change": Change(),
    "speedup": Speedup(),
    "churn": Churn(),
    "calibration": Calibration(),
    "size": Size(),
    "memory": Memory(),
    "fidelity": Fidelity(),
}
