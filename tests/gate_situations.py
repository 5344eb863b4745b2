"""Evidence and gates in which something is as the truth tables of `docs/gates.md` name it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from builders.details import make_evaluate
from builders.evidence import make_evidence, make_stage
from builders.figures import make_comparison, make_fidelity, make_interval, make_metric
from builders.plans import make_digest
from gate_subjects import (
    CLASSES,
    GOOD,
    GOOD_DETAILS,
    IMPLAUSIBLE,
    PER_CLASS,
    SLIM_DETAILS,
    WORSE_SLICE,
    Subject,
    by_class,
    make_gate,
    with_details,
    with_stage,
)

from fulcrum_pipelines.evidence import (
    Artifact,
    Copies,
    Evidence,
    OutputFidelity,
    Overlap,
    RatioInterval,
)
from fulcrum_pipelines.latency_limits import CONTROL_LEVEL
from fulcrum_pipelines.resources.compressionjob import Gate

Run = tuple[Evidence, list[Gate]]

FEW = 20
"""Fewer examples than a gate takes by default."""


# --- table "kinds": one gate, and the records that it looks at


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
    aa = RatioInterval(ratio=1.1, interval=make_interval(1.05, 1.15, CONTROL_LEVEL))
    timing = subject.within().model_copy(update={"aa": aa, "reliable": False})
    return _run(subject, subject.gate, timing)


def _identical(minimum: float) -> Callable[[Subject], Run]:
    gate = make_gate("speedup", min=minimum)
    return lambda subject: _run(subject, gate, subject.within(), identical_models=True)


def _same_file(record: Callable[[Subject], Any]) -> Callable[[Subject], Run]:
    return lambda subject: _run(
        subject, subject.whole_only(), record(subject), identical_models=True
    )


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
    "identical models, few examples without a change": _same_file(lambda s: s.unchanged(FEW)),
    "identical models, records with a change": _same_file(lambda s: s.beyond()),
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


def _measured_alone() -> Evidence:
    """Return evidence of a model that was compared with itself."""
    details = GOOD_DETAILS.model_copy(
        update={
            "candidate_model": GOOD_DETAILS.baseline_model,
            "identical_models": True,
            "comparisons": (make_comparison(broken=0, fixed=0),),
            "metrics_candidate": GOOD_DETAILS.metrics_baseline,
        }
    )
    records = (make_stage("evaluate"), make_stage("validate", details=details))
    return make_evidence(records=records)


def _given(made: str = GOOD_DETAILS.candidate_model) -> Evidence:
    """Return evidence of a candidate that something else made, which became the model `made`."""
    outputs = (Artifact(name="model.onnx", digest=made, size_bytes=1),)
    records = (make_stage("evaluate"), make_stage("convert", outputs=outputs), GOOD.stages[-1])
    return make_evidence(records=records)


def _copies(**figures: Any) -> Evidence:
    """Return evidence of 1,500 test examples, some of which are the same."""
    return _details(copies=Copies(**figures))


def _nan_elsewhere() -> Evidence:
    details = make_stage("prune").details.model_copy(update={"achieved_sparsity": math.nan})
    return with_stage("prune", details=details)


def _baseline(weak_baseline_allowed: bool = False, **changes: Any) -> Evidence:
    """Return evidence in which the baseline's first output is changed."""
    good = make_evaluate()
    assert good.first_output is not None
    first = good.first_output.model_copy(update=changes)
    details = make_evaluate(first_output=first, weak_baseline_allowed=weak_baseline_allowed)
    return with_stage("evaluate", details=details)


def _no_better(**changes: Any) -> Evidence:
    """Return evidence in which a constant answer is as accurate as the baseline's lower bound."""
    accuracy = GOOD_DETAILS.metrics_baseline[0]
    assert accuracy.interval is not None
    constant = tuple(
        metric.model_copy(update={"value": accuracy.interval.low})
        if metric.name == "accuracy"
        else metric
        for metric in make_evaluate().constant_answer
    )
    return with_stage("evaluate", details=make_evaluate(constant_answer=constant, **changes))


def _ruined(*, worse: bool = True) -> Evidence:
    """Return evidence of a candidate whose accuracy reaches down to that of a constant answer."""
    change = make_comparison(broken=1300, fixed=0) if worse else GOOD_DETAILS.comparisons[0]
    return _details(
        metrics_candidate=(make_metric("accuracy", 0.114),),
        comparisons=(change, *GOOD_DETAILS.comparisons[1:]),
    )


def _with_embedding(*records: OutputFidelity, **changes: Any) -> Evidence:
    """Return the evidence of a model that returns an embedding too."""
    names = ("logits", "embedding")
    return _details(**{"output_names": names, "fidelity": records} | changes)


