"""The figures that people look for are the ones that decided."""

from __future__ import annotations

from builders.details import make_quantize, make_validate
from builders.evidence import make_evidence, make_stage
from builders.figures import make_comparison, make_latency
from job_world import make_verdict

from fulcrum_operator.lifecycle.summary import (
    describe_gates,
    describe_results,
    headlines,
    summarise,
)
from fulcrum_pipelines.gates.verdict import GateResult, Verdict


def verdict_on(*metrics: str) -> Verdict:
    gates = tuple(
        GateResult(
            name=metric,
            kind="nonInferiority",
            mode="Enforce",
            verdict="Pass",
            reason="it is " + "x" * 5000,
            metric=metric,
        )
        for metric in metrics
    )
    return make_verdict("Pass").model_copy(update={"gates": gates})


def test_headline_is_the_metric_of_the_first_gate() -> None:
    top5 = make_comparison().model_copy(update={"metric": "top5", "delta": 0.5})
    accuracy = make_comparison()
    evidence = make_evidence(validate=make_validate(comparisons=(top5, accuracy)))
    assert describe_results(evidence, verdict_on("accuracy")).metric == "accuracy"
    assert describe_results(evidence, verdict_on("top5")).metric == "top5"
    assert describe_results(evidence, verdict_on()).metric == "accuracy"


def test_unreliable_speed_is_left_out() -> None:
    slow = make_latency().model_copy(update={"reliable": False})
    evidence = make_evidence(validate=make_validate(latency=(slow,)))
    results = describe_results(evidence, verdict_on("accuracy"))
    assert results.speedup is None
    assert summarise(results).speedup is None


def test_identical_files_are_exactly_as_fast() -> None:
    same = make_validate(identical_models=True, latency=())
    results = describe_results(make_evidence(validate=same), verdict_on("accuracy"))
    assert (results.speedup, results.speedup_low, results.speedup_high) == (1.0, 1.0, 1.0)
    assert summarise(results).speedup == "x1"


def test_slices_are_best_and_worst_by_the_metrics_direction() -> None:
    def sliced(value: str, delta: float, direction: str) -> object:
        changes = {"slice": f"class={value}", "delta": delta, "direction": direction}
        return make_comparison().model_copy(update=changes)

    comparisons = (make_comparison(), sliced("0", -0.2, "lower"), sliced("1", 0.3, "lower"))
    evidence = make_evidence(validate=make_validate(comparisons=comparisons))
    results = describe_results(evidence, verdict_on("accuracy"))
    assert results.best_slice is not None
    assert results.worst_slice is not None
    assert (results.best_slice.name, results.worst_slice.name) == ("class=0", "class=1")


def test_texts_fit_into_columns() -> None:
    evidence = make_evidence()
    summary = summarise(describe_results(evidence, verdict_on("accuracy")))
    assert summary.delta is not None
    assert summary.delta.endswith(" points")
    assert summary.size is not None
    assert summary.size.startswith("x")
    (gate,) = describe_gates(verdict_on("accuracy"))
    assert len(gate.reason) <= 1024


def test_quantizer_says_what_it_chose_and_why_for_each_candidate() -> None:
    reason = "chosen by latency: " + "x" * 300
    found = headlines(make_stage(details=make_quantize(reason=reason)))
    assert found["chosen"] == "u8s8-per-channel"
    assert found["why"].startswith("chosen by latency")
    assert found["u8s8-per-channel"] == "120148 bytes, quality 0.978, x1.71, kept"
    assert found["dynamic"] == "118020 bytes, quality 0.976, x0.31, slower than float32"
    assert found["mixed"].endswith("not tried: no layer of u8s8-per-channel lost quality")
    assert max(map(len, found.values())) <= 253


def test_many_candidates_fit_into_status() -> None:
    one = make_quantize().candidates[0]
    many = tuple(one.model_copy(update={"name": f"c{number}"}) for number in range(100))
    assert len(headlines(make_stage(details=make_quantize(candidates=many)))) <= 32
