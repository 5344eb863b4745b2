"""Measure the operator with a thousand jobs at once, and with ten thousand that are over.

Times hold for this machine and for how busy it is; what is compared with `scale.yaml` in any case
is processor time, memory, and calls a job.

    python -m perf.scale [--jobs 1000] [--finished 10000] [--output FILE] [--plot FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import yaml
from cluster.building import binaries, chosen_minor
from cluster.control_plane import ControlPlane
from cluster.installing import install
from cluster.processes import this_process
from perf.scale.copying import Copier
from perf.scale.jobs import NAMESPACE
from perf.scale.limits import compare
from perf.scale.machine import Meter, describe_machine
from perf.scale.measuring import Bench
from perf.scale.plot import draw
from perf.scale.population import Population
from perf.scale.process import OperatorProcess

ROOT = Path(__file__).resolve().parents[3]
HOLD_S = 90.0
"""How long runs of the first burst take: longer than it takes to submit them all."""
SETTLE_S = 30.0
"""After a start, in which the watches' own lists go on for a while."""
APISERVER_MEMORY = {"GOMEMLIMIT": "8GiB", "GOGC": "200"}
"""With what is enough for tests, its collector would take most of the processors."""


def main() -> int:
    """Measure, write, draw and compare; 1 where a limit is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--finished", type=int, default=10_000)
    parser.add_argument("--steady-s", type=float, default=60.0)
    parser.add_argument("--output", type=Path, default=ROOT / ".fulcrum/perf.json")
    parser.add_argument("--plot", type=Path, default=ROOT / ".fulcrum/perf.svg")
    parser.add_argument("--draw", type=Path, help="only draw the figures in this file")
    options = parser.parse_args()
    if options.draw:
        options.plot.write_text(draw(json.loads(options.draw.read_text())))
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that all is stopped then, too
    with tempfile.TemporaryDirectory() as scratch, bench(Path(scratch), options.steady_s) as made:
        figures = measure(made, options.jobs, options.finished)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(figures, indent=1) + "\n")
    options.plot.write_text(draw(figures))
    print(f"written: {options.output}, {options.plot}")
    return 0 if compare(figures) else 1


@contextmanager
def bench(scratch: Path, steady_s: float) -> Iterator[Bench]:
    """Start a control plane and prepare an operator; stop both in the end."""
    os.environ.update(APISERVER_MEMORY)
    cluster = ControlPlane(
        scratch / "control-plane", binaries(chosen_minor()), owner=this_process()
    )
    cluster.start()
    try:
        install(cluster)
        cluster.kubectl("create", "namespace", NAMESPACE)
        account = cluster.token_kubeconfig("fulcrum-system", "fulcrum-operator")
        process = OperatorProcess(scratch, _settings(scratch, account))
        population = Population(cluster.admin_kubeconfig)

        def processes() -> Mapping[str, psutil.Process]:
            running = {name: cluster.processes.running(name) for name in cluster.processes.names()}
            ours = {name: found for name, found in running.items() if found is not None}
            return {**ours, "operator": psutil.Process(process.pid)}

        try:
            yield Bench(process, population, Copier(cluster), Meter(processes), steady_s)
        finally:
            process.stop()
    finally:
        cluster.stop()


def _settings(scratch: Path, kubeconfig: Path) -> Path:
    (scratch / "store").mkdir()
    settings: dict[str, Any] = {
        "kubeconfig": str(kubeconfig),
        "store": str(scratch / "store"),
        "source_root": "file:///sources",
        "log_format": "text",
        "log_level": "WARNING",
        "http": {"port": 0},
    }
    path = scratch / "settings.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def measure(bench: Bench, jobs: int, finished: int) -> dict[str, Any]:
    """Return all figures."""
    figures: dict[str, Any] = {"machine": describe_machine(), "load_before": os.getloadavg()}
    _say("an empty operator")
    ready_s = bench.process.start(HOLD_S)
    time.sleep(SETTLE_S)
    figures["empty"] = {"ready_s": ready_s, "rss_mb": bench.process.rss_mb()}
    _say(f"{jobs} jobs at once")
    figures["burst"] = bench.burst("burst", jobs)
    bench.wait_for_ends(jobs)
    bench.process.stop()
    _say(f"{finished} finished jobs")
    bench.copier.multiply("burst-00000", [f"over-{n:05}" for n in range(finished - jobs)])
    first_s = bench.process.start(0.0)
    time.sleep(SETTLE_S)
    peak_mb = bench.process.peak_rss_mb()
    rest = bench.rest()
    bench.process.stop()
    figures["finished"] = {
        "jobs": finished,
        "peak_rss_of_start_mb": peak_mb,
        "ready_after_first_start_s": first_s,
        "ready_s": bench.process.start(0.0),
        **rest,
    }
    _say(f"{jobs} jobs to their end, beside them")
    figures["to_the_end"] = bench.until_ended("late", jobs)
    figures["load_after"] = os.getloadavg()
    return figures


def _say(what: str) -> None:
    load = os.getloadavg()[0]
    print(f"{time.strftime('%H:%M:%S')} {what} (load {load:.1f})", flush=True)


if __name__ == "__main__":
    sys.exit(main())
