"""The binaries of nodes: kubelet and kube-proxy, our cut of CoreDNS, our probe.

containerd, runc and the CNI plugins are those of the distribution.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cluster.building import NODE, Module, build, minors, modules, say_aside
from cluster.errors import ClusterError
from cluster.toolchain import Toolchain

HERE = Path(__file__).parent


class OwnProgram(Module):
    """A command whose `main.go` is ours."""

    @property
    def version(self) -> str:
        """The version that it reports."""
        return "of this checkout"

    @property
    def flags(self) -> list[str]:
        """Arguments of `go build`."""
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
    """Return the binaries for nodes of Kubernetes `minor`, built now if they are not cached.

    Raises:
        ClusterError: They cannot be built, or that version has no nodes here.
    """
    _, kubernetes = modules(minor)
    if not _has_nodes(kubernetes):
        known = ", ".join(each for each in minors() if _has_nodes(modules(each)[1]))
        message = f"K8S={minor}: nodes are there for {known} only"
        raise ClusterError(message)
    built = build(kubernetes, list(NODE), say)
    built |= build(DNS, ["coredns"], say) | build(PROBE, ["probe"], say)
    return NodeBinaries(built["kubelet"], built["kube-proxy"], built["coredns"], built["probe"])


def _has_nodes(kubernetes: Module) -> bool:
    return all(name in kubernetes.packages for name in NODE)
