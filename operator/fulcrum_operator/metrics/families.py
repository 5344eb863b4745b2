"""All metric families, for the registry and for docs/metrics.md.

Names follow the conventions of Prometheus: a prefix, base units, `_total` for counters. A family
that is `scraped` stores no value: it is computed when Prometheus asks, so it cannot be out of date.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

from fulcrum_operator.metrics.labels import OTHER, Label
from fulcrum_operator.resources.names import FinalPhase, Phase, SkipReason
from fulcrum_pipelines.catalog import GATE_KINDS
from fulcrum_pipelines.errors import FailureClass
from fulcrum_pipelines.evidence import StageName
from fulcrum_pipelines.gates import Outcome

MetricType = Literal["counter", "gauge", "histogram", "summary"]

FAST_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Bounds for calls and reconciles: a local API server answers in 2 ms, a time-out is 10 s."""
SLOW_S: Final = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14400.0, 86400.0)
"""Bounds for stages and jobs: the demo's take seconds, fine-tuning of a large model hours."""

LATE_S: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)
"""Bounds for how late a job of a schedule starts: a second is usual, a day is a long outage."""

OUTCOME_REASONS: Final = (
    "Passed",
    "Promoted",
    "GatesFailed",
    "Undecided",
    "Anomalous",
    "InvalidInput",
    "ToleranceExceeded",
    "DeadlineExceeded",
    "StageFailed",
    "BackoffLimitExceeded",
    "SnapshotLost",
    "PromotionRefused",
)

MODEL: Final = Label("model", at_most=50)
BATCH: Final = Label("batch", at_most=12)
ROLE: Final = Label("role", ("baseline", "candidate"))
BOUND: Final = Label("bound", ("low", "high"))
METRIC: Final = Label("metric", at_most=16)
PHASE: Final = Label("phase", get_args(Phase))
FINAL_PHASE: Final = Label("phase", get_args(FinalPhase))
REASON: Final = Label("reason", (*OUTCOME_REASONS, OTHER))
STAGE: Final = Label("stage", get_args(StageName))
KIND: Final = Label("kind", at_most=12)
VERB: Final = Label("verb", ("get", "list", "watch", "create", "patch", "delete", OTHER))
RESOURCE: Final = Label("resource", at_most=24)
SCHEDULE: Final = Label("schedule", at_most=200)
SLOT_OUTCOMES: Final = ("OnTime", "Late", "Missed", *get_args(SkipReason))


@dataclass(frozen=True)
class Family:
    """One metric family.

    Attributes:
        name: Full name, as in queries.
        kind: Prometheus' type.
        help: Description in one line.
        labels: In the order in which they are shown.
        unit: The base unit, which is also the end of the name; empty for counts.
        buckets: Upper bounds, for histograms.
        scraped: Computed at the time of a scrape.
        from_zero: Every series exists from the start, so that the first increase is visible. Only
            if all labels are enumerated and all their combinations occur.
    """

    name: str
    kind: MetricType
    help: str
    labels: tuple[Label, ...] = ()
    unit: str = ""
    buckets: tuple[float, ...] = ()
    scraped: bool = False
    from_zero: bool = False


JOBS: Final = (
    Family("fulcrum_jobs", "gauge", "Compression jobs by phase.", (PHASE,), scraped=True),
    Family(
        "fulcrum_job_outcomes_total",
        "counter",
        "Jobs that ended, by phase and reason.",
        (FINAL_PHASE, REASON),
    ),
    Family(
        "fulcrum_attempts_total",
        "counter",
        "Attempts that ended, by failure class; none if the run succeeded.",
        (Label("failure_class", ("none", *get_args(FailureClass), "evidence", OTHER)),),
        from_zero=True,
    ),
    Family(
        "fulcrum_job_duration_seconds",
        "histogram",
        "Time from a job's first start to its end.",
        (FINAL_PHASE,),
        "seconds",
        SLOW_S,
        from_zero=True,
    ),
    Family(
        "fulcrum_stage_duration_seconds",
        "histogram",
        "Duration of a stage, in runs with evidence; stages from the cache do not count.",
        (STAGE,),
        "seconds",
        SLOW_S,
        from_zero=True,
    ),
    Family(
        "fulcrum_stages_total",
        "counter",
        "Stages of runs that left evidence, by whether the cache had them.",
        (STAGE, Label("cached", ("true", "false"))),
        from_zero=True,
    ),
)

GATES: Final = (
    Family(
        "fulcrum_verdicts_total",
        "counter",
        "Verdicts over all gates of a job.",
        (Label("verdict", get_args(Outcome)),),
        from_zero=True,
    ),
    Family(
        "fulcrum_gate_verdicts_total",
        "counter",
        "Verdicts of single gates.",
        (
            Label("kind", tuple(GATE_KINDS)),
            Label("mode", ("Enforce", "DryRun")),
            Label("verdict", get_args(Outcome)),
        ),
    ),
    Family(
        "fulcrum_promotions_total",
        "counter",
        "Promotions and rollbacks that were decided.",
        (
            Label("kind", ("Promotion", "Rollback")),
            Label("result", ("Promoted", "Refused", "AwaitingApproval")),
        ),
        from_zero=True,
    ),
)

