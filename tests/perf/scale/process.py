"""The operator as a process that is looked at from outside, as a kubelet and Prometheus do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

TESTS = Path(__file__).resolve().parents[2]
READY_WITHIN_S = 300.0
STOPS_WITHIN_S = 60.0
POLL_S = 0.2
FINAL = frozenset({"Succeeded", "Rejected", "Inconclusive", "Failed"})


@dataclass
class OperatorProcess:
    """One operator, started as often as wanted.

    Attributes:
        directory: Has its log and the files that it writes.
        config: Its settings.
    """

    directory: Path
    config: Path
    _process: subprocess.Popen[bytes] | None = field(default=None)

    def start(self, hold_s: float) -> float:
        """Start it with runs of `hold_s` seconds; return the seconds until it was ready."""
        (self.directory / "port").unlink(missing_ok=True)
        started_s = time.monotonic()
        with (self.directory / "operator.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "perf.scale.operating", "--config", str(self.config),
                 "--directory", str(self.directory), "--hold-s", str(hold_s)],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )  # fmt: skip
        wait_until(self._is_ready, READY_WITHIN_S, "the operator is ready")
        return time.monotonic() - started_s

    def stop(self) -> None:
        """End it as a kubelet does."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(STOPS_WITHIN_S)
        self._process = None

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    def cpu_s(self) -> float:
        """Return the processor time that it has taken so far."""
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)

    def rss_mb(self) -> float:
        """Return its resident memory in MB."""
        return float(psutil.Process(self.pid).memory_info().rss / 1e6)

    def peak_rss_mb(self) -> float:
        """Return the most that it had resident so far, in MB."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6

    def ended(self) -> int:
        """Return how many jobs it knows that have ended; asking the API would be work for it."""
        samples = self._samples()
        return sum(
            int(sample.value)
            for sample in samples
            if sample.name == "fulcrum_jobs" and sample.labels["phase"] in FINAL
        )

    def counts(self) -> Counter[str]:
        """Return its API calls as `verb resource` and its reconciles as `reconcile kind`."""
        found: Counter[str] = Counter()
        for sample in self._samples():
            if sample.name == "fulcrum_api_requests_total":
                name = f"{sample.labels['verb']} {sample.labels['resource']}"
                found[name] += int(sample.value)
            if sample.name == "fulcrum_reconcile_duration_seconds_count":
                found[f"reconcile {sample.labels['kind']}"] += int(sample.value)
        return found

    def submissions(self) -> dict[str, float]:
        """Return when each run was submitted to the engine, in seconds since 1970, by its key."""
        path = self.directory / "submitted"
        lines = path.read_text().splitlines() if path.exists() else []
        return {key: float(moment) for moment, key in (line.split() for line in lines)}

    def engine_cpu_s(self) -> float:
        """Return what the engine took of the processor until it was stopped."""
        return float((self.directory / "engine-cpu").read_text())

    def _samples(self) -> list[Sample]:
        families = text_string_to_metric_families(self._get("metrics")[1])
        return [sample for family in families for sample in family.samples]

    def _is_ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            log = (self.directory / "operator.log").read_text()
            raise SystemExit(f"the operator has ended:\n{log[-4000:]}")
        try:
            return self._get("readyz")[0] == 200
        except OSError:
            return False

    def _get(self, path: str) -> tuple[int, str]:
        port = (self.directory / "port").read_text()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, ""


def wait_until(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    """Wait for `condition`; end the program where it does not come."""
    until_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > until_s:
            raise SystemExit(f"waited {timeout_s:.0f} s until {what}, in vain")
        time.sleep(POLL_S)
