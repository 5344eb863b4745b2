"""Promotions to a channel that is a file: none is lost, and none replaces what it did not see."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from builders.plans import make_digest
from promotions import CHANNEL, channel_of, digests, promote_all, promote_at_once
from stored_runs import Validated, make_validated

from fulcrum_pipelines import composed
from fulcrum_pipelines.composed import ChannelFile, promote
from fulcrum_pipelines.errors import InfrastructureError, UserError
from fulcrum_pipelines.storage.store import Store

OFTEN = 20
"""More promotions than a team has going to one channel at a time."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def promoted(made: Validated, url: str) -> ChannelFile:
    return promote(CHANNEL, str(made.candidate), str(made.evidence), url, lambda: datetime.now(UTC))


@pytest.fixture
def before_writing(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], object]]:
    """Actions that run, one per promotion, after it reads the channel and before it writes."""
    waiting: list[Callable[[], object]] = []
    replace = Store.replace

    def late(store: Store, path: str, data: bytes, expected: bytes | None) -> bool:
        if waiting:
            waiting.pop(0)()
        return replace(store, path, data, expected)

    monkeypatch.setattr(Store, "replace", late)
    return waiting


def test_promotions_at_once_are_all_in_the_history(store: Store, tmp_path: Path) -> None:
    made = [[make_validated(tmp_path, f"{row}-{each}") for each in range(4)] for row in range(3)]
    promote_at_once(store.url, made)
    expected = {each.digest for row in made for each in row}
    found = digests(channel_of(store))
    assert len(found) == len(expected)
    assert set(found) == expected


def test_promotion_that_was_overtaken_is_decided_again(
    store: Store, tmp_path: Path, before_writing: list[Callable[[], object]]
) -> None:
    first, second, third = (make_validated(tmp_path, name) for name in ("a", "b", "c"))
    before_writing.append(lambda: promoted(second, store.url))
    before_writing.append(lambda: promoted(third, store.url))
    moved = promoted(first, store.url)
    assert digests(moved) == [first.digest, second.digest, third.digest]
    assert channel_of(store) == moved


def test_candidate_whose_baseline_was_just_replaced_is_refused(
    store: Store, tmp_path: Path, before_writing: list[Callable[[], object]]
) -> None:
    old = make_validated(tmp_path, "old")
    promoted(old, store.url)
    first, second = (make_validated(tmp_path, name, baseline=old.digest) for name in ("a", "b"))
    before_writing.append(lambda: promoted(second, store.url))
    with pytest.raises(UserError) as raised:
        promoted(first, store.url)
    message = f"channel digits: holds {second.digest}, but the candidate was compared with"
    assert str(raised.value).startswith(f"{message} {old.digest}; validate it against")
    assert digests(channel_of(store)) == [second.digest, old.digest]


def test_promotion_that_is_overtaken_often_moves_the_channel(
    store: Store, tmp_path: Path, before_writing: list[Callable[[], object]]
) -> None:
    others = [make_validated(tmp_path, str(number)) for number in range(OFTEN)]
    last = make_validated(tmp_path, "last")

    def overtake() -> None:
        promoted(others.pop(), store.url)
        if others:
            before_writing.append(overtake)

    before_writing.append(overtake)
    assert digests(promoted(last, store.url))[0] == last.digest
    assert not others


def test_promotion_that_is_always_overtaken_ends(
    store: Store,
    tmp_path: Path,
    before_writing: list[Callable[[], object]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(composed, "ATTEMPTS", 3)
    others = [make_validated(tmp_path, str(number)) for number in range(3)]
    last = make_validated(tmp_path, "last")
    rounds = [lambda each=each: promoted(each, store.url) for each in others]

    def overtake() -> None:
        rounds.pop(0)()
        if rounds:
            before_writing.append(overtake)

    before_writing.append(overtake)
    with pytest.raises(InfrastructureError, match="digits: other promotions moved it 3 times"):
        promoted(last, store.url)
    assert last.digest not in digests(channel_of(store))


def test_store_that_cannot_keep_two_promotions_apart_is_refused(tmp_path: Path) -> None:
    store = Store(f"memory://{tmp_path.name}/store")
    with pytest.raises(InfrastructureError, match=r"use a directory or s3://"):
        promoted(make_validated(tmp_path, "a"), store.url)
    assert store.read(f"channels/{CHANNEL}.json") is None


def test_damaged_channel_is_not_replaced(store: Store, tmp_path: Path) -> None:
    store.write(f"channels/{CHANNEL}.json", b"{}")
    made = make_validated(tmp_path, "a")
    with pytest.raises(InfrastructureError, match="not valid evidence: current"):
        promoted(made, store.url)
    assert store.read(f"channels/{CHANNEL}.json") == b"{}"


def test_baseline_that_the_channel_holds_is_replaced(store: Store, tmp_path: Path) -> None:
    old = make_validated(tmp_path, "old")
    promote_all(store.url, str(old.candidate), str(old.evidence))
    new = make_validated(tmp_path, "new", baseline=old.digest)
    assert digests(promoted(new, store.url)) == [new.digest, old.digest]
    other = make_validated(tmp_path, "other", baseline=make_digest("another"))
    with pytest.raises(UserError, match="but the candidate was compared with"):
        promoted(other, store.url)
