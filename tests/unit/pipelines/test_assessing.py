"""A verdict is over evidence of the very run, plan and artifact, and anything else is none."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from builders.plans import make_digest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stored_runs import (
    COMPARISONS,
    GATES,
    PLAN,
    Outcome,
    StoredRun,
    candidate_path,
    evidence_path,
    make_run_evidence,
    store_run,
)

from fulcrum_pipelines.assessing import assess
from fulcrum_pipelines.contract import digest_of
from fulcrum_pipelines.errors import CorruptError, InfrastructureError
from fulcrum_pipelines.gates import Verdict
from fulcrum_pipelines.gates.assessment import Assessment, NoAssessment
from fulcrum_pipelines.storage.store import Store, object_path

RUN = "mnist-0123456789ab-1"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture
def stored(store: Store) -> StoredRun:
    return store_run(store, RUN)


@pytest.mark.parametrize("outcome", COMPARISONS)
def test_verdict_is_returned_and_written(store: Store, outcome: Outcome) -> None:
    stored = store_run(store, RUN, outcome)
    found = assess(store, PLAN, RUN, GATES)
    assert isinstance(found, Assessment)
    assert found.verdict.outcome == outcome
    assert found.evidence_digest == stored.digest
    assert found.candidate_digest == stored.candidate
    assert Path(found.candidate_uri).read_bytes() == b"candidate"
    assert found.candidate_bytes == len(b"candidate")
    assert Path(found.evidence_uri) == Path(store.locate(evidence_path(RUN)))
    written = store.read(f"runs/{RUN}/verdict.json")
    assert written is not None
    assert Verdict.model_validate_json(written) == found.verdict


def of_other(**changes: str) -> Callable[[Store, StoredRun], None]:
    def spoil(store: Store, stored: StoredRun) -> None:
        other = stored.evidence.model_copy(update=changes)
        store.write_record(evidence_path(RUN), other)

    return spoil


def without_validate(store: Store, stored: StoredRun) -> None:
    stages = stored.evidence.stages[:-1]
    store.write_record(evidence_path(RUN), stored.evidence.model_copy(update={"stages": stages}))


def not_finite(store: Store, stored: StoredRun) -> None:
    data = json.loads(stored.evidence.model_dump_json())
    data["stages"][0]["seconds"] = float("inf")
    store.write(evidence_path(RUN), json.dumps(data).encode())


@dataclass(frozen=True)
class Spoiled:
    """Damage to a run that passes, and the expected message."""

    name: str
    spoil: Callable[[Store, StoredRun], None]
    message: str


SPOILED = (
    Spoiled("missing", lambda store, _: store.delete(evidence_path(RUN)), "evidence.* is missing"),
    Spoiled("empty", lambda store, _: store.write(evidence_path(RUN), b""), "not valid evidence"),
    Spoiled(
        "cut",
        lambda store, run: store.write(
            evidence_path(RUN), run.evidence.model_dump_json().encode()[:-9]
        ),
        "not valid evidence",
    ),
    Spoiled("not text", lambda store, _: store.write(evidence_path(RUN), b"\xff\x00"), "not valid"),
    Spoiled("not finite", not_finite, "not (valid evidence|finite)"),
    Spoiled("of another run", of_other(run="other-1"), f"of run other-1, not of {RUN}"),
    Spoiled("of another plan", of_other(plan=make_digest("other")), f"the run was of {PLAN}"),
    Spoiled("without comparison", without_validate, "no comparison by stage validate"),
    Spoiled(
        "candidate missing",
        lambda store, run: store.delete(object_path(run.candidate)),
        "artifact sha256:.* is missing",
    ),
    Spoiled(
        "candidate changed",
        lambda store, run: store.write(object_path(run.candidate), b"changed"),
        f"is corrupt: its content has the digest {digest_of(b'changed')}",
    ),
)


@pytest.mark.parametrize("case", SPOILED, ids=lambda case: case.name)
def test_spoiled_run_is_not_judged(store: Store, stored: StoredRun, case: Spoiled) -> None:
    case.spoil(store, stored)
    found = assess(store, PLAN, RUN, GATES)
    assert isinstance(found, NoAssessment)
    assert found.failure_class == "infrastructure"
    assert re.search(case.message, found.message)
    assert store.read(f"runs/{RUN}/verdict.json") is None


@pytest.mark.parametrize("what", ["evidence", "candidate"])
def test_unreachable_store_is_tried_again(store: Store, stored: StoredRun, what: str) -> None:
    path = candidate_path(store, stored)
    if what == "evidence":
        path = Path(store.locate(evidence_path(RUN)))
    path.unlink()
    path.mkdir()  # opening a directory fails, also for root
    with pytest.raises(InfrastructureError, match="cannot read") as caught:
        assess(store, PLAN, RUN, GATES)
    assert not isinstance(caught.value, CorruptError)


@settings(
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_no_changed_byte_passes_another_artifact(
    store: Store, stored: StoredRun, data: st.DataObject
) -> None:
    decoy = store_run(store, "decoy-1", content=b"decoy")
    content = bytearray(make_run_evidence(RUN, stored.candidate).model_dump_json().encode())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(content) - 1))
        change = data.draw(st.sampled_from(["replace", "remove", "digest"]))
        if change == "replace":
            content[place] = data.draw(st.integers(0, 255))
        elif change == "remove":
            del content[place : place + data.draw(st.integers(1, 200))]
        else:  # the likeliest harm: one mention of the candidate is of another that is there
            old, new = stored.candidate.encode(), decoy.candidate.encode()
            at = bytes(content).find(old, place)
            if at >= 0 and decoy.candidate.encode() not in content:
                content[at : at + len(old)] = new
    store.write(evidence_path(RUN), bytes(content))
    found = assess(store, PLAN, RUN, GATES)
    if isinstance(found, Assessment) and found.verdict.outcome == "Pass":
        assert found.candidate_digest == stored.candidate
