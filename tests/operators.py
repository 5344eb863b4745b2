"""Run operators as separate processes, and follow their jobs, for tests."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any
from unittest import mock

import operator_under_test
import psutil
from builders.plans import make_spec
from cluster.kubectl import Kubectl
from cluster_api import ClusterApi, RefusedError

from fulcrum_operator.resources import names as resource_names
from fulcrum_operator.resources.names import Kind

START_TIMEOUT_S = 60.0
END_TIMEOUT_S = 60.0
POLL_S = 0.1
FINAL = ("Succeeded", "Rejected", "Inconclusive", "Failed")


@dataclass
class OperatorProcess:
    """One operator.

    Attributes:
        directory: Has its settings and its log.
        config: What it was started with.
        environment: Variables that it gets, beside the test's own.
    """

    directory: Path
    config: Path
    environment: dict[str, str] = field(default_factory=dict)
    _process: ForkServerProcess | None = field(default=None)

    @property
    def log(self) -> str:
        """All that it and its predecessors in this directory said."""
        return (self.directory / "operator.log").read_text()

    @property
    def effects(self) -> list[str]:
        """The effects that it had, in their order."""
        lines = (line.split() for line in self.log.splitlines())
        return [words[1] for words in lines if len(words) == 2 and words[0] == "effect"]

    @property
    def writes(self) -> int:
        """How many writes it sent, or was about to send, as the leader."""
        return self.log.splitlines().count("write")

    @property
    def orders(self) -> Path:
        """The file that names the effect at which to stop; see `order`."""
        return self.directory / "orders"

    @property
    def alive(self) -> bool:
        """Whether its process is there, stopped or not."""
        return self._process is not None and self._process.is_alive()

    @property
    def working(self) -> bool:
        """Whether its process goes on: neither dead nor stopped."""
        assert self._process is not None
        return self.alive and psutil.Process(self._process.pid).status() != psutil.STATUS_STOPPED

    def order(self, sort: str, effect: str) -> None:
        """Let it stop right after its next effect of that name: KILL it, or STOP it for a while."""
        partial = self.orders.with_suffix(".partial")
        partial.write_text(f"{sort} {effect}")
        partial.rename(self.orders)

    def start(self, *arguments: str, ready: bool = True) -> None:
        """Start it, and wait until it is ready."""
        (self.directory / "port").unlink(missing_ok=True)
        words = ["--config", self.config, "--port-file", self.directory / "port"]
        words += ["--orders", self.orders, *arguments]
        environment = {**os.environ, **self.environment}
        log = self.directory / "operator.log"
        log.touch()
        self._process = _forks().Process(
            target=operate, args=([str(word) for word in words], environment, log), daemon=True
        )
        self._process.start()
        if ready:
            wait_until(self.is_ready, START_TIMEOUT_S, lambda: self.log[-4000:])

    def is_ready(self) -> bool:
        """Ask its readiness probe."""
        assert self._process is not None
        assert self._process.is_alive(), f"the operator has ended:\n{self.log[-4000:]}"
        try:
            return self.get("readyz")[0] == 200
        except OSError:
            return False

    def get(self, path: str) -> tuple[int, str]:
        """Return status and body of what it serves at `path`."""
        port = (self.directory / "port").read_text()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def wait_for_kill(self, timeout_s: float = END_TIMEOUT_S) -> None:
        """Wait until it was killed at its effect."""
        assert self._process is not None
        self._process.join(timeout_s)
        code = self._process.exitcode
        assert code == -signal.SIGKILL, f"it was not killed: {code}\n{self.log[-4000:]}"

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        """End it as a crash does."""
        self.stop(signal.SIGKILL)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it and return its exit code."""
        if self._process is None:
            return 0
        if self._process.is_alive():
            self.send(signal.SIGCONT)
            self.send(number)
            self._process.join(30)
        code = self._process.exitcode
        if code is None:
            self._process.kill()
            raise AssertionError(f"it did not end:\n{self.log[-4000:]}")
        return code


def operate(arguments: list[str], environment: dict[str, str], log: Path) -> None:
    """Be an operator, as if `arguments` were those of a command; the body of its process."""
    os.environ.clear()
    os.environ.update(environment)
    with log.open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    operator_under_test.main(arguments)