LOST = make_fidelity(error=0.5)
SMALL = make_gate("size", name="small", max=0.9)
LOOSE = make_gate(name="loose", metric="accuracy", margin=0.9)
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
    "no stage made a candidate, one model was measured, its gate compares": lambda: (
        _measured_alone(),
        [accuracy_gate(slices=None)],
    ),
    "no stage made a candidate, one model was measured, its gate does not compare": lambda: (
        _measured_alone(),
        [make_gate("threshold", metric="accuracy", min=0.9)],
    ),
    "a candidate was given": lambda: (_given(), [accuracy_gate()]),
    "a candidate was given and changed since": lambda: (
        _given(make_digest("another candidate")),
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
    "test examples are copies of a few": lambda: (
        _copies(distinct=600, effective=600.0, sets=600, disagreeing=3),
        [accuracy_gate()],
    ),
    "test examples have few possible inputs": lambda: (
        _copies(distinct=600, effective=600.0, sets=600, disagreeing=60),
        [accuracy_gate()],
    ),
    "some test examples are there twice": lambda: (
        _copies(distinct=1400, effective=1324.0, sets=100, disagreeing=0),
        [accuracy_gate()],
    ),
    "identical models of different digests": lambda: (
        _details(identical_models=True),
        [accuracy_gate()],
    ),
    "the baseline answers one class only": lambda: (_baseline(only_class=3), [accuracy_gate()]),
    "the baseline answers one class only, allowed": lambda: (
        _baseline(only_class=3, weak_baseline_allowed=True),
        [accuracy_gate()],
    ),
    "a gate lets a constant answer pass": lambda: (GOOD, [LOOSE]),
    "a gate lets a constant answer pass, another does not": lambda: (
        GOOD,
        [LOOSE, accuracy_gate()],
    ),
    "a gate lets a constant answer pass, on a weak baseline by consent": lambda: (
        with_stage("evaluate", details=make_evaluate(weak_baseline_allowed=True)),
        [LOOSE],
    ),
    "nothing is left of the candidate, gates look at size alone": lambda: (_ruined(), [SMALL]),
    "the candidate is no better than a constant, and no worse than the baseline": lambda: (
        _ruined(worse=False),
        [SMALL],
    ),
    "the baseline is no better than a constant": lambda: (_no_better(), [accuracy_gate()]),
    "the baseline is no better than a constant by one of two metrics": lambda: (
        _no_better(),
        [accuracy_gate(), make_gate("threshold", metric="logLoss", max=0.2)],
    ),
    "the baseline is no better than a constant, allowed": lambda: (
        _no_better(weak_baseline_allowed=True),
        [accuracy_gate()],
    ),
    "logits that lie in [0, 1] and sum to 1": lambda: (
        _baseline(low=0.001, high=0.99, sum_low=0.9999, sum_high=1.0),
        [accuracy_gate()],
    ),
    "probabilities that do not sum to 1": lambda: (
        _baseline(meaning="probabilities", low=0.0, high=1.0, sum_low=0.9, sum_high=1.3),
        [accuracy_gate()],
    ),
    "the baseline's outputs were not recorded": lambda: (
        with_stage("evaluate", details=make_evaluate(first_output=None, constant_answer=())),
        [accuracy_gate()],
    ),
    "NaN in a value that no gate reads": lambda: (_nan_elsewhere(), [accuracy_gate()]),
    "a kept output besides the first": lambda: (
        _with_embedding(make_fidelity()),
        [accuracy_gate()],
    ),
    "an output besides the first is not kept": lambda: (_with_embedding(LOST), [accuracy_gate()]),
    "an output besides the first becomes NaN": lambda: (
        _with_embedding(make_fidelity(not_finite=1, wrong=1)),
        [accuracy_gate()],
    ),
    "an output besides the first was not compared": lambda: (
        _with_embedding(),
        [accuracy_gate()],
    ),
    "too few examples of an output besides the first": lambda: (
        _with_embedding(make_fidelity(n=20)),
        [accuracy_gate()],
    ),
    "an output besides the first is not kept, but ignored": lambda: (
        _with_embedding(LOST, ignored_outputs=("embedding",)),
        [accuracy_gate()],
    ),
    "an output besides the first is not kept, and its gate is DryRun": lambda: (
        _with_embedding(LOST),
        [
            accuracy_gate(),
            make_gate("fidelity", name="kept", output="embedding", max=0.9, mode="DryRun"),
        ],
    ),
    "an output besides the first keeps what its own gate asks": lambda: (
        _with_embedding(LOST),
        [accuracy_gate(), make_gate("fidelity", name="kept", output="embedding", max=0.9)],
    ),
    "empty list of gates, and a kept output besides the first": lambda: (
        _with_embedding(make_fidelity()),
        [],
    ),
    "evidence of before other outputs were compared": lambda: (
        _details(output_names=None),
        [accuracy_gate()],
    ),
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
