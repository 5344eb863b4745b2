"""One node: its first process, containerd, kubelet and kube-proxy."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from cluster.certificates import SERVER, Authority
from cluster.control_plane import ControlPlane
from cluster.errors import ClusterError

from node import cgroups, configs
from node.building import NodeBinaries
from node.commands import path_of, run
from node.slots import Place, nodes_directory

FIRST, CONTAINERD, KUBELET, PROXY = "first", "containerd", "kubelet", "kube-proxy"
START_TIMEOUT_S = 60.0
GRACE_S = 3.0
POLL_S = 0.05
NAMESPACE = "--namespace=k8s.io"  # where containerd keeps what the kubelet asks for
# Kernel settings that a kubelet changes for the whole machine; each node gets its own copies.
KERNEL_SETTINGS = (
    *("vm/overcommit_memory", "vm/panic_on_oom"),
    *("kernel/panic", "kernel/panic_on_oops"),
    *("kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes"),
)
BEGIN = """
set -eu
own=$1 ready=$2 probe=$3
shift 3
for setting; do
    mkdir -p "$own/proc/$(dirname "$setting")"
    cat "/proc/sys/$setting" > "$own/proc/$setting"
    mount --bind "$own/proc/$setting" "/proc/sys/$setting"
done
for folder in run var/lib var/log; do
    mkdir -p "$own/$folder"
    mount --bind "$own/$folder" "/$folder"
done
echo 1 > /proc/sys/net/ipv4/ip_forward
: > "$ready"
exec "$probe" pause
"""


@dataclass(frozen=True)
class Spec:
    """Specification of a node: its labels, taints (`key=value:effect`) and accelerators."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: Sequence[str] = ()
    gpus: int = 0


class Worker:
    """The node `spec` at `place`, of the cluster `plane`."""

    def __init__(
        self, spec: Spec, place: Place, plane: ControlPlane, binaries: NodeBinaries
    ) -> None:
        self.spec = spec
        self.place = place
        self._plane = plane
        self._binaries = binaries
        self.files = configs.NodeFiles(nodes_directory(plane.directory) / spec.name)

    @property
    def first_process(self) -> int:
        """The process that holds the node's namespaces."""
        starter = self._plane.processes.running(self._name(FIRST))
        children = starter.children() if starter else []
        if not children:
            message = f"the node {self.spec.name} does not run"
            raise ClusterError(message)
        return int(children[0].pid)

    def begin(self) -> None:
        """Start the first process; the node has its namespaces and groups then."""
        ready = self.files.directory / "ready"
        self.files.own.mkdir(parents=True, exist_ok=True)
        ready.unlink(missing_ok=True)
        cgroups.make(self.place)
        command = [path_of("unshare"), "--pid", "--mount", "--net", "--fork", "--kill-child"]
        command += ["--mount-proc", "/bin/sh", "-c", BEGIN, "node"]
        command += [str(self.files.own), str(ready), str(self._binaries.probe), *KERNEL_SETTINGS]
        self._plane.processes.start(self._name(FIRST), command, _environment())
        self.wait("its first process", ready.exists)

    def configure(self) -> None:
        """Write what the programs need; the control plane must have its certificates."""
        pki = self._plane.directory / "pki"
        authority = Authority(pki, "ca")
        serving = authority.issue(
            *(f"{self.spec.name}-serving", self._user, ["system:nodes"], [SERVER]),
            addresses=[self.place.address],
        )
        proxy = self._plane.kubeconfig_for("system:kube-proxy")
        configs.write(self.files, self.place, authority.pair.certificate, serving, proxy)

    def start_containerd(self) -> None:
        """Start containerd and wait until it answers."""
        self._launch(CONTAINERD, [path_of("containerd"), f"--config={self.files.containerd}"])
        self.wait("containerd", self._containerd_answers)

    def start_kubelet(self) -> None:
        """Start the kubelet; the node is Ready some seconds later."""
        kubeconfig = self._plane.kubeconfig_for(self._user, ["system:nodes"])
        command = [str(self._binaries.kubelet), f"--config={self.files.kubelet}"]
        command += [f"--kubeconfig={kubeconfig}", f"--hostname-override={self.spec.name}"]
        command += [f"--node-ip={self.place.address}", "--cert-dir=/var/lib/kubelet/pki"]
        labels = ",".join(f"{name}={value}" for name, value in self.spec.labels.items())
        command += [f"--node-labels={labels}"] if labels else []
        taints = ",".join(self.spec.taints)
        command += [f"--register-with-taints={taints}"] if taints else []
        self._launch(KUBELET, command)

    def start_proxy(self) -> None:
        """Start kube-proxy, which makes Services' addresses work on this node."""
        command = [str(self._binaries.kube_proxy), f"--config={self.files.proxy}"]
        self._launch(PROXY, [*command, f"--hostname-override={self.spec.name}"])

    def stop_kubelet(self) -> None:
        """Stop the kubelet; containers go on running, without reports."""
        self._plane.processes.stop([self._name(KUBELET)], GRACE_S)

    def import_image(self, archive: Path) -> None:
        """Give an image to containerd, from an OCI or Docker archive."""
        if not archive.is_file():
            message = f"{archive}: no such image archive"
            raise ClusterError(message)
        self.inside("ctr", NAMESPACE, "images", "import", archive.resolve())
        # It is unpacked now; the layers as they were packed would only double what it takes.
        self.inside("ctr", NAMESPACE, "content", "prune", "references")

    def images(self) -> list[str]:
        """Return the names of the images that the node has."""
        listed = self.inside("ctr", NAMESPACE, "images", "ls", "-q")
        return [name for name in listed.split() if not name.startswith("sha256:")]

    def inside(self, tool: str, *words: str | Path) -> str:
        """Return what a command of this machine prints inside the node."""
        return run([*self._enter(), path_of(tool), *map(str, words)])

    def processes(self) -> set[psutil.Process]:
        """Return all that runs on the node, as this machine sees it."""
        own = _process_namespace(self.first_process)
        found = {p for p in psutil.process_iter() if _process_namespace(p.pid) == own}
        for process in set(found):
            with contextlib.suppress(psutil.Error):  # it has ended
                found |= set(process.children(recursive=True))
        return found

    def wait(self, what: str, holds: Callable[[], bool]) -> None:
        """Wait until `holds` returns true, or a program of the node has ended."""
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not holds():
            for program in (FIRST, CONTAINERD, KUBELET, PROXY):
                self._plane.processes.check(self._name(program))
            if time.monotonic() > deadline_s:
                logs = self._plane.directory / "logs"
                message = (
                    f"{self.spec.name}: waited {START_TIMEOUT_S:.0f} s for {what}; logs: {logs}"
                )
                raise ClusterError(message)
            time.sleep(POLL_S)

    @property
    def _user(self) -> str:
        return f"system:node:{self.spec.name}"

    def _name(self, program: str) -> str:
        return f"{self.spec.name}.{program}"

    def _enter(self) -> list[str]:
        return [path_of("nsenter"), f"--target={self.first_process}", "--pid", "--mount", "--net"]

    def _launch(self, program: str, command: Sequence[str]) -> None:
        name = self._name(program)
        self._plane.processes.start(name, [*self._enter(), *command], _environment())

    def _containerd_answers(self) -> bool:
        try:
            self.inside("ctr", "version")
        except ClusterError:
            return False
        return True


def _process_namespace(pid: int) -> str | None:
    try:
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    except OSError:  # it has ended
        return None


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": "/root"}
