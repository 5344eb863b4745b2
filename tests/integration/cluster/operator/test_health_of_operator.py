"""The operator's process as a kubelet and a reader of logs and exit codes see it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from cluster.control_plane import ControlPlane
from fault_proxy import Fault, FaultProxy
from operator_site import Site
from operators import Jobs, OperatorProcess, wait_until
from scraping import scrape

from fulcrum_operator.kubernetes.kubeconfig import from_kubeconfig

IDLE_MIB = 120.0
"""Memory limit of an idle operator. Measured: 107 MiB in each of 3 starts, Linux x86-64; 42 of them
are Kubernetes' own client, which kopf loads if it is installed. The operator's image lacks it."""
ENDS_WITHIN_S = 15.0
LEASES = "/apis/coordination.k8s.io/v1/namespaces/fulcrum-system/leases"
NewOperator = Callable[..., OperatorProcess]


@pytest.fixture
def token(control_plane: ControlPlane) -> str:
    """The operator's own."""
    account = ("fulcrum-operator", "--namespace=fulcrum-system", "--duration=24h")
    return control_plane.kubectl("create", "token", *account).strip()


@pytest.fixture
def proxy(control_plane: ControlPlane, tmp_path: Path) -> Iterator[FaultProxy]:
    """A proxy of the test's own."""
    upstream = from_kubeconfig(control_plane.admin_kubeconfig)
    (tmp_path / "proxy").mkdir()
    with FaultProxy(upstream, tmp_path / "proxy") as serving:
        yield serving


def probe(operator: OperatorProcess, path: str) -> tuple[int, dict[str, str]]:
    """Return the status of a probe and what failed; 0 if there is no answer."""
    try:
        status, text = operator.get(path)
    except OSError:
        return 0, {}
    return status, json.loads(text)["failed"]


def holder(own_site: Site) -> str:
    """Return who holds the Lease."""
    lease = own_site.jobs.api("GET", f"{LEASES}/{own_site.lease}")
    return str(lease["spec"].get("holderIdentity", ""))


def test_ready_with_warm_caches_and_the_lease_in_sight(
    new_operator: NewOperator, proxy: FaultProxy, token: str
) -> None:
    proxy.add(Fault("delay", path="modelchannels", delay_s=4.0))
    proxy.add(Fault("answer", path="/leases", times=None))
    operator = new_operator(kubeconfig=proxy.kubeconfig(token))
    operator.start(ready=False)
    wait_until(lambda: probe(operator, "readyz")[0] == 503, 60, lambda: operator.log)
    status, failed = probe(operator, "readyz")
    assert (status, "cache modelchannels" in failed, "lease" in failed) == (503, True, True)
    assert probe(operator, "healthz") == (200, {})
    wait_until(lambda: [*probe(operator, "readyz")[1]] == ["lease"], 60, lambda: operator.log)
    assert scrape(operator)("fulcrum_leader") == 0
    proxy.clear()
    wait_until(operator.is_ready, 30)
    assert scrape(operator)("fulcrum_leader") == 1


def test_asked_to_end_it_finishes_what_it_does_and_hands_over(
    own_site: Site, new_operator: NewOperator, proxy: FaultProxy, token: str
) -> None:
    leader, standby = (
        new_operator("leader", kubeconfig=proxy.kubeconfig(token)),
        new_operator("two"),
    )
    leader.start()
    standby.start()
    assert (holder(own_site), scrape(standby)("fulcrum_leader")) == ("leader", 0)
    with prometheus(leader):
        proxy.add(Fault("delay", "PATCH", "compressionjobs/.*/status", times=None, delay_s=1.5))
        own_site.jobs.apply("succeed.handed-over")
        wait_until(lambda: proxy.done["delay"] > 0, 30)
        before, started_s = leader.effects, time.monotonic()
        assert leader.stop() == 0
        assert time.monotonic() - started_s < ENDS_WITHIN_S
    assert len(leader.effects) > len(before), "the running reconcile was not finished"
    assert "Traceback" not in leader.log
    own_site.jobs.ended("succeed.handed-over")
    assert own_site.starts().total() == 1
    assert holder(own_site) == "two"
    assert standby.stop() == 0
    assert holder(own_site) == ""


class prometheus:  # noqa: N801  a context manager reads like a function
    """A scraper that keeps its connection open until the operator closes it."""

    def __init__(self, operator: OperatorProcess) -> None:
        port = int((operator.directory / "port").read_text())
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)

    def __enter__(self) -> None:
        self._connection.request("GET", "/metrics")
        assert self._connection.getresponse().read()

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def test_blocked_loop_answers_no_probe(
    own_site: Site, new_operator: NewOperator, jobs: Jobs
) -> None:
    operator = new_operator()
    operator.start("--block-at", "submitted")
    jobs.apply("succeed.blocked")
    wait_until(lambda: probe(operator, "healthz")[0] == 0, 30)
    assert operator.alive
    operator.stop(signal.SIGKILL)  # as a kubelet does after a while
    operator.start()
    assert jobs.ended("succeed.blocked")["phase"] == "Succeeded"
    assert own_site.starts().total() == 1


