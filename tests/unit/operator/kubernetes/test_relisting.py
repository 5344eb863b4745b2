"""Report objects that a new list no longer has as deleted."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from fulcrum_operator.kubernetes.object_cache import Body
from fulcrum_operator.kubernetes.relisting import Relisting

EVERYWHERE = "/apis/fulcrum.dev/v1alpha1/compressionjobs"
IN_A = "/apis/fulcrum.dev/v1alpha1/namespaces/a/compressionjobs"


def an_object(name: str, owner: str = "") -> dict[str, Any]:
    """Return an object whose uid is its name in capitals."""
    metadata: dict[str, Any] = {"name": name, "namespace": "a", "uid": name.upper()}
    if owner:
        metadata["ownerReferences"] = [{"uid": owner.upper()}]
    return {"metadata": metadata}


def page(*objects: dict[str, Any], indent: int | None = None) -> bytes:
    return json.dumps({"items": objects}, indent=indent).encode()


@dataclass(frozen=True)
class Relist:
    name: str
    pages: tuple[bytes, ...]
    vanished: tuple[str, ...]


RELISTS = (
    Relist("all are there", (page(an_object("x"), an_object("y")),), ()),
    Relist("all are there, on two pages", (page(an_object("x")), page(an_object("y"))), ()),
    Relist("all are there, written wide", (page(an_object("x"), an_object("y"), indent=2),), ()),
    Relist("one is no more", (page(an_object("x")),), ("y",)),
    Relist("none is left", (page(),), ("x", "y")),
    Relist("owner of another is not missed", (page(an_object("x", owner="y")),), ()),
)


@pytest.mark.parametrize("case", RELISTS, ids=lambda case: case.name)
def test_list(case: Relist) -> None:
    gone: list[tuple[str, str]] = []
    known: list[Body] = [an_object("x"), an_object("y")]
    relisting = Relisting(
        lambda plural, namespace: known,
        lambda plural, body: gone.append((plural, body["metadata"]["name"])),
    )
    relisting.list_begins(EVERYWHERE)
    known.append(an_object("young"))
    for each in case.pages:
        relisting.page_came(EVERYWHERE, each)
    assert gone == []
    relisting.watch_begins(EVERYWHERE)
    assert gone == [("compressionjobs", name) for name in case.vanished]


def test_watch_that_only_goes_on_says_nothing_of_deletions() -> None:
    gone: list[Body] = []
    relisting = Relisting(lambda *_: [an_object("x")], lambda _, body: gone.append(body))
    relisting.watch_begins(EVERYWHERE)
    relisting.list_begins(EVERYWHERE)
    relisting.page_came(EVERYWHERE, page(an_object("x")))
    relisting.watch_begins(EVERYWHERE)
    relisting.watch_begins(EVERYWHERE)
    assert gone == []


def test_list_that_broke_off_counts_for_nothing() -> None:
    gone: list[Body] = []
    relisting = Relisting(lambda *_: [an_object("x")], lambda _, body: gone.append(body))
    relisting.list_begins(EVERYWHERE)
    relisting.list_begins(EVERYWHERE)
    relisting.page_came(EVERYWHERE, page(an_object("x")))
    relisting.watch_begins(EVERYWHERE)
    assert gone == []


def test_only_the_namespace_that_is_listed_is_compared() -> None:
    asked: list[tuple[str, str]] = []

    def known(plural: str, namespace: str) -> list[Body]:
        asked.append((plural, namespace))
        return []

    relisting = Relisting(known, lambda *_: None)
    relisting.list_begins(EVERYWHERE)
    relisting.list_begins(IN_A)
    assert asked == [("compressionjobs", ""), ("compressionjobs", "a")]
