"""Promotions by components of Kubeflow pipelines at the same time, to a channel in a bucket."""

from __future__ import annotations

from pathlib import Path

from promotions import channel_of, digests, promote_at_once
from stored_runs import make_validated

from fulcrum_pipelines.storage.store import Store


def test_promotions_at_once_are_all_in_the_history(store: Store, tmp_path: Path) -> None:
    made = [[make_validated(tmp_path, f"{row}-{each}") for each in range(2)] for row in range(3)]
    promote_at_once(store.url, made)
    expected = {each.digest for row in made for each in row}
    found = digests(channel_of(store))
    assert len(found) == len(expected)
    assert set(found) == expected
