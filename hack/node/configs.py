"""Configuration of the programs of a node, with reasons."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.certificates import Pair

from node.archives import PROBE_IMAGE
from node.commands import CNI_PLUGINS
from node.dns import DOMAIN
from node.slots import PODS, Place

KUBELET_PORT = 10250
CONTAINERD = """\
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{sandbox}"
  # Machines that are virtual themselves may not be allowed to lower a process's OOM score.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{networks}"
"""


@dataclass(frozen=True)
class NodeFiles:
    """The files of a node."""

    directory: Path

    @property
    def own(self) -> Path:
        """Its `/run`, `/var/lib`, `/var/log` and kernel settings."""
        return self.directory / "own"

    @property
    def containerd(self) -> Path:
        """Configuration of containerd."""
        return self.directory / "containerd.toml"

    @property
    def networks(self) -> Path:
        """Configuration of pods' networks."""
        return self.directory / "cni"

    @property
    def kubelet(self) -> Path:
        """Configuration of the kubelet."""
        return self.directory / "kubelet.json"

    @property
    def proxy(self) -> Path:
        """Configuration of kube-proxy."""
        return self.directory / "kube-proxy.json"

    @property
    def resolver(self) -> Path:
        """The empty resolver configuration of pods that do not use the cluster's names."""
        return self.directory / "resolv.conf"


def write(
    files: NodeFiles, place: Place, authority: Path, serving: Pair, proxy_kubeconfig: Path
) -> None:
    """Write all of them."""
    files.networks.mkdir(parents=True, exist_ok=True)
    files.resolver.write_text("options ndots:1\n")
    files.containerd.write_text(
        CONTAINERD.format(sandbox=PROBE_IMAGE, plugins=CNI_PLUGINS, networks=files.networks)
    )
    network = files.networks / "10-bridge.conflist"
    network.write_text(json.dumps(_network(place)))
    files.kubelet.write_text(json.dumps(_kubelet(files, place, authority, serving)))
    files.proxy.write_text(json.dumps(_proxy(place, proxy_kubeconfig)))


def _network(place: Place) -> dict[str, Any]:
    addresses = {"type": "host-local", "ranges": [[{"subnet": str(place.pods)}]]}
    bridge = {"type": "bridge", "bridge": "pods", "isDefaultGateway": True, "hairpinMode": True}
    return {"cniVersion": "1.0.0", "name": "pods", "plugins": [{**bridge, "ipam": addresses}]}


def _kubelet(files: NodeFiles, place: Place, authority: Path, serving: Pair) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": place.address,
        "port": KUBELET_PORT,
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{place.cgroup}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,  # as for containerd's restrict_oom_score_adj
        "resolvConf": str(files.resolver),
        "clusterDomain": DOMAIN,
        "clusterDNS": [place.slot.host],
        "tlsCertFile": str(serving.certificate),
        "tlsPrivateKeyFile": str(serving.key),
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(authority)},
        },
        "authorization": {"mode": "Webhook"},
        # Images are imported by hand and could not be pulled again: none is ever collected, and
        # free disk and memory are absolute figures, since other programs use them too.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"memory.available": "200Mi", "nodefs.available": "1Gi"},
    }


def _proxy(place: Place, kubeconfig: Path) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clusterCIDR": PODS,
        "bindAddress": place.address,
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "oomScoreAdj": 0,
        # Limits of connection tracking are the whole machine's.
        "conntrack": {"maxPerCore": 0, "min": 0},
    }
