"""Which names and addresses a cluster with nodes has, so that several can run on one machine."""

from __future__ import annotations

import contextlib
import ipaddress
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cluster.cache import exclusive
from cluster.errors import ClusterError
from cluster.processes import has_ended

REGISTRY = Path("/run/fulcrum-nodes")
SLOTS = 16
NODES_PER_SLOT = 8
MACHINES, PODS, SERVICES = "10.186.0.0/16", "10.187.0.0/16", "10.98.0.0/16"


@dataclass(frozen=True)
class Place:
    """Name and addresses of one node on this machine; `index` counts from 0."""

    slot: Slot
    index: int

    @property
    def link(self) -> str:
        """This machine's end of the cable to the node."""
        return f"{self.slot.bridge}n{self.index}"

    @property
    def address(self) -> str:
        """The node's."""
        return str(self.slot.machines[2 + self.index])

    @property
    def pods(self) -> ipaddress.IPv4Network:
        """The range of its pods' addresses."""
        return _part(PODS, self.slot.number * NODES_PER_SLOT + self.index)

    @property
    def cgroup(self) -> str:
        """The parent of all of its pods' control groups."""
        return f"{self.slot.bridge}-{self.index}"


@dataclass(frozen=True)
class Slot:
    """Names and addresses of one cluster."""

    number: int

    @property
    def bridge(self) -> str:
        """The link that this machine and all nodes are on."""
        return f"fulcrum{self.number}"

    @property
    def machines(self) -> ipaddress.IPv4Network:
        """Addresses of this machine, the first one, and of nodes."""
        return _part(MACHINES, self.number)

    @property
    def host(self) -> str:
        """This machine's address, as nodes and pods see it."""
        return str(self.machines[1])

    @property
    def services(self) -> ipaddress.IPv4Network:
        """The range of Services' addresses."""
        return _part(SERVICES, self.number)

    def place(self, index: int) -> Place:
        """Return where the node `index` is."""
        if index >= NODES_PER_SLOT:
            message = f"{index + 1} nodes; there is room for {NODES_PER_SLOT}"
            raise ClusterError(message)
        return Place(self, index)


def claim(directory: Path, owner: str, registry: Path = REGISTRY) -> Slot:
    """Return the first free slot, from now on that of the cluster in `directory` of `owner`.

    The folder must be there already.

    Raises:
        ClusterError: All are taken.
    """
    with exclusive(registry):
        registry.mkdir(parents=True, exist_ok=True)
        for number in range(SLOTS):
            path = registry / f"{number}.json"
            if not path.exists():
                path.write_text(json.dumps({"directory": str(directory), "owner": owner}))
                return Slot(number)
    message = f"{registry}: all {SLOTS} slots are taken; stop a cluster first"
    raise ClusterError(message)


def claimed_by(directory: Path, registry: Path = REGISTRY) -> Slot | None:
    """Return the slot of the cluster in `directory`, if it has one."""
    for path, claimed in _claims(registry):
        if claimed["directory"] == str(directory):
            return Slot(int(path.stem))
    return None


def abandoned(registry: Path = REGISTRY) -> list[Path]:
    """Return the folders of abandoned clusters: their owner or folder is gone."""
    claims = [(Path(claimed["directory"]), claimed["owner"]) for _, claimed in _claims(registry)]
    return [folder for folder, owner in claims if has_ended(owner) or not folder.is_dir()]


def release(slot: Slot, registry: Path = REGISTRY) -> None:
    """Let others have `slot`."""
    (registry / f"{slot.number}.json").unlink(missing_ok=True)


def nodes_directory(directory: Path) -> Path:
    """Return where the nodes of the cluster in `directory` keep everything that is theirs."""
    return directory / "nodes"


def _claims(registry: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    for path in sorted(registry.glob("*.json")):
        with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):  # of another, just now
            yield path, json.loads(path.read_text())


def _part(network: str, number: int) -> ipaddress.IPv4Network:
    """Return the 256 addresses of `network` that are number `number`."""
    whole = ipaddress.IPv4Network(network)
    return ipaddress.IPv4Network((int(whole.network_address) + 256 * number, 24))