SCHEDULES: Final = (
    Family(
        "fulcrum_schedule_slots_total",
        "counter",
        "Slots of schedules: a job was created OnTime or Late, or else why there is none.",
        (Label("outcome", SLOT_OUTCOMES),),
        from_zero=True,
    ),
    Family(
        "fulcrum_schedule_lateness_seconds",
        "histogram",
        "Time from a slot to the creation of its job.",
        (),
        "seconds",
        LATE_S,
    ),
    Family(
        "fulcrum_schedules",
        "gauge",
        "Schedules, by whether jobs start at their slots.",
        (Label("scheduling", ("true", "false")),),
        scraped=True,
    ),
    Family(
        "fulcrum_schedule_last_success_timestamp_seconds",
        "gauge",
        "When the last job of a schedule (namespace/name) succeeded; its creation if none has.",
        (SCHEDULE,),
        "seconds",
        scraped=True,
    ),
)

MODELS: Final = (
    Family(
        "fulcrum_model_latency_seconds",
        "summary",
        "Latency of a call, as timed for the model's last evidence.",
        (MODEL, ROLE, BATCH),
        "seconds",
        scraped=True,
    ),
    Family(
        "fulcrum_model_speedup_ratio",
        "gauge",
        "Baseline latency / candidate latency of the model's last evidence; above 1 is faster.",
        (MODEL, BATCH),
        "ratio",
        scraped=True,
    ),
    Family(
        "fulcrum_model_speedup_bound_ratio",
        "gauge",
        "Ends of the confidence interval of the speed-up.",
        (MODEL, BATCH, BOUND),
        "ratio",
        scraped=True,
    ),
    Family(
        "fulcrum_model_size_bytes",
        "gauge",
        "Size of the model file.",
        (MODEL, ROLE),
        "bytes",
        scraped=True,
    ),
    Family(
        "fulcrum_model_size_ratio",
        "gauge",
        "Baseline size / candidate size; above 1 is smaller.",
        (MODEL,),
        "ratio",
        scraped=True,
    ),
    Family(
        "fulcrum_model_metric_delta",
        "gauge",
        "Candidate - baseline of the first metric that the gates read, in its own unit.",
        (MODEL, METRIC),
        scraped=True,
    ),
    Family(
        "fulcrum_model_metric_delta_bound",
        "gauge",
        "Ends of the confidence interval of that difference.",
        (MODEL, METRIC, BOUND),
        scraped=True,
    ),
    Family(
        "fulcrum_model_int8_coverage_ratio",
        "gauge",
        "Share of multiply-accumulates that run in int8 in the optimised graph.",
        (MODEL,),
        "ratio",
        scraped=True,
    ),
)

OPERATOR: Final = (
    Family(
        "fulcrum_reconcile_duration_seconds",
        "histogram",
        "Duration of one reconcile of one object, with its actions.",
        (KIND,),
        "seconds",
        FAST_S,
    ),
    Family(
        "fulcrum_reconcile_errors_total",
        "counter",
        "Reconciles that failed, by class of error.",
        (KIND, Label("error", at_most=24)),
    ),
    Family("fulcrum_queue_depth", "gauge", "Objects that wait to be reconciled.", scraped=True),
    Family(
        "fulcrum_api_requests_total",
        "counter",
        "Requests to the API server and retries; code timeout or unreachable if no response came.",
        (VERB, RESOURCE, Label("code", at_most=40)),
    ),
    Family(
        "fulcrum_api_request_duration_seconds",
        "histogram",
        "Duration of requests to the API server; each retry counts alone.",
        (VERB, RESOURCE),
        "seconds",
        FAST_S,
    ),
    Family(
        "fulcrum_api_retries_total",
        "counter",
        "Retries of requests to the API server.",
        (VERB,),
        from_zero=True,
    ),
    Family(
        "fulcrum_watch_age_seconds",
        "gauge",
        "Time since the last sign of life of a watch.",
        (RESOURCE,),
        "seconds",
        scraped=True,
    ),
    Family("fulcrum_leader", "gauge", "1 while this process holds the Lease."),
    Family(
        "fulcrum_lease_transitions_total",
        "counter",
        "Times that this process took or lost the Lease.",
        (Label("to", ("leading", "standby")),),
        from_zero=True,
    ),
    Family(
        "fulcrum_events_total",
        "counter",
        "Events: written, known from before, or failed to be written.",
        (Label("result", ("written", "known", "failed")),),
        from_zero=True,
    ),
    Family(
        "fulcrum_event_loop_lag_seconds",
        "histogram",
        "How much later than asked for the event loop woke a task up.",
        (),
        "seconds",
        FAST_S,
    ),
    Family(
        "fulcrum_build_info",
        "gauge",
        "Always 1; what runs.",
        (Label("version", at_most=1), Label("python", at_most=1)),
    ),
)

LIMITS: Final = (
    Family("fulcrum_running_limit_jobs", "gauge", "Setting process.max_running.", unit="jobs"),
    Family("fulcrum_reconcile_workers", "gauge", "Setting reconcile.workers."),
    Family(
        "fulcrum_reconcile_limit_seconds", "gauge", "Setting reconcile.stuck_s.", unit="seconds"
    ),
    Family("fulcrum_watch_limit_seconds", "gauge", "Setting api.watch_silence_s.", unit="seconds"),
)

GROUPS: Final = {
    "Jobs": JOBS,
    "Gates and promotions": GATES,
    "Schedules": SCHEDULES,
    "Models": MODELS,
    "The operator itself": OPERATOR,
    "Limits from the settings": LIMITS,
}
FAMILIES: Final = {family.name: family for group in GROUPS.values() for family in group}
