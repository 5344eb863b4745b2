"""Figures have the names that the docs give, are bounded in number, and say what evidence says."""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pytest
from builders.evidence import make_evidence
from builders.plans import make_spec
from prometheus_client import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from fulcrum_operator import lifecycle
from fulcrum_operator.lifecycle import judging, running
from fulcrum_operator.metrics import Metrics, Sources, model_label
from fulcrum_operator.metrics.families import FAMILIES, OUTCOME_REASONS, Family
from fulcrum_operator.metrics.labels import OTHER, Admission, Label
from fulcrum_operator.settings import Settings
from fulcrum_pipelines.catalog import GATE_KINDS
from fulcrum_pipelines.evidence import Evidence
from fulcrum_pipelines.gates import Verdict, decide
from fulcrum_pipelines.resources.compressionjob import Gate

SUFFIX = {"counter": "_total", "histogram": "_seconds"}


def make_metrics() -> Metrics:
    metrics = Metrics(Settings())
    metrics.attach(
        Sources(
            jobs=lambda: {"Running": 2},
            queue_depth=lambda: 7,
            watch_ages_s=lambda: {"compressionjobs.fulcrum.dev": 12.5},
            schedules=lambda: {True: 3},
            last_successes_s=lambda: {f"team/s{each:03}": 1e9 + each for each in range(250)},
        )
    )
    return metrics


def judged(evidence: Evidence) -> Verdict:
    return decide(evidence, make_spec().gates or ())


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_family_keeps_the_conventions(family: Family) -> None:
    assert family.name.startswith("fulcrum_")
    assert family.name.endswith(SUFFIX.get(family.kind, ""))
    assert family.name.endswith(family.unit)
    assert family.help.endswith(".")
    assert bool(family.buckets) == (family.kind == "histogram")
    assert all(bool(label.values) != bool(label.at_most) for label in family.labels)
    assert not {"job", "name", "uid", "message", "namespace", "instance"} & {
        label.name for label in family.labels
    }
    assert list(family.buckets) == sorted(family.buckets)
    if family.from_zero:
        assert all(label.values for label in family.labels)


def test_what_is_served_is_what_the_table_says() -> None:
    metrics = make_metrics()
    metrics.observe_evidence("mnist", evidence := make_evidence(), judged(evidence))
    served = {family.name: family for family in metrics.registry.collect()}
    for family in FAMILIES.values():
        found = served[family.name.removesuffix("_total")]
        assert (found.type, found.documentation) == (family.kind, family.help)
        declared = {label.name for label in family.labels} | {"le", "quantile"}
        assert all(set(sample.labels) <= declared for sample in found.samples)
    own = {name for name in served if name.startswith("fulcrum_")}
    assert own == {name.removesuffix("_total") for name in FAMILIES}


def test_openmetrics_can_be_parsed() -> None:
    metrics = make_metrics()
    metrics.observe_evidence("mnist", evidence := make_evidence(), judged(evidence))
    text = generate_openmetrics(metrics.registry).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families["fulcrum_model_latency_seconds"].unit == "seconds"
    assert "_created" not in text


def test_jobs_are_counted_when_they_are_scraped() -> None:
    counts = {"Running": 2}
    metrics = Metrics(Settings())
    assert value(metrics, "fulcrum_jobs", phase="Running") is None
    metrics.attach(Sources(lambda: counts, lambda: 0, dict, dict, dict))
    assert value(metrics, "fulcrum_jobs", phase="Running") == 2
    counts["Running"] = 3
    assert value(metrics, "fulcrum_jobs", phase="Running") == 3
    assert value(metrics, "fulcrum_jobs", phase="Failed") == 0


def test_queue_and_watches_are_read_when_they_are_scraped() -> None:
    metrics = make_metrics()
    assert value(metrics, "fulcrum_queue_depth") == 7
    resource = "compressionjobs.fulcrum.dev"
    assert value(metrics, "fulcrum_watch_age_seconds", resource=resource) == 12.5


@dataclass(frozen=True)
class Figure:
    name: str
    labels: dict[str, str]
    expected: float


