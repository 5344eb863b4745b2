"""Read the results of a finished run from the store, and invent nothing that is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders.plans import make_plan

from fulcrum_pipelines.errors import InfrastructureError
from fulcrum_pipelines.runner.results import ended_status
from fulcrum_pipelines.states import StageState
from fulcrum_pipelines.storage.store import Store, state_path

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


@pytest.mark.parametrize(
    ("count", "message"), [(0, "after 0 stages"), (1, "after 1 stage "), (2, "after 2 stages")]
)
def test_number_of_stages_agrees_in_grammar(count: int, message: str, tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    for stage in PLAN.stages[:count]:
        state = StageState(stage=stage, state="Succeeded", started_at="2026-11-24T09:30:00Z")
        store.write_record(state_path(PLAN.run, stage), state)
    assert message in ended_status(store, PLAN, "sha256:x", cancelled=False).message


def test_evidence_that_is_garbage_is_a_failure(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.write(f"runs/{PLAN.run}/evidence.json", b"{")
    status = ended_status(store, PLAN, "sha256:x", cancelled=False)
    assert (status.state, status.reason) == ("Failed", "EvidenceUnreadable")