@cache
def _forks() -> ForkServerContext:
    """Return what forks operators from a process that has imported all that they need.

    Imports are half of what an operator costs, and tests start hundreds.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["operators"])
    with mock.patch.dict(os.environ, {"PYTHONPATH": os.pathsep.join(sys.path)}):
        forkserver.ensure_running()
    return context


@dataclass
class Jobs:
    """CompressionJobs of the test's namespace.

    Attributes:
        kubectl: As an administrator.
        namespace: Where.
    """

    kubectl: Kubectl
    namespace: str

    def __post_init__(self) -> None:
        """Connect."""
        self.api = ClusterApi(self.kubectl.kubeconfig)

    def apply(self, name: str, **spec: Any) -> str:
        """Create a job; its name says how the stand-in behaves, up to a dot. Return its name."""
        fields = make_spec().model_dump(mode="json", by_alias=True, exclude_unset=True)
        self.create("CompressionJob", name, {**fields, **spec})
        return name

    def create(self, kind: str, name: str, spec: dict[str, Any]) -> None:
        """Create an object of ours; fields that are None are left out."""
        of = _kind(kind)
        metadata = {"name": name, **({"namespace": self.namespace} if of.namespaced else {})}
        fields = {field: value for field, value in spec.items() if value is not None}
        body = {"apiVersion": of.api_version, "kind": of.kind, "metadata": metadata, "spec": fields}
        self.api("POST", self._path(of), body)

    def get(self, name: str, kind: str = "CompressionJob") -> dict[str, Any]:
        """Return an object."""
        return self.api("GET", self._path(_kind(kind), name))

    def exists(self, name: str, kind: str = "CompressionJob") -> bool:
        """Return whether the object exists."""
        try:
            self.get(name, kind)
        except RefusedError as error:
            if error.code != 404:
                raise
            return False
        return True

    def status(self, name: str, kind: str = "CompressionJob") -> dict[str, Any]:
        """Return an object's status, empty if it has none."""
        return self.get(name, kind).get("status") or {}

    def items(self, kind: str = "CompressionJob") -> list[dict[str, Any]]:
        """Return all objects of a kind."""
        found: list[dict[str, Any]] = self.api("GET", self._path(_kind(kind)))["items"]
        return found

    def names(self, kind: str = "CompressionJob") -> list[str]:
        """Return the names of all objects of a kind."""
        return [item["metadata"]["name"] for item in self.items(kind)]

    def patch(self, name: str, spec: dict[str, Any], kind: str = "CompressionJob") -> None:
        """Merge into a specification."""
        self.api("PATCH", self._path(_kind(kind), name), {"spec": spec})

    def delete(self, name: str, kind: str = "CompressionJob") -> None:
        """Ask for an object's deletion, and do not wait for it."""
        self.api("DELETE", self._path(_kind(kind), name))

    def gone(self, name: str, timeout_s: float = END_TIMEOUT_S) -> None:
        """Wait until a job is no more."""
        wait_until(
            lambda: not self.exists(name), timeout_s, lambda: json.dumps(self.get(name), indent=1)
        )

    def promotions_of(self, name: str) -> list[dict[str, Any]]:
        """Return the ModelPromotions that name a job."""
        items = self.items("ModelPromotion")
        return [each for each in items if (each["spec"].get("job") or {}).get("name") == name]

    def _path(self, kind: Kind, name: str = "") -> str:
        root = f"/apis/{kind.api_version}" if kind.group else f"/api/{kind.version}"
        scope = f"/namespaces/{self.namespace}" if kind.namespaced else ""
        return f"{root}{scope}/{kind.plural}{f'/{name}' if name else ''}"

    def ended(self, name: str, timeout_s: float = END_TIMEOUT_S) -> dict[str, Any]:
        """Wait until a job has ended, and return its status."""
        return self.reaches(name, *FINAL, timeout_s=timeout_s, complete=True)

    def reaches(
        self, name: str, *phases: str, timeout_s: float = END_TIMEOUT_S, complete: bool = False
    ) -> dict[str, Any]:
        """Wait until a job is in one of `phases`, and return its status."""

        def arrived() -> bool:
            status = self.status(name)
            return status.get("phase") in phases and (not complete or "completionTime" in status)

        wait_until(arrived, timeout_s, lambda: json.dumps(self.status(name), indent=1))
        return self.status(name)

    def says(self, name: str, words: str, timeout_s: float = END_TIMEOUT_S) -> dict[str, Any]:
        """Wait until a job's message or a condition's has `words`, and return its status."""

        def is_said() -> bool:
            status = self.status(name)
            parts = (status, *(status.get("conditions") or ()))
            return any(words in part.get("message", "") for part in parts)

        wait_until(is_said, timeout_s, lambda: json.dumps(self.status(name), indent=1))
        return self.status(name)

    def events(self, name: str, kind: str = "CompressionJob") -> list[tuple[str, str]]:
        """Return reason and message of the Events about an object, the oldest first."""
        items = [e for e in self.items("Event") if e["involvedObject"]["name"] == name]
        items = [e for e in items if e["involvedObject"]["kind"] == kind]
        items.sort(key=lambda item: int(item["metadata"]["resourceVersion"]))
        assert all(item["count"] == 1 for item in items), "an Event was written again"
        return [(item["reason"], item["message"]) for item in items]

    def reasons(self, name: str, kind: str = "CompressionJob") -> list[str]:
        """Return the reasons of the Events about an object, the oldest first."""
        return [reason for reason, _ in self.events(name, kind)]


def _kind(name: str) -> Kind:
    found = [each for each in vars(resource_names).values() if isinstance(each, Kind)]
    return next(each for each in found if each.kind == name)


def wait_until(
    condition: Callable[[], bool], timeout_s: float, what: Callable[[], str] = lambda: ""
) -> None:
    """Wait for `condition`; after `timeout_s` fail with the text of `what`."""
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, f"not within {timeout_s} s: {what()}"
        time.sleep(POLL_S)
