"""The one cluster with nodes of a checkout, for trying things out, in `.fulcrum/real-cluster`."""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from cluster.building import binaries, chosen_minor
from cluster.cache import exclusive
from cluster.errors import ClusterError
from cluster.installing import ROOT
from cluster.processes import Processes

from node.building import node_binaries
from node.commands import missing
from node.real_cluster import GPU_A, PLAIN, SPECS, Build, RealCluster, clear, launch
from node.slots import claimed_by

DIRECTORY = ROOT / ".fulcrum" / "real-cluster"
IMAGES = ROOT / ".fulcrum" / "images"
PLACES = {"operator": PLAIN, "components": GPU_A}
"""Node of each image built here; the second takes 6 GB and minutes on each node."""


def build() -> Build:
    """Return all binaries, built now if they are not cached."""
    minor = chosen_minor()
    return Build(binaries(minor), node_binaries(minor))


def up(directory: Path = DIRECTORY) -> None:
    """Restart the cluster, import the built images, and print how to use it.

    Raises:
        ClusterError: This machine cannot have nodes.
    """
    lacking = missing()
    if lacking:
        message = f"nodes need {', '.join(lacking)}"
        raise ClusterError(message)
    built = build()
    with exclusive(directory):
        _forget(directory)
        started_s = time.monotonic()
        cluster = launch(directory, built)
        print(f"# the nodes were ready in {time.monotonic() - started_s:.1f} s")
        for name, node in PLACES.items():
            if (archive := IMAGES / f"{name}.tar").exists():
                cluster.import_image(archive, [node.name])
    print(f"export KUBECONFIG={shlex.quote(str(cluster.plane.admin_kubeconfig))}")
    print(f"export PATH={shlex.quote(str(built.plane.kubectl.parent))}:$PATH")


def down(directory: Path = DIRECTORY) -> None:
    """Stop all that `up` started, also if it did not come to its end, and forget the data."""
    with exclusive(directory):
        _forget(directory)


def status(directory: Path = DIRECTORY) -> bool:
    """Print the programs that run; return whether all that were started run."""
    processes = Processes(directory)
    found = {name: processes.running(name) for name in processes.names()}
    for name, process in found.items():
        print(f"{name:<25} {f'pid {process.pid}' if process else 'not running'}")
    return bool(found) and all(found.values())


def import_images(archives: Sequence[str], directory: Path = DIRECTORY) -> None:
    """Give images to all nodes of the running cluster.

    Raises:
        ClusterError: There is no cluster, or no such archive.
    """
    slot = claimed_by(directory)
    if slot is None:
        message = "start the cluster first: python -m node up"
        raise ClusterError(message)
    cluster = RealCluster(directory, slot, build(), SPECS)
    for archive in archives:
        cluster.import_image(Path(archive))


def _forget(directory: Path) -> None:
    clear(directory)
    shutil.rmtree(directory, ignore_errors=True)
