"""Whether the figures of a run are the operator's: what else took this machine's processors."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

QUIET_CORES = 0.3
"""Processor use of other programs, in cores, above which times are not compared."""


@dataclass(frozen=True)
class Usage:
    """Processor seconds at a moment: of the whole machine, of this process, and of ours by name."""

    moment_s: float
    machine_s: float
    harness_s: float
    ours: Mapping[str, float]


@dataclass(frozen=True)
class Meter:
    """Looks at the processes that a measurement is about.

    Attributes:
        processes: Returns them by name.
    """

    processes: Callable[[], Mapping[str, psutil.Process]]

    def read(self) -> Usage:
        """Return what was used until now."""
        times, own = psutil.cpu_times(), psutil.Process().cpu_times()
        idle_s = times.idle + times.iowait
        return Usage(
            time.monotonic(),
            sum(times) - times.guest - times.guest_nice - idle_s,
            own.user + own.system,
            {
                name: (used := process.cpu_times()).user + used.system
                for name, process in self.processes().items()
            },
        )


def describe_use(before: Usage, after: Usage, jobs: int) -> dict[str, Any]:
    """Return processor milliseconds a job by program, and the cores that others took meanwhile."""
    seconds = after.moment_s - before.moment_s
    ours = {name: after.ours[name] - before.ours.get(name, 0.0) for name in after.ours}
    ours["harness"] = after.harness_s - before.harness_s
    others_s = after.machine_s - before.machine_s - sum(ours.values())
    return {
        "cpu_ms_per_job": {name: 1000 * used / jobs for name, used in ours.items()},
        "others_cores": others_s / seconds,
    }


def describe_machine() -> dict[str, Any]:
    """Return what the machine is."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(": ")[1] for line in lines if line.startswith("model name")), "")
    return {
        "cores": os.cpu_count(),
        "processor": model or platform.machine(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "python": platform.python_version(),
    }