def test_watch_that_is_never_started_fails_the_liveness_probe(
    new_operator: NewOperator, proxy: FaultProxy, token: str
) -> None:
    """A server asks for the list much later, and the operator does not try until then."""
    operator = new_operator(kubeconfig=proxy.kubeconfig(token), api={"watch_silence_s": 1.0})
    operator.start()
    lists, watches, busy = r"modelchannels(\?(?!.*watch=)|$)", r"modelchannels\?.*watch=", 429
    proxy.add(Fault("answer", path=lists, times=None, status=busy, retry_after="1000"))
    proxy.add(Fault("expire", path=watches))
    wait_until(lambda: probe(operator, "healthz")[0] == 503, 30)
    ((check, problem),) = probe(operator, "healthz")[1].items()
    assert check == "watch modelchannels"
    assert problem.startswith("no sign of life for")


def test_idle_memory_is_bounded_and_logs_say_whose_they_are_and_no_secrets(
    own_site: Site, new_operator: NewOperator, proxy: FaultProxy, token: str, jobs: Jobs
) -> None:
    operator = new_operator(
        kubeconfig=proxy.kubeconfig(token), log_format="json", log_level="DEBUG"
    )
    operator.start()
    time.sleep(2)
    print(f"idle: {resident_mib(operator):.0f} MiB")
    assert resident_mib(operator) < IDLE_MIB
    proxy.add(Fault("answer", times=20, share=0.5, status=401, reason="Unauthorized"))
    proxy.add(Fault("answer", times=10, share=0.5))
    proxy.cut()
    uid = {name: make(jobs, name) for name in ("succeed.logged", "flaky.logged")}
    for name in uid:
        jobs.ended(name)
    assert operator.stop() == 0
    assert proxy.done["answer"] > 5
    assert token not in operator.log
    assert token.rpartition(".")[2] not in operator.log
    lines = [json.loads(line) for line in operator.log.splitlines() if line.startswith("{")]
    ours = [
        line
        for line in lines
        if line["logger"].startswith("fulcrum_operator.controllers.job_reconciler")
    ]
    about = [line for line in ours if line["job"] == "flaky.logged"]
    assert {line["attempt"] for line in about} >= {1, 2}
    assert {(line["namespace"], line["uid"]) for line in about} == {
        (own_site.namespace, uid["flaky.logged"])
    }


def make(jobs: Jobs, name: str) -> str:
    """Create a job that may have a second attempt, and return its uid."""
    jobs.apply(name, backoffLimit=2)
    return str(jobs.get(name)["metadata"]["uid"])


def resident_mib(operator: OperatorProcess) -> float:
    """Return the memory of the process that serves the operator's port."""
    port = int((operator.directory / "port").read_text())
    (pid,) = {
        each.pid
        for each in psutil.net_connections("tcp4")
        if each.status == psutil.CONN_LISTEN and each.laddr.port == port
    }
    return float(psutil.Process(pid).memory_info().rss / 2**20)


@dataclass(frozen=True)
class Start:
    """A start that cannot be.

    Attributes:
        name: Of the case.
        says: What the line has.
        code: The exit code.
        settings: Changes to settings that would do.
        fault: Of the API server.
        account: Whose token it uses.
    """

    name: str
    says: str
    code: int
    settings: dict[str, Any] = field(default_factory=dict)
    fault: Fault | None = None
    account: str = "fulcrum-operator"


MISSING = Fault("answer", path="/compressionjobs", times=None, status=404, reason="NotFound")
STARTS = (
    Start("unknown setting", "speed: Extra inputs are not permitted", 2, {"speed": 9}),
    Start("wrong value", "api.retries: Input should be greater", 2, {"api": {"retries": -1}}),
    Start(
        "leases that cannot be kept",
        "election: Value error, lease_duration_s must be longer than",
        2,
        {"election": {"lease_duration_s": 1.0}},
    ),
    Start("no kubeconfig", "no-such.kubeconfig", 2, {"kubeconfig": "no-such.kubeconfig"}),
    Start("port is taken", "http: cannot listen at 127.0.0.1:", 2, {"http": {"port": "taken"}}),
    Start(
        "no kinds", "the API server has no compressionjobs: apply crds/ first", 1, fault=MISSING
    ),
    Start("no rights", "operator/deploy/rbac.yaml has the rights that it needs", 1,
          account="default"),
    Start("no API server", "503 ServiceUnavailable", 1, {"api": {"retries": 1}},
          fault=Fault("answer", times=None)),
)  # fmt: skip


@pytest.mark.parametrize("case", STARTS, ids=lambda case: case.name)
def test_start_that_cannot_be_says_why_in_one_line(
    case: Start, control_plane: ControlPlane, proxy: FaultProxy, tmp_path: Path
) -> None:
    account = (case.account, "--namespace=fulcrum-system")
    token = control_plane.kubectl("create", "token", *account).strip()
    if case.fault:
        proxy.add(case.fault)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = {
            "kubeconfig": str(proxy.kubeconfig(token)),
            "store": str(tmp_path / "store"),
            "http": {"port": 0},
            **case.settings,
        }
        if settings["http"]["port"] == "taken":
            settings["http"] = {"port": port}
        (config := tmp_path / "settings.yaml").write_text(yaml.safe_dump(settings))
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "fulcrum_operator.cli.main",
                "operator",
                "--config",
                str(config),
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=tmp_path,
            env={**os.environ, "FULCRUM_LOG_LEVEL": "WARNING"},
        )
    (line,) = (done.stdout + done.stderr).splitlines()
    assert line.startswith("error: ")
    assert case.says in line
    assert done.returncode == case.code
