"""The command lines of a control plane, with the reason for each option."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cluster.building import Binaries
from cluster.certificates import Pair

ETCD, APISERVER = "etcd", "kube-apiserver"
CONTROLLER_MANAGER, SCHEDULER = "kube-controller-manager", "kube-scheduler"
NAMES = (ETCD, APISERVER, CONTROLLER_MANAGER, SCHEDULER)
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Ports:
    """The ports of each program on the loopback interface."""

    etcd: int
    etcd_peer: int
    apiserver: int
    controller_manager: int
    scheduler: int


@dataclass(frozen=True)
class Reach:
    """Clients that reach the API server: by default only programs of this machine.

    With nodes it listens on an address that they have a route to, publishes it to pods as
    that of the service `kubernetes`, and calls their kubelets.
    """

    address: str = HOST
    services: str = "10.98.0.0/24"
    """The range that Services get their addresses from."""

    @property
    def has_nodes(self) -> bool:
        """Whether clients outside of this machine must reach it."""
        return self.address != HOST

    @property
    def addresses(self) -> tuple[str, str]:
        """Addresses of the API server besides the loopback address."""
        return self.address, str(ipaddress.ip_network(self.services)[1])


@dataclass(frozen=True)
class Files:
    """The files of a control plane."""

    directory: Path

    @property
    def pki(self) -> Path:
        """Certificates and keys."""
        return self.directory / "pki"

    @property
    def ports(self) -> Path:
        """The ports that are in use."""
        return self.directory / "ports.json"

    @property
    def etcd_data(self) -> Path:
        """Everything that the cluster stores."""
        return self.directory / "etcd"

    def kubeconfig(self, name: str) -> Path:
        """Credentials of `name`."""
        return self.directory / "kubeconfigs" / f"{name}.yaml"

    def pair(self, name: str) -> Pair:
        """A certificate and its key."""
        return Pair.at(self.pki, name)


@dataclass(frozen=True)
class Program:
    """A command, and what its environment has beside the common variables."""

    command: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)


def programs(
    binaries: Binaries, files: Files, ports: Ports, reach: Reach | None = None
) -> dict[str, Program]:
    """Return the four programs by name."""
    return {
        ETCD: _etcd(binaries.etcd, files, ports),
        APISERVER: _apiserver(binaries.apiserver, files, ports, reach or Reach()),
        CONTROLLER_MANAGER: _controller_manager(binaries.controller_manager, files, ports),
        SCHEDULER: _client(binaries.scheduler, files, SCHEDULER, ports.scheduler),
    }


def _etcd(binary: Path, files: Files, ports: Ports) -> Program:
    """Give etcd a separate authority: a certificate for the API must not open its database."""
    client, peer = f"https://{HOST}:{ports.etcd}", f"https://{HOST}:{ports.etcd_peer}"
    pair, authority = files.pair("etcd"), files.pair("etcd-ca").certificate
    command = [str(binary), "--name=only", f"--data-dir={files.etcd_data}", "--log-level=warn"]
    command += [f"--listen-client-urls={client}", f"--advertise-client-urls={client}"]
    command += [f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"]
    command += [f"--initial-cluster=only={peer}"]
    for prefix in ("", "peer-"):
        command += [f"--{prefix}cert-file={pair.certificate}", f"--{prefix}key-file={pair.key}"]
        command += [f"--{prefix}client-cert-auth", f"--{prefix}trusted-ca-file={authority}"]
    # The data may be lost with the machine; waiting for the disk would be most of a write's time.
    return Program([*command, "--unsafe-no-fsync"])


def _apiserver(binary: Path, files: Files, ports: Ports, reach: Reach) -> Program:
    etcd = files.pair("etcd")
    command = [str(binary), f"--etcd-servers=https://{HOST}:{ports.etcd}"]
    command += [f"--etcd-cafile={files.pair('etcd-ca').certificate}"]
    command += [f"--etcd-certfile={etcd.certificate}", f"--etcd-keyfile={etcd.key}"]
    command += _serving(files, ports.apiserver, reach.address)
    command += _towards_nodes(files) if reach.has_nodes else ["--endpoint-reconciler-type=none"]
    command += [f"--advertise-address={reach.address}"]
    command += [f"--client-ca-file={files.pair('ca').certificate}"]
    command += ["--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction"]
    command += ["--service-account-issuer=https://kubernetes.default.svc"]
    command += [f"--service-account-key-file={files.pki / 'tokens.pub'}"]
    command += [f"--service-account-signing-key-file={files.pki / 'tokens.key'}"]
    command += [f"--service-cluster-ip-range={reach.services}"]
    # Measured on Kubernetes 1.37: with these it stays below 300 MB. With thousands of objects it
    # needs more, or it does little but collect garbage; Go's own variables give it more.
    memory = {"GOMEMLIMIT": "600MiB", "GOGC": "60"}
    return Program(command, {name: os.environ.get(name, value) for name, value in memory.items()})


def _towards_nodes(files: Files) -> list[str]:
    """Return what logs and exec need; without nodes, no address is published to pods either."""
    pair = files.pair("kubelet-client")
    flags = [f"--kubelet-client-certificate={pair.certificate}", f"--kubelet-client-key={pair.key}"]
    flags += [f"--kubelet-certificate-authority={files.pair('ca').certificate}"]
    return [*flags, "--kubelet-preferred-address-types=InternalIP"]


def _controller_manager(binary: Path, files: Files, ports: Ports) -> Program:
    authority = files.pair("ca")
    program = _client(binary, files, CONTROLLER_MANAGER, ports.controller_manager)
    command = [*program.command, "--use-service-account-credentials=true"]
    command += [f"--service-account-private-key-file={files.pki / 'tokens.key'}"]
    command += [f"--root-ca-file={authority.certificate}"]
    command += [f"--cluster-signing-cert-file={authority.certificate}"]
    return Program([*command, f"--cluster-signing-key-file={authority.key}"])


def _client(binary: Path, files: Files, name: str, port: int) -> Program:
    """Return a program that works through the API; alone, it need not elect a leader."""
    kubeconfig = files.kubeconfig(name)
    command = [str(binary), "--leader-elect=false", *_serving(files, port)]
    for prefix in ("", "authentication-", "authorization-"):
        command.append(f"--{prefix}kubeconfig={kubeconfig}")
    return Program(command)


def _serving(files: Files, port: int, address: str = HOST) -> list[str]:
    pair = files.pair("serving")
    flags = [f"--bind-address={address}", f"--secure-port={port}"]
    return [*flags, f"--tls-cert-file={pair.certificate}", f"--tls-private-key-file={pair.key}"]
