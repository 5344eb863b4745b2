"""Finished runs as they lie in a store, with verdicts to choose from."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from builders.details import make_validate
from builders.evidence import make_evidence, make_stage
from builders.figures import make_comparison
from builders.plans import make_digest, make_plan

from fulcrum_pipelines.assessing import assess
from fulcrum_pipelines.chain import STORE, Chain, write_chain
from fulcrum_pipelines.contract import Plan, digest_of, to_json
from fulcrum_pipelines.evidence import Artifact, Evidence, Overlap, StageName
from fulcrum_pipelines.gates.assessment import Assessment
from fulcrum_pipelines.resources.compressionjob import Gate
from fulcrum_pipelines.states import StageState
from fulcrum_pipelines.storage.store import Store, object_path, stage_path, state_path

PLAN = make_digest("plan")
GATES = (Gate(name="accuracy", kind="nonInferiority", metric="accuracy", margin=0.01),)
Outcome = Literal["Pass", "Fail", "Inconclusive", "Anomalous"]
COMPARISONS = {
    "Pass": make_comparison(),
    "Fail": make_comparison(broken=150, fixed=1),
    "Inconclusive": make_comparison(broken=20, fixed=4),
    "Anomalous": make_comparison(),
}

CANDIDATE = b"candidate" * 1000
CANDIDATE_PATH = object_path(digest_of(CANDIDATE))
"""Where the candidate of every run that `result_files` is about lies in a store."""
TIME = "2026-11-24T09:30:00Z"
_SOME_RUN, _SOME_PLAN = "the-run", digest_of(b"the plan")


@dataclass(frozen=True)
class StoredRun:
    """The objects of one run in the store."""

    run: str
    evidence: Evidence
    candidate: str

    @property
    def digest(self) -> str:
        """Of the evidence."""
        return digest_of(to_json(self.evidence))


def evidence_path(run: str) -> str:
    """Return the path of the evidence of `run`."""
    return f"runs/{run}/evidence.json"


def make_run_evidence(
    run: str, candidate: str, outcome: Outcome = "Pass", plan: str = PLAN
) -> Evidence:
    """Return evidence of `run` that leads to `outcome` with `GATES`, about `candidate`."""
    overlap = Overlap(other="train", examples=3)
    details = make_validate(
        candidate_model=candidate,
        comparisons=(COMPARISONS[outcome],),
        levers=(),
        latency=(),
        overlaps=(overlap,) if outcome == "Anomalous" else (),
    )
    made = Artifact(name="quantize.onnx", digest=candidate, size_bytes=120_148)
    return make_evidence(
        run=run,
        plan=plan,
        records=(
            make_stage("evaluate", run=run, plan=plan),
            make_stage("quantize", run=run, plan=plan, outputs=(made,)),
            make_stage("validate", run=run, plan=plan, details=details),
        ),
    )


def store_run(
    store: Store,
    run: str,
    outcome: Outcome = "Pass",
    content: bytes = b"candidate",
    plan: str = PLAN,
) -> StoredRun:
    """Put a finished run of `plan` and its candidate, which has `content`, into `store`."""
    candidate = digest_of(content)
    evidence = make_run_evidence(run, candidate, outcome, plan)
    store.write(object_path(candidate), content)
    store.write_record(evidence_path(run), evidence)
    return StoredRun(run, evidence, candidate)


def result_files(plan: Plan, outcome: Outcome = "Pass") -> dict[str, bytes]:
    """Return by path what a run of `plan` that succeeds leaves in its store, but for `CANDIDATE`.

    It takes microseconds after the first call: the records differ only by their run and plan.
    """
    digest = digest_of(to_json(plan)).encode()
    return {
        path.replace(_SOME_RUN, plan.run): content.replace(
            _SOME_RUN.encode(), plan.run.encode()
        ).replace(_SOME_PLAN.encode(), digest)
        for path, content in _files_of_some_run(plan.stages, outcome).items()
    }


@cache
def _files_of_some_run(stages: tuple[StageName, ...], outcome: Outcome) -> Mapping[str, bytes]:
    candidate = Artifact(
        name="candidate.onnx", digest=digest_of(CANDIDATE), size_bytes=len(CANDIDATE)
    )
    overlaps = (Overlap(other="train", examples=3),) if outcome == "Anomalous" else ()
    validate = make_validate(
        candidate_model=candidate.digest, comparisons=(COMPARISONS[outcome],), overlaps=overlaps
    )
    changes: dict[str, dict[str, Any]] = {
        "quantize": {"outputs": (candidate,)},
        "validate": {"details": validate},
    }
    records = tuple(
        make_stage(stage, run=_SOME_RUN, plan=_SOME_PLAN, **changes.get(stage, {}))
        for stage in stages
    )
    with tempfile.TemporaryDirectory() as scratch:
        store = Store(scratch)
        for record in records:
            state = StageState(
                stage=record.stage,
                state="Succeeded",
                started_at=TIME,
                finished_at=TIME,
                fraction=1.0,
            )
            store.write_record(state_path(_SOME_RUN, record.stage), state)
            store.write_record(stage_path(_SOME_RUN, record.stage), record)
        evidence = make_evidence(run=_SOME_RUN, plan=_SOME_PLAN, records=records)
        store.write_record(evidence_path(_SOME_RUN), evidence)
        found = (path for path in (Path(scratch) / "runs").rglob("*") if path.is_file())
        return {str(path.relative_to(scratch)): path.read_bytes() for path in found}


def candidate_path(store: Store, stored: StoredRun) -> Path:
    """Return the path of the candidate of `stored` in a store on disk."""
    return Path(store.locate(object_path(stored.candidate)))


@dataclass(frozen=True)
class Validated:
    """Artifacts of the components quantize and validate, ready for promote."""

    candidate: Path
    evidence: Path

    @property
    def digest(self) -> str:
        """Of the candidate."""
        return digest_of((self.candidate / "model.onnx").read_bytes())


def make_validated(folder: Path, name: str, baseline: str | None = None) -> Validated:
    """Make a different candidate for each `name`, and evidence that it passed its gates.

    Args:
        folder: For the artifacts.
        name: Of both.
        baseline: Digest of the model that it was compared with, if it is not the source model.
    """
    made = Validated(folder / f"{name}-candidate", folder / f"{name}-evidence")
    made.candidate.mkdir(parents=True)
    (made.candidate / "model.onnx").write_bytes(name.encode())
    store = Store(str(made.evidence / STORE))
    gates = [gate.model_dump(mode="json", exclude_unset=True) for gate in GATES]
    plan = make_plan(gates=gates, baselineModel=baseline).model_copy(update={"name": name})
    digest = store.put_record(plan)
    store.put(made.candidate / "model.onnx", "model.onnx", "application/vnd.onnx")
    evidence = make_run_evidence(plan.run, made.digest, plan=digest)
    store.write_record(f"runs/{plan.run}/plan.json", plan)
    store.write_record(evidence_path(plan.run), evidence)
    for record in evidence.stages:
        store.write_record(stage_path(plan.run, record.stage), record)
    write_chain(Chain(options={}, run=plan.run, plan=digest, source="", data={}), made.evidence)
    return made


def assess_run(store: Store, plan: Plan) -> Assessment:
    """Return what the gates say of the run of `plan`, which must be complete."""
    found = assess(store, digest_of(to_json(plan)), plan.run, plan.spec.gates)
    assert isinstance(found, Assessment), found
    return found
