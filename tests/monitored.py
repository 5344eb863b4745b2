"""A real Prometheus that scrapes two operators' figures: one that is well, one that is not.

Both are real servers with what an operator would count. A third address has no listener.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yaml
from builders.evidence import make_evidence
from builders.figures import make_latency
from builders.plans import make_spec

from fulcrum_operator.metrics import Metrics, Sources
from fulcrum_operator.runtime.health import Check, HealthServer, Probe
from fulcrum_operator.settings import Http, Settings
from fulcrum_pipelines.evidence import Evidence, QuantizeDetails, StageEvidence, ValidateDetails
from fulcrum_pipelines.gates import Verdict, decide

DOCS = Path(__file__).parents[1] / "docs"
RULES = DOCS / "prometheus" / "rules.yaml"
CONFIG = DOCS / "prometheus" / "prometheus.yaml"
WELL, SICK = "fulcrum-operator", "sick"
PATIENCE_S = 60.0
FINE = Probe((Check("loop"),))


class Server:
    """The HTTP API of a Prometheus."""

    def __init__(self, port: int) -> None:
        self._port = port

    def get(self, path: str, **parameters: str) -> Any:
        """Return the data of the answer to a call of the API."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            connection.request("GET", f"/api/v1/{path}?{urlencode(parameters)}")
            answer = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        assert answer["status"] == "success", answer
        return answer["data"]

    def figures(self, query: str) -> list[float]:
        """Return the values that `query` has now."""
        return [float(one["value"][1]) for one in self.get("query", query=query)["result"]]

    def raised(self, job: str) -> set[str]:
        """Return the alerts about `job` whose condition holds, long enough or not yet."""
        alerts = self.get("alerts")["alerts"]
        return {one["labels"]["alertname"] for one in alerts if one["labels"].get("job") == job}


def compressed(*, coverage: float, speedup: float) -> Evidence:
    """Return evidence of a candidate of this int8 coverage and speed-up."""
    evidence = make_evidence()
    stages = tuple(_changed(stage, coverage, speedup) for stage in evidence.stages)
    return evidence.model_copy(update={"stages": stages})


def _changed(stage: StageEvidence, coverage: float, speedup: float) -> StageEvidence:
    details = stage.details
    if isinstance(details, QuantizeDetails):
        details = details.model_copy(update={"int8_coverage": coverage})
    if isinstance(details, ValidateDetails):
        timings = tuple(make_latency(batch, speedup=speedup) for batch in (1, 32))
        details = details.model_copy(update={"latency": timings})
    return stage.model_copy(update={"details": details})


def judged(evidence: Evidence, outcome: str) -> Verdict:
    """Return the verdict over `evidence`, had its first gate and so all come out as `outcome`."""
    verdict = decide(evidence, make_spec().gates or ())
    first = verdict.gates[0].model_copy(update={"verdict": outcome})
    return verdict.model_copy(update={"outcome": outcome, "gates": (first, *verdict.gates[1:])})


def _sources(jobs: dict[str, int], *, depth: int, watch_age_s: float) -> Sources:
    """Return the sources of an operator without schedules."""
    return Sources(lambda: jobs, lambda: depth, lambda: {"jobs": watch_age_s}, dict, dict)


class Operators:
    """Metrics of both operators, which grow at each `tick`."""

    def __init__(self) -> None:
        self.well, self.sick = Metrics(Settings()), Metrics(Settings())
        self.well.attach(_sources({"Running": 1, "Succeeded": 40}, depth=3, watch_age_s=20.0))
        self.sick.attach(_sources({"Running": 1, "Pending": 9}, depth=1000, watch_age_s=400.0))
        self.well.lease_moved(True)
        self._good = compressed(coverage=0.998, speedup=6.4)
        self._floating = compressed(coverage=0.12, speedup=1.3)
        self._slow = compressed(coverage=0.4, speedup=0.7)
        self._passed, self._failed = judged(self._good, "Pass"), judged(self._good, "Fail")
        self._anomalous = judged(self._slow, "Anomalous")

    def tick(self) -> None:
        """Let a job of each end happen."""
        self._live(self.well)
        self._suffer(self.sick)

    def _live(self, metrics: Metrics) -> None:
        metrics.observe_evidence("mnist", self._good, self._passed)
        metrics.observe_evidence("text", self._floating, self._failed)
        metrics.job_ended("Succeeded", "Passed", 33.0)
        metrics.job_ended("Rejected", "GatesFailed", 41.0)
        metrics.attempt_ended(None)
        metrics.promotion("Promotion", "Promoted")
        metrics.event("written")
        metrics.loop_lag(0.0005)
        for _ in range(20):
            metrics.reconciled("CompressionJob", 0.012)
            metrics.api_call("patch", "compressionjobs.fulcrum.dev/status", "200", 0.004)
        metrics.api_call("patch", "compressionjobs.fulcrum.dev/status", "409", 0.003)

    def _suffer(self, metrics: Metrics) -> None:
        metrics.observe_evidence("mnist", self._slow, self._anomalous)
        metrics.job_ended("Failed", "StageFailed", 5.0)
        metrics.attempt_ended("infrastructure")
        metrics.promotion("Promotion", "Refused")
        metrics.event("failed")
        metrics.loop_lag(4.0)
        metrics.reconciled("CompressionJob", 25.0, TimeoutError())
        metrics.api_call("get", "compressionjobs.fulcrum.dev", "timeout", 10.0)
        metrics.api_retry("get")
        metrics.lease_moved(True)
        metrics.lease_moved(False)


@contextlib.contextmanager
def serving() -> Iterator[dict[str, int]]:
    """Serve both operators from a loop in a separate thread; yield ports by job name."""
    ports: dict[str, int] = {}
    started, ended = threading.Event(), threading.Event()

    async def serve() -> None:
        operators = Operators()
        both = {WELL: operators.well, SICK: operators.sick}
        servers = {
            job: HealthServer(Http(port=0), metrics, lambda: FINE, lambda: FINE)
            for job, metrics in both.items()
        }
        for job, server in servers.items():
            await server.start()
            ports[job] = server.port
        started.set()
        while not ended.is_set():
            operators.tick()
            await asyncio.sleep(0.25)
        for server in servers.values():
            await server.stop()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert started.wait(PATIENCE_S)
        yield ports
    finally:
        ended.set()
        thread.join()


@contextlib.contextmanager
def prometheus(program: str, ports: dict[str, int], directory: Path) -> Iterator[Server]:
    """Run Prometheus with the documented configuration, but for addresses and patience."""
    config = directory / "prometheus.yaml"
    config.write_text(yaml.safe_dump(_configured(ports)))
    port = free_port()
    with (
        (directory / "log").open("w") as log,
        subprocess.Popen(
            [
                program,
                f"--config.file={config}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        ) as process,
    ):
        try:
            _wait_until_ready(process, port, directory / "log")
            yield Server(port)
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _configured(ports: dict[str, int]) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(CONFIG.read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(CONFIG.parent / name) for name in config["rule_files"]]
    (documented,) = config["scrape_configs"]
    assert documented["job_name"] == WELL
    documented["static_configs"] = _at(ports[WELL], free_port())
    config["scrape_configs"].append({"job_name": SICK, "static_configs": _at(ports[SICK])})
    return config


def _at(*ports: int) -> list[dict[str, list[str]]]:
    return [{"targets": [f"127.0.0.1:{port}" for port in ports]}]


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until and process.poll() is None:
        # Before it is ready it refuses, or answers in another language.
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
            if Server(port).figures("vector(1)") == [1.0]:
                return
        time.sleep(0.1)
    raise AssertionError(log.read_text())
