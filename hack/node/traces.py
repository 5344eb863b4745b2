"""Find traces of a cluster's nodes on this machine, so that a test can check their removal."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

import psutil
from cluster.processes import Processes

from node import cgroups, network
from node.real_cluster import RealCluster
from node.slots import REGISTRY, Slot, nodes_directory

NAMESPACES = ("mnt", "net", "pid")


def identities(cluster: RealCluster) -> set[str]:
    """Return the processes on the nodes, and the namespaces that they are in but we are not."""
    processes = {process for node in cluster.nodes.values() for process in node.processes()}
    return _identities(processes) - _identities({psutil.Process()})


def remaining(found: set[str], started_before_s: float = math.inf) -> set[str]:
    """Return those of `found`, a result of `identities`, that still exist.

    The kernel reuses a namespace's number: a namespace without a process from before the end of
    the nodes is a new one.
    """
    return found & _identities({p for p in psutil.process_iter() if _start(p) < started_before_s})


def on_this_machine(slot: Slot, directory: Path) -> dict[str, list[str]]:
    """Return what there is of `slot` outside of its nodes, by kind."""
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    claim = REGISTRY / f"{slot.number}.json"
    return {
        "programs": [name for name in Processes(directory).names() if _runs(directory, name)],
        "links": network.links(slot),
        "control groups": cgroups.groups(slot),
        "folders": [str(path) for path in (nodes_directory(directory), claim) if path.exists()],
        "mounts": [line for line in mounts if str(directory) in line or slot.bridge in line],
    }


def _runs(directory: Path, name: str) -> bool:
    return Processes(directory).running(name) is not None


def _start(process: psutil.Process) -> float:
    try:
        return float(process.create_time())
    except psutil.Error:  # it has ended
        return math.inf


def _identities(processes: set[psutil.Process]) -> set[str]:
    found = set()
    for process in processes:
        with contextlib.suppress(OSError, psutil.Error):  # it has ended
            found.add(f"process {process.pid} of {process.create_time()}")
            for kind in NAMESPACES:
                found.add(str(Path(f"/proc/{process.pid}/ns/{kind}").readlink()))
    return found