EVIDENCE_FIGURES = [
    Figure(
        "fulcrum_model_latency_seconds",
        {"role": "baseline", "batch": "1", "quantile": "0.5"},
        0.00172,
    ),
    Figure("fulcrum_model_speedup_ratio", {"batch": "1"}, 5.8),
    Figure("fulcrum_model_speedup_bound_ratio", {"batch": "1", "bound": "low"}, 5.655),
    Figure("fulcrum_model_speedup_bound_ratio", {"batch": "1", "bound": "high"}, 5.9624),
    Figure("fulcrum_model_size_bytes", {"role": "candidate"}, 120148),
    Figure("fulcrum_model_size_ratio", {}, 1261332 / 120148),
    Figure("fulcrum_model_metric_delta", {"metric": "accuracy"}, -1 / 1500),
    Figure("fulcrum_model_int8_coverage_ratio", {}, 0.998),
]


@pytest.mark.parametrize("row", EVIDENCE_FIGURES, ids=lambda row: f"{row.name} {row.labels}")
def test_evidence_shows_as(row: Figure) -> None:
    metrics = make_metrics()
    metrics.observe_evidence("mnist", evidence := make_evidence(), judged(evidence))
    shown = value(metrics, row.name, model="mnist", **row.labels)
    assert shown == pytest.approx(row.expected, rel=1e-6)


def test_candidates_95th_percentile_is_in_seconds() -> None:
    metrics = make_metrics()
    metrics.observe_evidence("mnist", evidence := make_evidence(), judged(evidence))
    validate = evidence.stage("validate")
    assert validate is not None
    assert validate.details.kind == "validate"
    for timing in validate.details.latency:
        shown = value(
            metrics,
            "fulcrum_model_latency_seconds",
            model="mnist",
            role="candidate",
            batch=str(timing.batch),
            quantile="0.95",
        )
        assert shown == pytest.approx(timing.candidate.percentiles_ms["p95"] / 1000)


def test_new_evidence_replaces_all_of_the_models_figures() -> None:
    metrics = make_metrics()
    evidence = make_evidence()
    metrics.show_evidence("mnist", evidence, judged(evidence))
    metrics.show_evidence("other-model", evidence, judged(evidence))
    failed = evidence.model_copy(update={"stages": evidence.stages[:1]})
    metrics.show_evidence("mnist", failed, judged(failed))
    assert value(metrics, "fulcrum_model_size_ratio", model="mnist") is None
    assert value(metrics, "fulcrum_model_size_ratio", model="other-model") is not None


def test_first_gates_metric_is_the_one_shown() -> None:
    gates = make_spec(
        gates=[
            {"name": "calls", "kind": "nonInferiority", "metric": "macroF1", "margin": 0.05},
            {"name": "accuracy", "kind": "nonInferiority", "metric": "accuracy", "margin": 0.05},
        ]
    ).gates
    metrics = make_metrics()
    metrics.show_evidence("mnist", evidence := make_evidence(), decide(evidence, gates or ()))
    shown = {
        sample.labels["metric"]
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == "fulcrum_model_metric_delta"
    }
    assert shown == {"macroF1"}


def test_deciding_counts_verdicts_and_times_stages_and_showing_does_not() -> None:
    metrics = make_metrics()
    evidence = make_evidence()
    verdict = judged(evidence)
    metrics.show_evidence("mnist", evidence, verdict)
    gate = {"kind": "nonInferiority", "mode": "Enforce", "verdict": verdict.gates[0].verdict}
    assert value(metrics, "fulcrum_gate_verdicts_total", **gate) is None
    assert value(metrics, "fulcrum_verdicts_total", verdict=verdict.outcome) == 0
    metrics.observe_evidence("mnist", evidence, verdict)
    assert value(metrics, "fulcrum_gate_verdicts_total", **gate) == 1
    assert value(metrics, "fulcrum_verdicts_total", verdict=verdict.outcome) == 1
    for stage in evidence.stages:
        timed = value(metrics, "fulcrum_stage_duration_seconds_sum", stage=stage.stage)
        assert timed == pytest.approx(stage.seconds)


