"""Misbehaving code of users: the job reports it once, and nothing is retried."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from installation import JOB_S, Installation


@dataclass(frozen=True)
class Row:
    """A bundle, what becomes of a job with it, and what the user reads."""

    bundle: str
    failure_class: str
    words: str
    spec: dict[str, Any] = field(default_factory=dict)


ROWS = (
    Row("raises", "user", "a bundle that is wrong on purpose"),
    Row("hangs", "deadline", "evaluate", {"stageDeadlineSeconds": {"evaluate": 20}}),
    Row("exits", "user", "evaluate"),
    Row("forges", "user", "evidence that cannot be read"),
)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.bundle)
def test_bundle_that_misbehaves(fulcrum: Installation, name: str, row: Row) -> None:
    fulcrum.apply(name, model={"uri": f"{row.bundle}/model"}, backoffLimit=3, **row.spec)
    status = fulcrum.jobs.ended(name, JOB_S)
    assert (status["phase"], status["attempt"]) == ("Failed", 1), status
    assert status["failures"] == {row.failure_class: 1}
    assert row.words in status["message"]
    assert "verdict" not in status
