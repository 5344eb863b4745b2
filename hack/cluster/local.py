"""The one cluster of a checkout, for trying Fulcrum out: its state is under `.fulcrum/cluster`."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from cluster.building import Binaries, binaries, chosen_minor
from cluster.cache import exclusive
from cluster.control_plane import ControlPlane, stop_all
from cluster.errors import ClusterError
from cluster.installing import ROOT, install
from cluster.operating import start_operator
from cluster.processes import Processes
from cluster.programs import NAMES

DIRECTORY = ROOT / ".fulcrum" / "cluster"
AFTER_START: tuple[Callable[[ControlPlane], None], ...] = (install, start_operator)


def up(directory: Path = DIRECTORY) -> None:
    """Build and start the cluster, or bring a running one up to date; say how to use it."""
    with exclusive(directory):
        cluster = ControlPlane(directory, binaries(chosen_minor()))
        _start(cluster)
        for step in AFTER_START:
            step(cluster)
    print(f"export KUBECONFIG={shlex.quote(str(cluster.admin_kubeconfig))}")
    print(f"export PATH={shlex.quote(str(_commands(directory)))}:$PATH")


def down(directory: Path = DIRECTORY) -> None:
    """Stop all that `up` started, also if it did not come to its end, and forget the data."""
    with exclusive(directory):
        _down(directory)


def user(name: str, directory: Path = DIRECTORY) -> None:
    """Make credentials of a user without any rights but those that RBAC gives; say how to use them.

    Raises:
        ClusterError: There is no cluster, or no name.
    """
    cluster = ControlPlane(directory, binaries(chosen_minor()))
    if not name or not (directory / "pki").is_dir():
        message = "start the cluster first: make cluster" if name else "name the user: NAME=ann"
        raise ClusterError(message)
    print(f"export KUBECONFIG={shlex.quote(str(cluster.kubeconfig_for(name)))}")


def status(directory: Path = DIRECTORY) -> bool:
    """Print the programs that run; return whether all run."""
    processes = Processes(directory)
    for name in dict.fromkeys((*NAMES, *processes.names())):
        process = processes.running(name)
        size = f"pid {process.pid}, {process.memory_info().rss / 2**20:.0f} MiB" if process else ""
        print(f"{name:<25} {size or 'not running'}")
    return all(processes.running(name) for name in NAMES)


def _start(cluster: ControlPlane) -> None:
    kubectl = _commands(cluster.directory) / "kubectl"
    if kubectl.exists() and cluster.is_ready():
        _refuse_other_version(kubectl, cluster.binaries)
        return
    _down(cluster.directory)
    started_s = time.monotonic()
    cluster.start()
    kubectl.parent.mkdir()
    kubectl.symlink_to(cluster.binaries.kubectl)
    kubectl.with_name("fulcrum").symlink_to(Path(sys.executable).with_name("fulcrum"))
    print(f"# the control plane started in {time.monotonic() - started_s:.1f} s")


def _refuse_other_version(kubectl: Path, wanted: Binaries) -> None:
    if kubectl.resolve() != wanted.kubectl.resolve():
        message = "another version of the cluster runs; stop it first: make cluster-down"
        raise ClusterError(message)


def _down(directory: Path) -> None:
    stop_all(Processes(directory))
    shutil.rmtree(directory, ignore_errors=True)


def _commands(directory: Path) -> Path:
    """Return the folder with what a user of the cluster calls."""
    return directory / "bin"
