"""Kueue's controller as a process: installed, started, stopped and killed.

Only one duty of the kubelet is simulated: the secret with the controller's certificate, which the
controller makes itself, appears in a folder. The controller has the rights of its service account
and no more.
"""

from __future__ import annotations

import base64
import contextlib
import json
import time
import urllib.request
from collections.abc import Callable

import yaml
from cluster.certificates import write_private
from cluster.control_plane import ControlPlane
from cluster.errors import ClusterError, PortTakenError
from cluster.kubectl import KubectlError
from cluster.ports import free_port
from cluster.programs import HOST

from kueue.building import Built
from kueue.manifests import NAMESPACE, Manifests, Object, Ports, read_manifests

NAME = "kueue"
ACCOUNT, SECRET = "kueue-controller-manager", "kueue-webhook-server-cert"
ARGUMENTS = ("--zap-log-level=2", "--feature-gates=VisibilityOnDemand=false")
START_TIMEOUT_S = 120.0
STOP_GRACE_S = 5.0
POLL_S = 0.05
PROBE = {
    "apiVersion": "kueue.x-k8s.io/v1beta2",
    "kind": "ResourceFlavor",
    "metadata": {"name": "probe"},
}
"""Never created: that the API server would, after asking the webhooks, shows that they answer."""


class Kueue:
    """Kueue on `cluster`; it is stopped with that, if not before.

    Its webhooks guard pods and Jobs everywhere. So while it is stopped none of these can be
    created, and a cluster that other tests use is none for it.
    """

    def __init__(self, cluster: ControlPlane, built: Built) -> None:
        self.cluster = cluster
        self._built = built
        self._directory = cluster.directory / NAME
        self._certificates = self._directory / "certificates"

    def start(self) -> None:
        """Bring the cluster up to date, start the controller, and wait until it is ready.

        Raises:
            ClusterError: It ended, with the end of its log, or was not ready in time.
        """
        try:
            self._start()
        except PortTakenError:
            self._start()

    def stop(self) -> None:
        """Stop the controller; what it has admitted goes on."""
        self.cluster.processes.stop([NAME], STOP_GRACE_S)

    def kill(self) -> None:
        """End the controller as a crash does."""
        self.cluster.processes.stop([NAME], 0)

    def memory_mib(self) -> float:
        """Return the controller's resident memory, 0 where it does not run."""
        process = self.cluster.processes.running(NAME)
        return process.memory_info().rss / 2**20 if process else 0.0

    def log_tail(self) -> str:
        """Return the last lines of the controller."""
        return self.cluster.processes.log_tail(NAME)

    def _start(self) -> None:
        ports = Ports(free_port(), free_port())
        manifests = read_manifests(self._built.manifests, ports, self._certificates)
        self._install(manifests)
        self._launch(manifests.settings)
        self._wait("its certificate", self._mounted)
        self._wait("it to be ready", lambda: _answers(f"http://{HOST}:{ports.health}/readyz"))
        self._wait("its webhooks", self._guards)

    def _install(self, manifests: Manifests) -> None:
        self._apply(manifests.schemas)
        self.cluster.kubectl(
            *("wait", "--for=condition=Established", "--timeout=60s", "customresourcedefinitions"),
            *(each["metadata"]["name"] for each in manifests.schemas),
        )
        self._apply(manifests.others)

    def _apply(self, objects: list[Object]) -> None:
        words = ("apply", "--server-side", "--force-conflicts", "-f", "-")
        self.cluster.kubectl(*words, stdin="\n---\n".join(map(json.dumps, objects)))

    def _launch(self, settings: Object) -> None:
        self._certificates.mkdir(parents=True, exist_ok=True)
        config = self._directory / "config.yaml"
        config.write_text(yaml.safe_dump(settings))
        kubeconfig = self.cluster.token_kubeconfig(NAMESPACE, ACCOUNT)
        command = [str(self._built.controller), f"--config={config}", *ARGUMENTS]
        environment = {"HOME": str(self._directory), "KUBECONFIG": str(kubeconfig)}
        self.cluster.processes.start(NAME, command, environment)

    def _mounted(self) -> bool:
        """Put the secret's content into the folder; the certificate last, which is waited for."""
        words = ("get", "secret", SECRET, f"--namespace={NAMESPACE}", "--output=json")
        data = json.loads(self.cluster.kubectl(*words)).get("data") or {}
        names = [name for name in ("tls.key", "tls.crt") if name in data]
        for name in names:
            write_private(self._certificates / name, base64.b64decode(data[name]))
        return len(names) == 2

    def _guards(self) -> bool:
        try:
            words = ("create", "--dry-run=server", "-f", "-")
            self.cluster.kubectl(*words, stdin=json.dumps(PROBE))
        except KubectlError:
            return False
        return True

    def _wait(self, what: str, holds: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not holds():
            self.cluster.processes.check(NAME)
            if time.monotonic() > deadline_s:
                message = f"Kueue: waited {START_TIMEOUT_S:.0f} s for {what}:\n{self.log_tail()}"
                raise ClusterError(message)
            time.sleep(POLL_S)


def _answers(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with contextlib.suppress(OSError), opener.open(url, timeout=1):
        return True
    return False
