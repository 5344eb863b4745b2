"""Clusters on one machine get different names and addresses, and give them back."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from cluster.errors import ClusterError
from cluster.processes import this_process
from node.slots import NODES_PER_SLOT, SLOTS, Slot, abandoned, claim, claimed_by, release

ENDED = "1:1.0"  # a process number that is another process's by now


def test_first_free_slot_is_given_and_given_back(tmp_path: Path) -> None:
    registry = tmp_path / "registry"
    first, second = (claim(tmp_path / name, "", registry) for name in ("a", "b"))
    assert (first.number, second.number) == (0, 1)
    assert claimed_by(tmp_path / "b", registry) == second
    release(first, registry)
    assert claimed_by(tmp_path / "a", registry) is None
    assert claim(tmp_path / "c", "", registry) == first


def test_cluster_is_abandoned_without_its_owner_or_its_folder(tmp_path: Path) -> None:
    registry = tmp_path / "registry"
    for name, owner in (("unowned", ""), ("this", this_process()), ("ended", ENDED)):
        (tmp_path / name).mkdir()
        claim(tmp_path / name, owner, registry)
    claim(tmp_path / "removed", "", registry)
    assert abandoned(registry) == [tmp_path / "ended", tmp_path / "removed"]


def test_more_clusters_than_slots_are_refused(tmp_path: Path) -> None:
    registry = tmp_path / "registry"
    for number in range(SLOTS):
        claim(tmp_path / str(number), "", registry)
    with pytest.raises(ClusterError, match=f"all {SLOTS} slots are taken"):
        claim(tmp_path / "one-more", "", registry)


def test_more_nodes_than_addresses_are_refused() -> None:
    with pytest.raises(ClusterError, match="9 nodes; there is room for 8"):
        Slot(0).place(NODES_PER_SLOT)


def test_no_two_nodes_share_a_name_or_an_address() -> None:
    slots = [Slot(number) for number in range(SLOTS)]
    places = [slot.place(index) for slot in slots for index in range(NODES_PER_SLOT)]
    for names in (
        [place.address for place in places] + [slot.host for slot in slots],
        [place.link for place in places] + [slot.bridge for slot in slots],
        [place.cgroup for place in places],
    ):
        assert len(set(names)) == len(names)
    networks = [network for slot in slots for network in (slot.machines, slot.services)]
    networks += [place.pods for place in places]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(networks, 2))
    assert max(len(place.link) for place in places) <= 15  # the kernel's limit
