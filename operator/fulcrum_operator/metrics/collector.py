"""Computes the scraped families when Prometheus asks, from what the operator knows then."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from fulcrum_operator.metrics.families import FAMILIES, MODEL, PHASE, SCHEDULE, Family
from fulcrum_operator.metrics.labels import Admission, Label
from fulcrum_operator.metrics.models import Sample


@dataclass(frozen=True)
class Sources:
    """Sources of scraped values; each is called at every scrape and must be quick.

    Attributes:
        jobs: How many there are by phase; phases without jobs may be missing.
        queue_depth: Objects that are due.
        watch_ages_s: Seconds since the last sign of life, by plural and group of the resource.
        schedules: How many there are, by whether jobs start at their slots.
        last_successes_s: By namespace and name of a schedule, as seconds since 1970.
    """

    jobs: Callable[[], Mapping[str, int]]
    queue_depth: Callable[[], int]
    watch_ages_s: Callable[[], Mapping[str, float]]
    schedules: Callable[[], Mapping[bool, int]]
    last_successes_s: Callable[[], Mapping[str, float]]


class ScrapeCollector(Collector):
    """All scraped families, of which those without a source are left out."""

    def __init__(self, admission: Admission) -> None:
        self.sources: Sources | None = None
        self.models: dict[str, tuple[Sample, ...]] = {}
        self._admission = admission

    def describe(self) -> Iterator[Metric]:
        """Name the families without computing them, which registration asks for."""
        return (_empty(family) for family in FAMILIES.values() if family.scraped)

    def collect(self) -> Iterator[Metric]:
        """Return the families that have samples now."""
        found = {family.name: _empty(family) for family in FAMILIES.values() if family.scraped}
        for sample in (*self._of_sources(), *self._of_models()):
            found[sample.family].add_sample(
                sample.family, self._admitted(FAMILIES[sample.family], sample.labels), sample.value
            )
        return (metric for metric in found.values() if metric.samples)

    def _of_sources(self) -> Iterator[Sample]:
        if self.sources is None:
            return
        jobs = self.sources.jobs()
        for phase in PHASE.values:
            yield Sample("fulcrum_jobs", {"phase": phase}, jobs.get(phase, 0))
        yield Sample("fulcrum_queue_depth", {}, self.sources.queue_depth())
        for resource, age_s in self.sources.watch_ages_s().items():
            yield Sample("fulcrum_watch_age_seconds", {"resource": resource}, age_s)
        schedules = self.sources.schedules()
        for scheduling in (True, False):
            labels = {"scheduling": str(scheduling).lower()}
            yield Sample("fulcrum_schedules", labels, schedules.get(scheduling, 0))
        yield from self._of_schedules(self.sources.last_successes_s())

    def _of_schedules(self, last_successes_s: Mapping[str, float]) -> Iterator[Sample]:
        """Yield one sample for each label; of schedules beyond the bound, the oldest success."""
        found: dict[str, float] = {}
        for name, time_s in sorted(last_successes_s.items()):
            label = self._admission.admit(SCHEDULE, name)
            found[label] = min(found.get(label, time_s), time_s)
        for label, time_s in found.items():
            name = "fulcrum_schedule_last_success_timestamp_seconds"
            yield Sample(name, {SCHEDULE.name: label}, time_s)

    def _of_models(self) -> Iterator[Sample]:
        for model, samples in self.models.items():
            for sample in samples:
                yield Sample(sample.family, {MODEL.name: model, **sample.labels}, sample.value)

    def _admitted(self, family: Family, labels: Mapping[str, str]) -> dict[str, str]:
        known: dict[str, Label] = {label.name: label for label in family.labels}
        return {
            name: self._admission.admit(known[name], value) if name in known else value
            for name, value in labels.items()
        }


def _empty(family: Family) -> Metric:
    return Metric(family.name, family.help, family.kind, family.unit)
