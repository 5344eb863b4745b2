"""What the store says of a run that is over; what it does not say is not made up."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders.plans import make_plan

from fulcrum_operator.results import ended_status
from fulcrum_pipelines.errors import InfrastructureError
from fulcrum_pipelines.store import Store

PLAN = make_plan()


def test_store_that_does_not_answer_is_no_failure_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path))

    def refuse(path: str) -> bytes:
        raise InfrastructureError(f"cannot read {path}: connection refused", where=store.url)

    monkeypatch.setattr(store, "read", refuse)
    with pytest.raises(InfrastructureError, match="connection refused"):
        ended_status(store, PLAN, "sha256:x", cancelled=False)


def test_evidence_that_is_garbage_is_a_failure(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.write(f"runs/{PLAN.run}/evidence.json", b"{")
    status = ended_status(store, PLAN, "sha256:x", cancelled=False)
    assert (status.state, status.reason) == ("Failed", "EvidenceUnreadable")
