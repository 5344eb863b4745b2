"""The three measurements: a burst of jobs, ten thousand that are over, and both together."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from perf.scale.copying import Copier
from perf.scale.machine import Meter, describe_use
from perf.scale.population import Population
from perf.scale.process import OperatorProcess, wait_until

Figures = dict[str, Any]
PATIENCE_S = 1800.0
SAMPLE_S = 10.0
UID_AND_ATTEMPT = 15
"""Characters that a key has after the job's name: the beginning of the uid and the attempt."""


@dataclass(frozen=True)
class Bench:
    """The tools of a measurement.

    Attributes:
        process: The operator.
        population: The jobs.
        copier: Makes more of them.
        meter: Reads the processor use of all programs.
        steady_s: How long an operator at rest is measured.
    """

    process: OperatorProcess
    population: Population
    copier: Copier
    meter: Meter
    steady_s: float

    def burst(self, prefix: str, count: int) -> Figures:
        """Create `count` jobs at once; return how they came to the engine and what it cost."""
        names = [f"{prefix}-{number:05}" for number in range(count)]
        before, use, known = self.process.counts(), self.meter.read(), self._submitted()
        sent = self.population.create(names)
        created_s = time.time() - min(sent.values())
        wait_until(
            lambda: len(self._submitted()) - len(known) >= count, PATIENCE_S, "all are submitted"
        )
        after = self.meter.read()
        at = {name: moment for name, moment in self._submitted().items() if name in sent}
        waited = [at[name] - sent[name] for name in names]
        seconds = max(at.values()) - min(sent.values())
        return {
            "jobs": count,
            "creation_s": created_s,
            "all_submitted_s": seconds,
            "jobs_per_s": count / seconds,
            "created_to_submitted_s": quantiles(waited),
            "created_after_s": curve(sent.values(), min(sent.values())),
            "submitted_after_s": curve(at.values(), min(sent.values())),
            "peak_rss_mb": self.process.peak_rss_mb(),
            **describe_use(use, after, count),
            **per_job(self.process.counts() - before, count),
        }

    def until_ended(self, prefix: str, count: int) -> Figures:
        """Create `count` jobs whose runs end at once; return how they came to their end."""
        over = self.process.ended()
        before, use, started_s = self.process.counts(), self.meter.read(), time.time()
        burst = self.burst(prefix, count)
        self.wait_for_ends(over + count)
        seconds = time.time() - started_s
        after, phases = self.meter.read(), self.population.phases(prefix)
        return {
            "submission": burst,
            "all_ended_s": seconds,
            "jobs_per_s": count / seconds,
            "phases": dict(phases),
            "peak_rss_mb": self.process.peak_rss_mb(),
            **describe_use(use, after, count),
            **per_job(self.process.counts() - before, count),
        }

    def wait_for_ends(self, count: int) -> None:
        """Wait until so many jobs have ended in all."""
        wait_until(lambda: self.process.ended() >= count, PATIENCE_S, "all have ended")

    def rest(self) -> Figures:
        """Look at an operator that has nothing to do; return cores and memory."""
        before, use = self.process.counts(), self.meter.read()
        cpu_s, started_s = self.process.cpu_s(), time.monotonic()
        memory = []
        while time.monotonic() - started_s < self.steady_s:
            time.sleep(min(SAMPLE_S, self.steady_s))
            memory.append(self.process.rss_mb())
        seconds = time.monotonic() - started_s
        others_cores = describe_use(use, self.meter.read(), 1)["others_cores"]
        calls = self.process.counts() - before
        return {
            "seconds": seconds,
            "others_cores": others_cores,
            "cores": (self.process.cpu_s() - cpu_s) / seconds,
            "rss_mb": statistics.fmean(memory),
            "calls_per_s": sum(calls[name] for name in calls if is_call(name)) / seconds,
            "reconciles_per_s": calls["reconcile compressionjobs"] / seconds,
        }

    def _submitted(self) -> Mapping[str, float]:
        return {
            key[:-UID_AND_ATTEMPT]: moment for key, moment in self.process.submissions().items()
        }


def per_job(counts: Counter[str], jobs: int) -> Figures:
    """Return reconciles and API calls a job; kopf's watches and the Lease's renewals are rare."""
    calls = {name: count / jobs for name, count in sorted(counts.items()) if is_call(name)}
    return {
        "reconciles_per_job": counts["reconcile compressionjobs"] / jobs,
        "calls_per_job": sum(calls.values()),
        "calls_per_job_by_kind": {name: round(count, 3) for name, count in calls.items()},
    }


def is_call(name: str) -> bool:
    """Return whether the timing is of an API call, not of a reconcile."""
    return not name.startswith("reconcile ")


def curve(moments: Iterable[float], start: float) -> list[float]:
    """Return after how many seconds from `start` each hundredth had come, the first one first."""
    ordered = sorted(moments)
    last = len(ordered) - 1
    return [round(ordered[last * share // 100] - start, 3) for share in range(101)]


def quantiles(values: list[float]) -> Figures:
    """Return the median, the 95th percentile and the largest."""
    cuts = statistics.quantiles(values, n=20)
    return {"p50": cuts[9], "p95": cuts[18], "max": max(values)}