def test_stage_from_the_cache_is_counted_but_not_timed() -> None:
    evidence = make_evidence()
    stages = tuple(one.model_copy(update={"cached_from": "earlier"}) for one in evidence.stages)
    metrics = make_metrics()
    cached = evidence.model_copy(update={"stages": stages})
    metrics.observe_evidence("mnist", cached, judged(cached))
    assert value(metrics, "fulcrum_stages_total", stage="prune", cached="true") == 1
    assert value(metrics, "fulcrum_stages_total", stage="prune", cached="false") == 0
    assert value(metrics, "fulcrum_stage_duration_seconds_count", stage="prune") == 0


def test_counts_start_at_zero_so_that_the_first_is_seen() -> None:
    metrics = make_metrics()
    assert value(metrics, "fulcrum_attempts_total", failure_class="infrastructure") == 0
    metrics.attempt_ended("infrastructure")
    metrics.attempt_ended(None)
    assert value(metrics, "fulcrum_attempts_total", failure_class="infrastructure") == 1
    assert value(metrics, "fulcrum_attempts_total", failure_class="none") == 1


def test_what_happens_to_jobs_is_counted() -> None:
    metrics = make_metrics()
    metrics.job_ended("Succeeded", "Passed", 33.0)
    metrics.job_ended("Failed", "InvalidInput", None)
    ended = "fulcrum_job_outcomes_total"
    assert value(metrics, ended, phase="Succeeded", reason="Passed") == 1
    assert value(metrics, ended, phase="Failed", reason="InvalidInput") == 1
    assert value(metrics, "fulcrum_job_duration_seconds_sum", phase="Succeeded") == 33.0
    assert value(metrics, "fulcrum_job_duration_seconds_count", phase="Failed") == 0
    metrics.promotion("Rollback", "Promoted")
    assert value(metrics, "fulcrum_promotions_total", kind="Rollback", result="Promoted") == 1


def test_slots_of_schedules_are_counted() -> None:
    metrics = make_metrics()
    metrics.slot("OnTime", lateness_s=0.4)
    metrics.slot("Missed", 5)
    slots = "fulcrum_schedule_slots_total"
    assert value(metrics, slots, outcome="OnTime") == 1
    assert value(metrics, slots, outcome="Missed") == 5
    assert value(metrics, slots, outcome="StillRunning") == 0
    assert value(metrics, "fulcrum_schedule_lateness_seconds_sum") == 0.4
    assert value(metrics, "fulcrum_schedules", scheduling="true") == 3
    assert value(metrics, "fulcrum_schedules", scheduling="false") == 0


def test_of_many_schedules_the_oldest_success_stands_for_the_rest() -> None:
    metrics, name = make_metrics(), "fulcrum_schedule_last_success_timestamp_seconds"
    assert value(metrics, name, schedule="team/s199") == 1e9 + 199
    assert value(metrics, name, schedule=OTHER) == 1e9 + 200


def test_reasons_that_are_not_enumerated_are_one_series() -> None:
    metrics = make_metrics()
    for number in range(100):
        metrics.job_ended("Failed", f"job-{number} broke", 1.0)
    ended = value(metrics, "fulcrum_job_outcomes_total", phase="Failed", reason=OTHER)
    assert ended == 100


def test_what_the_operator_does_is_counted() -> None:
    metrics = make_metrics()
    metrics.reconciled("CompressionJob", 0.02)
    metrics.reconciled("CompressionJob", 0.02, TimeoutError())
    timed = "fulcrum_reconcile_duration_seconds_count"
    assert value(metrics, timed, kind="CompressionJob") == 2
    failed = {"kind": "CompressionJob", "error": "TimeoutError"}
    assert value(metrics, "fulcrum_reconcile_errors_total", **failed) == 1
    metrics.api_call("patch", "compressionjobs.fulcrum.dev/status", "409", 0.004)
    call = {"verb": "patch", "resource": "compressionjobs.fulcrum.dev/status"}
    assert value(metrics, "fulcrum_api_requests_total", code="409", **call) == 1
    assert value(metrics, "fulcrum_api_request_duration_seconds_sum", **call) == 0.004
    metrics.api_retry("patch")
    assert value(metrics, "fulcrum_api_retries_total", verb="patch") == 1
    metrics.event("known")
    assert value(metrics, "fulcrum_events_total", result="known") == 1


