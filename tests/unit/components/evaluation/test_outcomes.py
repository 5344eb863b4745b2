"""Outcomes on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from outcome_makers import classifiers

from fulcrum_components.evaluation import Outcomes, column_of, load_outcomes, save_outcomes
from fulcrum_pipelines.errors import InfrastructureError, UserError


def with_columns() -> Outcomes:
    outcomes = classifiers(50).baseline
    columns = {"user": np.array([f"u{i % 7}" for i in range(50)], dtype=object)}
    return Outcomes(outcomes.outputs, outcomes.targets, {**columns, "outputs": np.arange(50)})


def test_outcomes_come_back_as_they_were(tmp_path: Path) -> None:
    outcomes = with_columns()
    save_outcomes(outcomes, tmp_path / "outcomes.npz")
    found = load_outcomes(tmp_path / "outcomes.npz")
    assert found.outputs.dtype == np.float32
    assert np.array_equal(found.outputs, outcomes.outputs)
    assert np.array_equal(found.targets, outcomes.targets)
    assert found.columns["user"].tolist() == outcomes.columns["user"].tolist()
    assert found.columns["outputs"].tolist() == list(range(50))


def test_equal_outcomes_are_equal_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_outcomes(with_columns(), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_damaged_file_is_not_the_users_fault(tmp_path: Path) -> None:
    path = tmp_path / "outcomes.npz"
    save_outcomes(with_columns(), path)
    whole = path.read_bytes()
    np.savez(tmp_path / "pickled.npz", outputs=np.array([{}]), targets=np.zeros(1))
    np.savez(tmp_path / "other.npz", something=np.zeros(1))
    for name, content in (("empty", b""), ("cut", whole[: len(whole) // 2]), ("text", b"text")):
        (tmp_path / f"{name}.npz").write_bytes(content)
    for name in ("empty", "cut", "text", "pickled", "other", "absent"):
        with pytest.raises(InfrastructureError, match="not a file of outcomes, or is damaged"):
            load_outcomes(tmp_path / f"{name}.npz")


def test_an_absent_column_is_named_with_those_there_are() -> None:
    with pytest.raises(UserError, match=r"no column 'session' \(known: outputs, user\)"):
        column_of(with_columns(), "session", where="spec.data.groupBy")
