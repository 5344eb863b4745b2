"""The cables: a bridge on this machine, and a link from it into each node.

Nodes reach each other over the bridge, so this machine forwards nothing; it has routes to pods and
Services, because the API server calls webhooks and tests look at pods.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cluster.errors import ClusterError

from node.commands import run
from node.slots import Place, Slot

LINKS = Path("/sys/class/net")
INSIDE = "eth0"


def lay(slot: Slot) -> None:
    """Make the bridge, with this machine's address."""
    remove(slot)
    run(["ip", "link", "add", slot.bridge, "type", "bridge"])
    run(["ip", "address", "add", f"{slot.host}/{slot.machines.prefixlen}", "dev", slot.bridge])
    run(["ip", "link", "set", slot.bridge, "up"])


def connect(place: Place, first_process: int) -> None:
    """Put the node whose first process is given on the bridge."""
    bridge, prefix = place.slot.bridge, place.slot.machines.prefixlen
    into = ["peer", "name", INSIDE, "netns", str(first_process)]
    run(["ip", "link", "add", place.link, "type", "veth", *into])
    run(["ip", "link", "set", place.link, "master", bridge, "up"])
    inside = ["nsenter", f"--target={first_process}", "--net", "ip"]
    run([*inside, "address", "add", f"{place.address}/{prefix}", "dev", INSIDE])
    run([*inside, "link", "set", INSIDE, "up"])
    run([*inside, "link", "set", "lo", "up"])


def route(places: Sequence[Place], first_processes: Sequence[int]) -> None:
    """Set the routes to other nodes' pods on this machine and on each node."""
    slot = places[0].slot
    run(["ip", "route", "add", str(slot.services), "via", places[0].address])
    for place in places:
        run(["ip", "route", "add", str(place.pods), "via", place.address])
    for own, first_process in zip(places, first_processes, strict=True):
        inside = ["nsenter", f"--target={first_process}", "--net", "ip"]
        for other in places:
            if other != own:
                run([*inside, "route", "add", str(other.pods), "via", other.address])


def remove(slot: Slot) -> None:
    """Take everything away that is there; routes go with the bridge.

    A cable also goes with the node at its other end, which the kernel may be taking back just now.
    """
    for link in links(slot):
        try:
            run(["ip", "link", "delete", link])
        except ClusterError:
            if link in links(slot):
                raise


def links(slot: Slot) -> list[str]:
    """Return the links of `slot` that this machine has."""
    found = (path.name for path in LINKS.glob(f"{slot.bridge}*"))
    return sorted(name for name in found if name.removeprefix(slot.bridge)[:1] in ("", "n"))