def test_leader_is_shown_and_its_changes_are_counted() -> None:
    metrics = make_metrics()
    assert value(metrics, "fulcrum_leader") == 0
    metrics.lease_moved(True)
    assert value(metrics, "fulcrum_leader") == 1
    metrics.lease_moved(False)
    assert value(metrics, "fulcrum_leader") == 0
    assert value(metrics, "fulcrum_lease_transitions_total", to="leading") == 1
    assert value(metrics, "fulcrum_lease_transitions_total", to="standby") == 1


def test_limits_are_those_of_the_settings() -> None:
    settings = Settings.model_validate(
        {"process": {"max_running": 3}, "reconcile": {"workers": 5, "stuck_s": 60}}
    )
    metrics = Metrics(settings)
    assert value(metrics, "fulcrum_running_limit_jobs") == 3
    assert value(metrics, "fulcrum_reconcile_workers") == 5
    assert value(metrics, "fulcrum_reconcile_limit_seconds") == 60
    assert value(metrics, "fulcrum_watch_limit_seconds") == settings.api.watch_silence_s


def test_a_thousand_models_are_fifty_series_and_one() -> None:
    metrics = make_metrics()
    verdict = judged(evidence := make_evidence())
    for number in range(1000):
        metrics.show_evidence(f"model-{number}", evidence, verdict)
    models = {
        sample.labels["model"]
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == "fulcrum_model_size_ratio"
    }
    assert len(models) == 51
    assert OTHER in models
    assert "model-0" in models


def test_value_once_let_in_stays_in() -> None:
    admission, label = Admission(), Label("model", at_most=2)
    admitted = [admission.admit(label, value) for value in ("a", "b", "c", "a", "c", "b")]
    assert admitted == ["a", "b", OTHER, "a", OTHER, "b"]


@dataclass(frozen=True)
class Naming:
    name: str
    labels: dict[str, str]
    channel: str
    expected: str


@pytest.mark.parametrize(
    "row",
    [
        Naming("own label", {"fulcrum.dev/model": "resnet"}, "mnist", "resnet"),
        Naming("channel", {"team": "vision"}, "mnist", "mnist"),
        Naming("empty label", {"fulcrum.dev/model": ""}, "mnist", "mnist"),
        Naming("neither", {}, "", OTHER),
    ],
    ids=lambda row: row.name,
)
def test_model_is_called(row: Naming) -> None:
    assert model_label(row.labels, row.channel) == row.expected


def test_two_operators_in_a_process_share_nothing() -> None:
    first, second = make_metrics(), make_metrics()
    first.event("written")
    assert value(second, "fulcrum_events_total", result="written") == 0
    assert b"fulcrum_events_total" in generate_latest(second.registry)


def test_importing_metrics_and_probes_loads_nothing_heavy() -> None:
    script = """
import sys
import fulcrum_operator.runtime.health, fulcrum_operator.logs
print(sorted({"torch", "numpy", "pandas", "scipy", "onnxruntime", "kfp"} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def reasons_of_ends() -> set[str]:
    """Return the reasons that the decisions about jobs end them with, read from their source."""
    calls = [
        node
        for path in Path(lifecycle.__path__[0]).glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "end"
    ]
    given = {argument for call in calls for argument in call.args[3:4]}
    named = {argument.value for argument in given if isinstance(argument, ast.Constant)}
    looked_up = {*running.REASON.values(), *(reason for _, reason in judging.OUTCOMES.values())}
    return {"StageFailed", "BackoffLimitExceeded"} | {str(name) for name in named} | looked_up


def test_every_reason_for_an_end_is_enumerated() -> None:
    assert reasons_of_ends() == set(OUTCOME_REASONS)


def test_gates_of_every_kind_are_enumerated() -> None:
    assert get_args(Gate.model_fields["kind"].annotation) == tuple(GATE_KINDS)
