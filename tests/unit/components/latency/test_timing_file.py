"""Timings on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fulcrum_components.latency import load_timings, save_timings
from fulcrum_components.latency.interleaving import Interleaved, Timings
from fulcrum_pipelines.errors import InfrastructureError


def made_up(seed: int) -> Interleaved:
    """Return timings of 5 sessions, some of more than the 4.3 seconds that 32 bits hold."""
    generator = np.random.default_rng(seed)
    first, second = generator.integers(1, 10**10, (2, 5, 40))
    return Interleaved(
        Timings(first, second), Timings(first[:, :20], second[:, 20:]), generator.random()
    )


def test_timings_come_back_exactly(tmp_path: Path) -> None:
    written = {32: made_up(1), 1: made_up(2)}
    save_timings(written, tmp_path / "timings.npz")
    found = load_timings(tmp_path / "timings.npz")
    assert list(found) == [32, 1]
    for batch, timings in written.items():
        assert found[batch].cpu_share == timings.cpu_share
        for which in ("models", "itself"):
            for side in ("first", "second"):
                there, back = (
                    getattr(getattr(each, which), side) for each in (timings, found[batch])
                )
                assert back.dtype == np.int64
                assert np.array_equal(there, back)


def test_equal_timings_are_equal_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_timings({1: made_up(1)}, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_damaged_file_is_not_the_users_fault(tmp_path: Path) -> None:
    path = tmp_path / "timings.npz"
    save_timings({1: made_up(1)}, path)
    whole = path.read_bytes()
    np.savez(tmp_path / "pickled.npz", **{"batch1/baseline_ns": np.array([{}])})
    np.savez(tmp_path / "incomplete.npz", **{"batch1/baseline_ns": np.zeros((5, 4))})
    np.savez(tmp_path / "other.npz", outputs=np.zeros(1))
    for name, content in (("empty", b""), ("cut", whole[: len(whole) // 2]), ("text", b"text")):
        (tmp_path / f"{name}.npz").write_bytes(content)
    for name in ("empty", "cut", "text", "pickled", "incomplete", "other", "absent"):
        with pytest.raises(InfrastructureError, match="not a file of timings, or is damaged"):
            load_timings(tmp_path / f"{name}.npz")
