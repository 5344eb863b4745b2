"""The limits of `make perf` break or hold by what a run measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from perf.scale.limits import compare
from perf.scale.machine import QUIET_CORES

LIMITS = {
    "burst.jobs_per_s": {"min": 10, "quiet": True},
    "burst.cpu_ms_per_job.operator": {"max": 40},
    "finished.rss_mb": {"max": 350},
}
BUSY = QUIET_CORES + 0.1
"""Cores that other programs took, too many for times to count."""


@dataclass(frozen=True)
class Run:
    """What was measured, and whether it holds."""

    name: str
    holds: bool
    burst: dict[str, Any] = field(default_factory=dict)
    finished: dict[str, Any] = field(default_factory=dict)


RUNS = (
    Run("at the limits", holds=True, burst={"jobs_per_s": 10.0}, finished={"rss_mb": 350.0}),
    Run("too much memory", holds=False, finished={"rss_mb": 351.0}),
    Run("too much memory, busy", holds=False, finished={"rss_mb": 351.0, "others_cores": BUSY}),
    Run("too slow", holds=False, burst={"jobs_per_s": 9.0}),
    Run("too slow, busy", holds=True, burst={"jobs_per_s": 9.0, "others_cores": BUSY}),
    Run("too much CPU, busy", holds=False,
        burst={"cpu_ms_per_job": {"operator": 41.0}, "others_cores": BUSY}),
)  # fmt: skip


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_run_holds_or_breaks_its_limits(run: Run, tmp_path: Path) -> None:
    limits = tmp_path / "limits.yaml"
    limits.write_text(yaml.safe_dump({"limits": LIMITS}))
    burst = {"jobs_per_s": 20.0, "cpu_ms_per_job": {"operator": 20.0}, "others_cores": 0.0}
    figures = {"burst": burst | run.burst, "finished": {"rss_mb": 200.0} | run.finished}
    assert compare(figures, limits) is run.holds
