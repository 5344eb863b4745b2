"""The control groups that a node's pods are in, one tree for each controller (cgroup v1)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from cluster.errors import ClusterError

from node.slots import Place, Slot

ROOT = Path("/sys/fs/cgroup")
EMPTY_WITHIN_S = 20.0  # killed processes leave their groups when their memory is freed
CPUSET = ("cpuset.cpus", "cpuset.mems")


def make(place: Place) -> None:
    """Make the groups. A cpuset starts without any processor, and lets nothing run: fill it."""
    for controller in ROOT.iterdir():
        if controller.is_dir() and not controller.is_symlink():
            (controller / place.cgroup).mkdir(exist_ok=True)
    for name in CPUSET:
        own = ROOT / "cpuset" / place.cgroup / name
        own.write_text((ROOT / "cpuset" / name).read_text())


def remove(slot: Slot) -> None:
    """Remove all groups of `slot`, whose processes have been killed.

    Raises:
        ClusterError: Some are not empty in time.
    """
    deadline_s = time.monotonic() + EMPTY_WITHIN_S
    while not _removed(slot):
        if time.monotonic() > deadline_s:
            message = f"still in use {EMPTY_WITHIN_S:.0f} s later: {', '.join(groups(slot)[:5])}"
            raise ClusterError(message)
        time.sleep(0.1)


def groups(slot: Slot) -> list[str]:
    """Return the existing groups of `slot`."""
    return sorted(str(path) for tree in _trees(slot) for path in _below(tree))


def _removed(slot: Slot) -> bool:
    for tree in _trees(slot):
        for path in _below(tree):
            try:
                path.rmdir()
            except OSError:
                return False
    return True


def _trees(slot: Slot) -> Iterator[Path]:
    for controller in ROOT.iterdir():
        yield from controller.glob(f"{slot.bridge}-*")


def _below(tree: Path) -> Iterator[Path]:
    """Yield the folders of `tree`, a folder after all that are in it."""
    for folder, _, _ in os.walk(tree, topdown=False):
        yield Path(folder)
