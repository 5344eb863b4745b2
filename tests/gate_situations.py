"""Evidence and gates in which something is as the truth tables of `docs/gates.md` name it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from builders.details import make_validate
from builders.evidence import make_evidence, make_stage
from builders.figures import make_comparison, make_delta, make_interval, make_latency, make_metric
from builders.plans import make_digest

from fulcrum_pipelines.evidence import Evidence, Overlap, RatioInterval, ValidateDetails
from fulcrum_pipelines.resources.compressionjob import Gate, GateSlice
from fulcrum_pipelines.statistics import wilson_interval

PER_CLASS = 150
CLASSES = tuple(f"class={index}" for index in range(10))
Run = tuple[Evidence, list[Gate]]

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


# --- table "kinds": one gate, and the records that it looks at


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
    """What looks at comparisons of `metric`."""

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
        return self.whole_only().model_copy(update={"max": record.interval.high / 0.08})


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
            churn_interval=wilson_interval(changed, n, 0.95),
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
}


def _run(subject: Subject, gate: Gate, *records: Any, **details: Any) -> Run:
    good = GOOD_DETAILS
    whole = tuple(each for each in good.comparisons if each.slice == "all")
    put = subject.put(good.model_copy(update={"comparisons": whole}), records)
    return with_details(put.model_copy(update=details)), [gate]


def _alone(change: Callable[[Subject, Any], Any]) -> Callable[[Subject], Run]:
    """Return the situation in which the record on all data is changed and there are no slices."""
    return lambda subject: _run(subject, subject.whole_only(), change(subject, subject.within()))


def _slices(change: Callable[[Subject], Any]) -> Callable[[Subject], Run]:
    """Return the situation in which class 3 has the changed record, and all else is well."""

    def situation(subject: Subject) -> Run:
        others = [subject.within(where, PER_CLASS) for where in CLASSES if where != "class=3"]
        changed = change(subject)
        records = [subject.within(), *others, *([] if changed is None else [changed])]
        return _run(subject, subject.gate, *records)

    return situation


def _gain(subject: Subject) -> Run:
    gained = subject.gained()
    assert gained is not None
    return _run(subject, gained[1], gained[0])


def _tie(subject: Subject) -> Run:
    record = subject.within()
    return _run(subject, subject.touching(record), record)


def _small_slice(subject: Subject) -> Run:
    sizes = dict.fromkeys(CLASSES, PER_CLASS) | {"class=3": 20, "class=4": 280}
    records = [
        subject.beyond(where, n) if n == 20 else subject.within(where, n)
        for where, n in sizes.items()
    ]
    return _run(subject, subject.gate, subject.within(), *records)


def _small_slices(subject: Subject) -> Run:
    records = [subject.within(where, PER_CLASS) for where in CLASSES]
    margin = subject.gate.slices[0].margin if subject.gate.slices else None
    gate = subject.gate.model_copy(update={"slices": by_class(margin=margin, min_samples=500)})
    return _run(subject, gate, subject.within(), *records)


def _too_few(subject: Subject) -> Run:
    gate = subject.whole_only().model_copy(update={"min_samples": 100_000})
    return _run(subject, gate, subject.within())


def _unreliable(subject: Subject) -> Run:
    aa = RatioInterval(ratio=1.1, interval=make_interval(1.05, 1.15))
    timing = subject.within().model_copy(update={"aa": aa, "reliable": False})
    return _run(subject, subject.gate, timing)


def _identical(minimum: float) -> Callable[[Subject], Run]:
    gate = make_gate("speedup", min=minimum)
    return lambda subject: _run(subject, gate, subject.within(), identical_models=True)


KIND_SITUATIONS: dict[str, Callable[[Subject], Run]] = {
    "all of the interval within the limit": _alone(lambda s, good: good),
    "none of the interval within the limit": _alone(lambda s, good: s.beyond()),
    "the limit inside the interval": _alone(lambda s, good: s.across()),
    "tie: the interval touches the limit from within": _tie,
    "no record": lambda s: _run(s, s.whole_only()),
    "value null": _alone(lambda s, good: s.with_value(good, None)),
    "interval null": _alone(lambda s, good: s.with_interval(good, none=True)),
    "value NaN": _alone(lambda s, good: s.with_value(good, math.nan)),
    "value +Inf": _alone(lambda s, good: s.with_value(good, math.inf)),
    "value −Inf": _alone(lambda s, good: s.with_value(good, -math.inf)),
    "interval NaN": _alone(lambda s, good: s.with_interval(good, low=math.nan)),
    "interval infinite": _alone(lambda s, good: s.with_interval(good, high=math.inf)),
    "fewer than minSamples": _too_few,
    "interval at another confidence": _alone(
        lambda s, good: s.with_interval(good, level=0.5, method="other")
    ),
    "recorded numbers contradict each other": _alone(lambda s, good: s.contradicting(good)),
    "gain above maxGain": _gain,
    "one slice measurably worse": _slices(lambda s: s.beyond("class=3", PER_CLASS)),
    "one slice worse, but perhaps by chance": _slices(lambda s: s.by_chance("class=3", PER_CLASS)),
    "the limit inside one slice's interval": _slices(lambda s: s.across("class=3", PER_CLASS)),
    "one slice with too few examples": _small_slice,
    "every slice with too few examples": _small_slices,
    "one slice without a record": _slices(lambda s: None),
    "the A/A run shows a difference": _unreliable,
    "identical models, limit above 1": _identical(4.5),
    "identical models, limit at most 1": _identical(1.0),
}


# --- table "runs": what is wrong with a whole run


def accuracy_gate(**changes: Any) -> Gate:
    """Return the gate that passes on `make_evidence()`."""
    return make_gate(
        **{"metric": "accuracy", "margin": 0.01, "slices": by_class(margin=0.05)} | changes
    )


def _details(**changes: Any) -> Evidence:
    return with_details(GOOD_DETAILS.model_copy(update=changes))


def _nan_elsewhere() -> Evidence:
    details = make_stage("prune").details.model_copy(update={"achieved_sparsity": math.nan})
    return with_stage("prune", details=details)


FAILS = make_gate("size", name="fails", max=0.001)
UNDECIDED = make_gate(name="undecided", metric="accuracy", margin=0.001)
EVALUATED = {"data.test": make_digest("test data"), "data.train": make_digest("train")}

RUN_SITUATIONS: dict[str, Callable[[], Run]] = {
    "nothing wrong": lambda: (GOOD, [accuracy_gate()]),
    "empty list of gates": lambda: (GOOD, []),
    "every gate DryRun": lambda: (GOOD, [accuracy_gate(mode="DryRun")]),
    "a DryRun gate fails besides": lambda: (
        GOOD,
        [accuracy_gate(), FAILS.model_copy(update={"mode": "DryRun"})],
    ),
    "an enforced gate fails besides": lambda: (GOOD, [accuracy_gate(), FAILS]),
    "an enforced gate is inconclusive besides": lambda: (GOOD, [accuracy_gate(), UNDECIDED]),
    "no stage validate": lambda: (
        make_evidence(stages=("evaluate", "prune", "finetune", "quantize")),
        [accuracy_gate()],
    ),
    "no stage evaluate": lambda: (
        make_evidence(stages=("prune", "finetune", "quantize", "validate")),
        [accuracy_gate()],
    ),
    "no stage made a candidate": lambda: (
        make_evidence(stages=("evaluate", "validate")),
        [accuracy_gate()],
    ),
    "a stage recorded twice": lambda: (
        make_evidence(records=(*GOOD.stages, make_stage("quantize"))),
        [accuracy_gate()],
    ),
    "a stage of another run": lambda: (
        with_stage("prune", run="other-3f9c2a71b0de-1"),
        [accuracy_gate()],
    ),
    "a stage with another stage's details": lambda: (
        with_stage("prune", details=make_stage("finetune").details),
        [accuracy_gate()],
    ),
    "baseline changed": lambda: (
        _details(baseline_model=make_digest("another baseline")),
        [accuracy_gate()],
    ),
    "candidate changed": lambda: (
        _details(candidate_model=make_digest("another candidate")),
        [accuracy_gate()],
    ),
    "test data changed": lambda: (_details(test_data=make_digest("other")), [accuracy_gate()]),
    "training data changed": lambda: (
        with_stage("evaluate", inputs=EVALUATED).model_copy(
            update={
                "stages": (
                    make_stage("evaluate", inputs=EVALUATED),
                    make_stage("prune"),
                    make_stage("finetune", inputs={"data.train": make_digest("other train")}),
                    *GOOD.stages[3:],
                )
            }
        ),
        [accuracy_gate()],
    ),
    "another number of test examples": lambda: (
        with_stage(
            "evaluate",
            details=make_stage("evaluate").details.model_copy(update={"test_examples": 1499}),
        ),
        [accuracy_gate()],
    ),
    "test examples in the training data": lambda: (
        _details(overlaps=(Overlap(other="train", examples=2),)),
        [accuracy_gate()],
    ),
    "identical models of different digests": lambda: (
        _details(identical_models=True),
        [accuracy_gate()],
    ),
    "NaN where no gate looks": lambda: (_nan_elsewhere(), [accuracy_gate()]),
}


# --- table "pairs": several things wrong at once


def _spoil(state: dict[str, Any], **changes: Any) -> None:
    state["whole"] = state["whole"].model_copy(update=changes)


def _bound(state: dict[str, Any], **changes: Any) -> None:
    _spoil(state, interval=state["whole"].interval.model_copy(update=changes))


def _tied(state: dict[str, Any]) -> None:
    state["gate"]["margin"] = -GOOD_DETAILS.comparisons[0].interval.low


WRONG: dict[str, Callable[[dict[str, Any]], None]] = {  # applied in this order
    "implausible gain": lambda s: s.update(whole=IMPLAUSIBLE),
    "tie": _tied,
    "too few": lambda s: s["gate"].update(min_samples=2000),
    "null": lambda s: _spoil(s, candidate=None),
    "NaN": lambda s: _spoil(s, delta=math.nan),
    "+Inf": lambda s: _bound(s, high=math.inf),
    "−Inf": lambda s: _bound(s, low=-math.inf),
    "missing": lambda s: s.update(whole=None),
    "one slice worse": lambda s: s.update({"class=3": WORSE_SLICE}),
    "empty list": lambda s: s.update(empty=True),
    "baseline changed": lambda s: s["details"].update(baseline_model=make_digest("another")),
    "data changed": lambda s: s["details"].update(test_data=make_digest("other data")),
}


def run_with(names: Sequence[str]) -> Run:
    """Return evidence and gates with all the things wrong that `names` says."""
    good = SLIM_DETAILS
    state: dict[str, Any] = {"whole": good.comparisons[0], "gate": {}, "details": {}}
    for name, spoil in WRONG.items():
        if name in names:
            spoil(state)
    replaced = {"all": state["whole"]} | (
        {"class=3": state["class=3"]} if "class=3" in state else {}
    )
    comparisons = tuple(
        replaced.get(each.slice, each) if each.metric == "accuracy" else each
        for each in good.comparisons
    )
    changes = {"comparisons": tuple(filter(None, comparisons)), **state["details"]}
    gates = [] if "empty" in state else [accuracy_gate(**state["gate"])]
    evidence = with_details(good.model_copy(update=changes))
    few = [each for each in evidence.stages if each.stage in ("evaluate", "quantize", "validate")]
    return evidence.model_copy(update={"stages": tuple(few)}), gates
