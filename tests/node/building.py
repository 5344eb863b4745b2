"""The binaries of nodes: kubelet and kube-proxy from their module, our cut of CoreDNS, our probe.

containerd, runc and the CNI plugins are those of the distribution.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cluster.building import Module, build, say_aside
from cluster.errors import ClusterError
from cluster.toolchain import Toolchain

HERE = Path(__file__).parent
NAMES = ("kubelet", "kube-proxy")


class OwnProgram(Module):
    """A command whose `main.go` is ours."""

    @property
    def version(self) -> str:
        """What it reports to whoever builds it."""
        return "of this checkout"

    @property
    def flags(self) -> list[str]:
        """What `go build` is told."""
        return ["-trimpath", "-ldflags", "-s -w"]

    def digest(self, go: Toolchain) -> str:
        """Return what the binary depends on."""
        digest = hashlib.sha256("\0".join([*map(str, go.version), *self.flags]).encode())
        for path in sorted(self.directory.glob("*.*")):
            digest.update(path.read_bytes())
        return digest.hexdigest()[:16]


PROBE = OwnProgram(HERE / "probe", "fulcrum.dev/probe", {"probe": "."})
DNS = OwnProgram(HERE / "coredns", "github.com/coredns/coredns", {"coredns": "."})


@dataclass(frozen=True)
class NodeBinaries:
    """The commands that nodes run beside the distribution's."""

    kubelet: Path
    kube_proxy: Path
    coredns: Path
    probe: Path


def node_binaries(minor: str, say: Callable[[str], None] = say_aside) -> NodeBinaries:
    """Return the binaries for nodes of Kubernetes `minor`, built now where they are not cached.

    Raises:
        ClusterError: They cannot be built, or that version has no nodes here.
    """
    directory = HERE / "kubernetes" / minor
    if not directory.is_dir():
        known = ", ".join(sorted(path.name for path in directory.parent.iterdir()))
        message = f"K8S={minor}: nodes are there for {known} only"
        raise ClusterError(message)
    packages = {name: f"k8s.io/kubernetes/cmd/{name}" for name in NAMES}
    built = build(Module(directory, "k8s.io/kubernetes", packages), list(NAMES), say)
    built |= build(DNS, ["coredns"], say) | build(PROBE, ["probe"], say)
    return NodeBinaries(built["kubelet"], built["kube-proxy"], built["coredns"], built["probe"])
