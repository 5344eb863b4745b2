"""A control plane with nodes that run pods, as one thing."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.building import Binaries
from cluster.cache import exclusive
from cluster.control_plane import ControlPlane, stop_all
from cluster.credentials import KUBELETS_CLIENT
from cluster.errors import ClusterError
from cluster.kubectl import Kubectl, KubectlError
from cluster.processes import Processes, stop_abandoned
from cluster.programs import Reach

from node import cgroups, dns, network
from node.archives import write_probe_image
from node.building import NodeBinaries
from node.slots import (
    REGISTRY,
    Slot,
    abandoned,
    claim,
    claimed_by,
    nodes_directory,
    release,
)
from node.worker import KUBELET, Spec, Worker

GPU = "nvidia.com/gpu"
PLAIN = Spec("plain", {"pool": "plain"})
GPU_A = Spec("gpu-a", {"pool": "gpu-a"}, [f"{GPU}=present:NoSchedule"], gpus=1)
SPECS = (PLAIN, GPU_A)
READY_WITHIN = "--timeout=90s"


@dataclass(frozen=True)
class Build:
    """All binaries of one version."""

    plane: Binaries
    nodes: NodeBinaries


class RealCluster:
    """The cluster in `directory`, which has `slot`, with a node for each of `specs`."""

    def __init__(
        self, directory: Path, slot: Slot, built: Build, specs: Sequence[Spec], owner: str = ""
    ) -> None:
        reach = Reach(slot.host, str(slot.services))
        self.slot = slot
        self.plane = ControlPlane(directory, built.plane, owner=owner, reach=reach)
        self.nodes = {
            spec.name: Worker(spec, slot.place(index), self.plane, built.nodes)
            for index, spec in enumerate(specs)
        }
        self._built = built.nodes

    @property
    def kubectl(self) -> Kubectl:
        """The command kubectl, as an administrator."""
        return self.plane.kubectl

    def start(self) -> None:
        """Start everything and wait until all nodes are Ready."""
        workers = list(self.nodes.values())
        network.lay(self.slot)
        for worker in workers:
            worker.begin()
            network.connect(worker.place, worker.first_process)
        network.route([worker.place for worker in workers], [w.first_process for w in workers])
        self.plane.start()
        self.kubectl(
            *("create", "clusterrolebinding", KUBELETS_CLIENT, f"--user={KUBELETS_CLIENT}"),
            "--clusterrole=system:kubelet-api-admin",
        )
        dns.start(self.plane, self._built.coredns, self.slot.host)
        archive = nodes_directory(self.plane.directory) / "probe.tar"
        write_probe_image(archive, self._built.probe)
        for worker in workers:
            worker.configure()
            worker.start_containerd()
            worker.import_image(archive)
            worker.start_kubelet()
        for worker in workers:
            self.wait_until_ready(worker.spec.name)
            worker.start_proxy()
            self._add_gpus(worker.spec)

    def import_image(self, archive: Path, nodes: Sequence[str] = ()) -> None:
        """Give an image to `nodes`, by default to all, from an OCI or Docker archive."""
        for name in nodes or self.nodes:
            self.nodes[name].import_image(archive)

    def logs(self, pod: str, namespace: str, *words: str) -> str:
        """Return what the containers of a pod wrote."""
        return self.kubectl("logs", pod, f"--namespace={namespace}", "--all-containers", *words)

    @contextlib.contextmanager
    def kubelet_stopped(self, name: str) -> Iterator[None]:
        """Keep the kubelet of a node stopped; afterwards the node is Ready again."""
        self.nodes[name].stop_kubelet()
        try:
            yield
        finally:
            self.nodes[name].start_kubelet()
            self.wait_until_ready(name)

    @contextlib.contextmanager
    def cordoned(self, name: str) -> Iterator[None]:
        """Let no further pods be put on a node."""
        self.kubectl("cordon", name)
        try:
            yield
        finally:
            self.kubectl("uncordon", name)

    def drain(self, name: str) -> None:
        """Cordon a node and evict its pods, also those without a controller that restarts them."""
        self.kubectl("drain", name, "--force", "--delete-emptydir-data", "--ignore-daemonsets")

    def wait_until_ready(self, name: str) -> None:
        """Wait until a node is Ready, as its kubelet reports it now.

        Raises:
            ClusterError: It is not in time, or its kubelet has ended.
        """
        try:
            self.kubectl("wait", "--for=create", f"node/{name}", READY_WITHIN)
            self.kubectl("wait", "--for=condition=Ready", f"node/{name}", READY_WITHIN)
        except KubectlError as error:
            self.plane.processes.check(f"{name}.{KUBELET}")
            message = f"{error}; log: {self.plane.processes.log(f'{name}.{KUBELET}')}"
            raise ClusterError(message) from error

    def memory_mib(self) -> dict[str, float]:
        """Return the resident memory of each program that was started, with what it started."""
        processes = self.plane.processes
        found = {name: processes.running(name) for name in processes.names()}
        sizes = {}
        for name, process in found.items():
            family = [process, *process.children(recursive=True)] if process else []
            sizes[name] = sum(member.memory_info().rss for member in family) / 2**20
        return sizes

    def _add_gpus(self, spec: Spec) -> None:
        """Say that the node has accelerators; scheduling is all that this makes true."""
        if spec.gpus:
            path = f"/status/capacity/{GPU.replace('/', '~1')}"
            patch = [{"op": "add", "path": path, "value": str(spec.gpus)}]
            self.kubectl(
                *("patch", "node", spec.name, "--subresource=status", "--type=json"),
                f"--patch={json.dumps(patch)}",
            )
            allocatable = "{.status.allocatable.nvidia\\.com/gpu}"
            self.kubectl(
                *("wait", f"--for=jsonpath={allocatable}={spec.gpus}", f"node/{spec.name}"),
                READY_WITHIN,
            )


def launch(
    directory: Path, built: Build, specs: Sequence[Spec] = SPECS, owner: str = ""
) -> RealCluster:
    """Start a cluster in `directory`, which is short of `/run`, `/var/lib` and `/var/log`.

    `owner` is as for `Processes`. If the start fails, nothing is left running. First it ends
    what killed owners left behind.
    """
    clear_abandoned()
    directory.mkdir(parents=True, exist_ok=True)
    slot = claim(directory.resolve(), owner)
    try:
        cluster = RealCluster(directory, slot, built, specs, owner)
        cluster.start()
    except BaseException:
        clear(directory)
        raise
    return cluster


def clear(directory: Path) -> None:
    """End the cluster in `directory`, however far it came, and remove all but logs and state."""
    directory = directory.resolve()
    stop_all(Processes(directory))
    slot = claimed_by(directory)
    if slot:
        cgroups.remove(slot)
        network.remove(slot)
        shutil.rmtree(nodes_directory(directory), ignore_errors=True)
        release(slot)


def clear_abandoned() -> None:
    """End the clusters whose owners were killed before they could, or whose folder is gone."""
    stop_abandoned()
    with exclusive(REGISTRY):  # two that clear one cluster would trip over each other
        for directory in abandoned():
            clear(directory)
