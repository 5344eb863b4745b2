"""Damage to the results of a run in its store before the gates judge them."""

from __future__ import annotations

from collections.abc import Callable

from stored_runs import evidence_path

from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.evidence import Evidence, ValidateDetails
from fulcrum_pipelines.storage.store import Store, object_path

Harm = Callable[[Store, Plan], None]


def candidate_missing(store: Store, plan: Plan) -> None:
    """Remove the candidate."""
    store.delete(candidate_of(store, plan))


def candidate_changed(store: Store, plan: Plan) -> None:
    """Let the candidate be another file."""
    store.write(candidate_of(store, plan), b"changed")


def candidate_cut(store: Store, plan: Plan) -> None:
    """Take the last byte of the candidate."""
    path = candidate_of(store, plan)
    content = store.read(path)
    assert content is not None
    store.write(path, content[:-1])


def evidence_of_another_run(store: Store, plan: Plan) -> None:
    """Let the evidence say that it is of another run."""
    evidence = _evidence(store, plan)
    store.write_record(evidence_path(plan.run), evidence.model_copy(update={"run": "other-1"}))


def evidence_cut(store: Store, plan: Plan) -> None:
    """Take the end of the evidence."""
    content = store.read(evidence_path(plan.run))
    assert content is not None
    store.write(evidence_path(plan.run), content[:-9])


TO_CANDIDATE: tuple[Harm, ...] = (candidate_missing, candidate_changed, candidate_cut)
HARMS: tuple[Harm, ...] = (*TO_CANDIDATE, evidence_of_another_run, evidence_cut)


def candidate_of(store: Store, plan: Plan) -> str:
    """Return where the candidate of a finished run lies in its store."""
    stage = _evidence(store, plan).stage("validate")
    assert stage is not None
    assert isinstance(stage.details, ValidateDetails)
    return object_path(stage.details.candidate_model)


def _evidence(store: Store, plan: Plan) -> Evidence:
    evidence = store.evidence(plan.run)
    assert evidence is not None
    return evidence
