"""The operator's metrics behind methods with plain arguments, so that callers know no Prometheus.

One object owns one registry: two operators in a process, or two tests, never share a figure.
"""

from __future__ import annotations

import itertools
import platform
from collections.abc import Iterator, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

from fulcrum_operator.metrics.collector import ScrapeCollector, Sources
from fulcrum_operator.metrics.families import FAMILIES, MODEL, Family
from fulcrum_operator.metrics.labels import Admission
from fulcrum_operator.metrics.models import model_samples
from fulcrum_operator.settings import Settings
from fulcrum_pipelines import __version__
from fulcrum_pipelines.evidence import Evidence
from fulcrum_pipelines.gates import Verdict


class Metrics:
    """Everything that the operator counts and measures.

    Args:
        settings: The bounds in them are shown beside what they bound.
    """

    def __init__(self, settings: Settings) -> None:
        # They double the series, and rate() does without them. The library types it not.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._admission = Admission()
        self._scraped = ScrapeCollector(self._admission)
        self.registry.register(self._scraped)
        ProcessCollector(registry=self.registry)
        own = [family for family in FAMILIES.values() if not family.scraped]
        self._counters = {one.name: self._counter(one) for one in own if one.kind == "counter"}
        self._gauges = {one.name: self._gauge(one) for one in own if one.kind == "gauge"}
        self._histograms = {
            one.name: self._histogram(one) for one in own if one.kind == "histogram"
        }
        self._show_settings(settings)
        self.leading(False)

    def attach(self, sources: Sources) -> None:
        """Set the sources of scraped figures; until then they are not served."""
        self._scraped.sources = sources

    def job_ended(self, phase: str, reason: str, seconds: float | None) -> None:
        """Count the end of a job; `seconds` is None for one that never started."""
        self._count("fulcrum_job_outcomes_total", phase=phase, reason=reason)
        if seconds is not None:
            self._observe("fulcrum_job_duration_seconds", seconds, phase=phase)

    def attempt_ended(self, failure_class: str | None) -> None:
        """Count an attempt; `failure_class` is None if its run succeeded."""
        self._count("fulcrum_attempts_total", failure_class=failure_class or "none")

    def observe_evidence(self, model: str, evidence: Evidence, verdict: Verdict) -> None:
        """Count what was decided from `evidence`, time its stages, and show its figures.

        Args:
            model: From `model_label`.
            evidence: Of a run that has just been decided.
            verdict: What was decided.
        """
        self._count("fulcrum_verdicts_total", verdict=verdict.outcome)
        for gate in verdict.gates:
            self._count(
                "fulcrum_gate_verdicts_total", kind=gate.kind, mode=gate.mode, verdict=gate.verdict
            )
        for stage in evidence.stages:
            cached = stage.cached_from is not None
            self._count("fulcrum_stages_total", stage=stage.stage, cached=str(cached).lower())
            if not cached:
                self._observe("fulcrum_stage_duration_seconds", stage.seconds, stage=stage.stage)
        self.show_evidence(model, evidence, verdict)

    def show_evidence(self, model: str, evidence: Evidence, verdict: Verdict) -> None:
        """Show the figures of `evidence` without counting anything, as after a restart."""
        model = self._admission.admit(MODEL, model)
        self._scraped.models[model] = model_samples(evidence, verdict)

    def promotion(self, kind: str, result: str) -> None:
        """Count a decided promotion: its kind, and the phase that it came into."""
        self._count("fulcrum_promotions_total", kind=kind, result=result)

    def slot(self, outcome: str, count: int = 1, lateness_s: float | None = None) -> None:
        """Count decided slots of schedules; `lateness_s` is that of a job that was created."""
        self._count("fulcrum_schedule_slots_total", count, outcome=outcome)
        if lateness_s is not None:
            self._observe("fulcrum_schedule_lateness_seconds", max(lateness_s, 0.0))

    def reconciled(self, kind: str, seconds: float, error: BaseException | None = None) -> None:
        """Time one look at an object of `kind`, and count the error that ended it."""
        self._observe("fulcrum_reconcile_duration_seconds", seconds, kind=kind)
        if error is not None:
            self._count("fulcrum_reconcile_errors_total", kind=kind, error=type(error).__name__)

    def api_call(self, verb: str, resource: str, code: str, seconds: float) -> None:
        """Count and time one try of a call; `code` is a status, `timeout` or `unreachable`."""
        self._count("fulcrum_api_requests_total", verb=verb, resource=resource, code=code)
        self._observe("fulcrum_api_request_duration_seconds", seconds, verb=verb, resource=resource)

    def api_retry(self, verb: str) -> None:
        """Count a call that is about to be tried again."""
        self._count("fulcrum_api_retries_total", verb=verb)

    def leading(self, leads: bool) -> None:
        """Say whether this process holds the Lease."""
        self._set("fulcrum_leader", float(leads))

    def lease_moved(self, leads: bool) -> None:
        """Count that this process has just taken or lost the Lease, and say so."""
        self._count("fulcrum_lease_transitions_total", to="leading" if leads else "standby")
        self.leading(leads)

    def event(self, result: str) -> None:
        """Count an Event: `written`, `known` from before, or `failed`."""
        self._count("fulcrum_events_total", result=result)

    def loop_lag(self, seconds: float) -> None:
        """Take in how late the event loop was."""
        self._observe("fulcrum_event_loop_lag_seconds", seconds)

    def _show_settings(self, settings: Settings) -> None:
        self._set("fulcrum_build_info", 1.0, version=__version__, python=platform.python_version())
        self._set("fulcrum_running_limit_jobs", settings.process.max_running)
        self._set("fulcrum_reconcile_workers", settings.reconcile.workers)
        self._set("fulcrum_reconcile_limit_seconds", settings.reconcile.stuck_s)
        self._set("fulcrum_watch_limit_seconds", settings.api.watch_silence_s)

    def _counter(self, family: Family) -> Counter:
        counter = Counter(family.name, family.help, _names(family), registry=self.registry)
        for values in _from_start(family):
            counter.labels(*values)
        return counter

    def _gauge(self, family: Family) -> Gauge:
        names = _names(family)
        return Gauge(family.name, family.help, names, unit=family.unit, registry=self.registry)

    def _histogram(self, family: Family) -> Histogram:
        histogram = Histogram(
            family.name,
            family.help,
            _names(family),
            unit=family.unit,
            registry=self.registry,
            buckets=family.buckets,
        )
        for values in _from_start(family):
            histogram.labels(*values)
        return histogram

    def _count(self, family: str, by: int = 1, **labels: str) -> None:
        self._counters[family].labels(*self._admitted(family, labels)).inc(by)

    def _observe(self, family: str, seconds: float, **labels: str) -> None:
        histogram = self._histograms[family]
        (histogram.labels(*self._admitted(family, labels)) if labels else histogram).observe(
            seconds
        )

    def _set(self, family: str, value: float, **labels: str) -> None:
        gauge = self._gauges[family]
        (gauge.labels(*self._admitted(family, labels)) if labels else gauge).set(value)

    def _admitted(self, family: str, labels: Mapping[str, str]) -> tuple[str, ...]:
        """Return the values of the labels of `family`, made bounded, in their order."""
        declared = FAMILIES[family].labels
        return tuple(self._admission.admit(label, labels[label.name]) for label in declared)


def _names(family: Family) -> tuple[str, ...]:
    return tuple(label.name for label in family.labels)


def _from_start(family: Family) -> Iterator[tuple[str, ...]]:
    """Yield the values of the labels of the series that are there before anything happened."""
    if family.from_zero:
        yield from itertools.product(*(label.values for label in family.labels))
