"""etcd, API server, controller manager and scheduler on loopback ports, as one thing.

There are no nodes: pods are created, scheduled nowhere and never run. The API is real:
schemas and their rules, RBAC, admission, watches, garbage collection, tokens.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from cluster import credentials
from cluster.building import Binaries
from cluster.errors import ClusterError, PortTakenError
from cluster.kubectl import Kubectl
from cluster.ports import free_ports
from cluster.probing import answers
from cluster.processes import Processes
from cluster.programs import (
    APISERVER,
    CONTROLLER_MANAGER,
    ETCD,
    HOST,
    NAMES,
    SCHEDULER,
    Files,
    Ports,
    Reach,
    programs,
)

START_TIMEOUT_S = 120.0
STOP_GRACE_S = 3.0  # the API server may take a minute over a polite end, and keeps nothing itself
POLL_S = 0.05
DEFAULT_ACCOUNT = "/api/v1/namespaces/default/serviceaccounts/default"


class ControlPlane:
    """A control plane whose files are in `directory`; who has the folder can use and stop it.

    `owner` is as for `Processes`.
    """

    def __init__(
        self,
        directory: Path,
        binaries: Binaries,
        choose_ports: Callable[[], Ports] = free_ports,
        owner: str = "",
        reach: Reach | None = None,
    ) -> None:
        self.directory = directory.resolve()
        self.binaries = binaries
        self.processes = Processes(self.directory, owner)
        self._choose_ports = choose_ports
        self._reach = reach or Reach()
        self._files = Files(self.directory)

    @property
    def ports(self) -> Ports:
        """The ports of the last start."""
        return Ports(**json.loads(self._files.ports.read_text()))

    @property
    def server(self) -> str:
        """The API server's address."""
        return f"https://{self._reach.address}:{self.ports.apiserver}"

    @property
    def admin_kubeconfig(self) -> Path:
        """Credentials that may do everything."""
        return self._files.kubeconfig("admin")

    @property
    def kubectl(self) -> Kubectl:
        """The command kubectl, as an administrator."""
        return Kubectl(self.binaries.kubectl, self.admin_kubeconfig)

    def start(self) -> None:
        """Start all programs and wait until namespaces get their default service account.

        Raises:
            ClusterError: A program ended, with the end of its log, or was not ready in time.
        """
        try:
            self._start()
        except PortTakenError:
            self._start()

    def stop(self) -> None:
        """Stop what was started here and still runs, by whomever; once stopped, do nothing."""
        stop_all(self.processes)

    def start_process(self, name: str) -> None:
        """Start one program, on the port that it had, and wait until it is ready."""
        self._launch(name)
        self._wait_for(name)

    def stop_process(self, name: str) -> None:
        """Stop one program."""
        self.processes.stop([name], STOP_GRACE_S)

    def is_ready(self) -> bool:
        """Return whether all programs run and the API server answers."""
        running = all(self.processes.running(name) for name in NAMES)
        return running and self._answers("/readyz")

    def memory_mib(self) -> dict[str, float]:
        """Return each program's resident memory, 0 where it does not run."""
        found = {}
        for name in NAMES:
            process = self.processes.running(name)
            found[name] = process.memory_info().rss / 2**20 if process else 0.0
        return found

    def kubeconfig_for(self, user: str, groups: Sequence[str] = ()) -> Path:
        """Return credentials of a user who may do what RBAC gives to them and `groups`."""
        return credentials.for_user(self._files, self.server, user, groups)

    def token_kubeconfig(
        self, namespace: str, service_account: str, valid_for_s: int = 86_400
    ) -> Path:
        """Return credentials of a service account: a bearer token, as its pods would have."""
        token = self.kubectl(
            *("create", "token", service_account, f"--namespace={namespace}"),
            f"--duration={valid_for_s}s",
        )
        name = f"{namespace}-{service_account}"
        return credentials.for_token(self._files, self.server, name, token.strip())

    def _start(self) -> None:
        self._files.pki.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._files.ports.write_text(json.dumps(dataclasses.asdict(self._choose_ports())))
        credentials.prepare(self._files, self.server, self._reach)
        try:
            # Each pair starts at once: the API server waits for etcd itself.
            for names in ((ETCD, APISERVER), (CONTROLLER_MANAGER, SCHEDULER)):
                for name in names:
                    self._launch(name)
                for name in names:
                    self._wait_for(name)
            self._wait("the default service account", lambda: self._answers(DEFAULT_ACCOUNT))
        except BaseException:
            self.stop()
            raise

    def _launch(self, name: str) -> None:
        program = programs(self.binaries, self._files, self.ports, self._reach)[name]
        common = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self.directory)}
        self.processes.start(name, program.command, {**common, **program.environment})

    def _wait_for(self, name: str) -> None:
        port, path = {
            ETCD: (None, ""),  # the API server is ready when etcd is
            APISERVER: (None, "/readyz"),
            CONTROLLER_MANAGER: (self.ports.controller_manager, "/healthz"),
            SCHEDULER: (self.ports.scheduler, "/healthz"),
        }[name]
        if path:
            self._wait(f"{name} to be ready", lambda: self._answers(path, port))

    def _answers(self, path: str, port: int | None = None) -> bool:
        url = f"https://{HOST}:{port}{path}" if port else f"{self.server}{path}"
        return answers(url, self._files.pair("ca").certificate, self._files.pair("admin"))

    def _wait(self, what: str, holds: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not holds():
            for name in NAMES:
                self.processes.check(name)
            if time.monotonic() > deadline_s:
                message = f"waited {START_TIMEOUT_S:.0f} s for {what}; logs: {self.directory}/logs"
                raise ClusterError(message)
            time.sleep(POLL_S)


def stop_all(processes: Processes) -> None:
    """Stop what runs of a control plane, of which nothing but its processes need be known."""
    names = processes.names()
    processes.stop([name for name in names if name != ETCD], STOP_GRACE_S)
    processes.stop([name for name in names if name == ETCD], STOP_GRACE_S)
