"""Put a stage's result on record: of all executions of a stage, that of the first to be complete.

A cluster may run a stage again while its first pod is still working, or after it, which cannot be
prevented. So an execution keeps its evidence to itself until it is complete, and it counts only if
no other was there before. All that follows from it is written from what is on record, so that each
execution writes the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from fulcrum_components.stages.headlines import headline
from fulcrum_pipelines.contract import STAGES, Plan
from fulcrum_pipelines.errors import CorruptError, InfrastructureError
from fulcrum_pipelines.evidence import Evidence, StageEvidence, StageName
from fulcrum_pipelines.states import StageState
from fulcrum_pipelines.storage.store import (
    Store,
    cache_path,
    log_path,
    record_bytes,
    stage_path,
    state_path,
)


def recorded(store: Store, plan: Plan, digest: str, stage: StageName) -> StageEvidence | None:
    """Return the result of `stage` that is on record for this very plan, if there is one."""
    try:
        found = store.stage_evidence(plan.run, stage)
    except CorruptError:
        return None
    if found is None or (found.run, found.stage, found.plan) != (plan.run, stage, digest):
        return None
    return found


def record(store: Store, plan: Plan, evidence: StageEvidence, log: Sequence[str]) -> StageEvidence:
    """Put `evidence` on record unless another execution was first, and return what is on record.

    Args:
        store: Of the run.
        plan: Of the run.
        evidence: Complete.
        log: Lines that the execution printed.

    Raises:
        CorruptError: Something else is in the place of the stage's evidence.
    """
    stage = evidence.stage
    if not store.create(stage_path(plan.run, stage), record_bytes(evidence)):
        kept = recorded(store, plan, evidence.plan, stage)
        if kept is None:
            message = "something that is no evidence of this stage and plan is in its place"
            raise CorruptError(message, where=store.locate(stage_path(plan.run, stage)))
        print(f"another execution of stage {stage} was complete before; its result counts")
        return kept
    if evidence.cached_from is None:
        path = cache_path(stage, evidence.inputs_digest, plan.namespace)
        store.write_record(path, evidence)
    write_log(store, plan, stage, log)
    return evidence


def write_log(store: Store, plan: Plan, stage: StageName, lines: Sequence[str]) -> None:
    """Keep what a stage printed."""
    store.write(log_path(plan.run, stage), "\n".join(lines).encode() + b"\n")


def conclude(store: Store, plan: Plan, evidence: StageEvidence) -> None:
    """Write what follows from a result on record; done again, it changes nothing.

    Args:
        store: Of the run.
        plan: Of the run.
        evidence: Which is on record.

    Raises:
        InfrastructureError: An earlier stage has no result.
    """
    if evidence.stage == STAGES[-1]:
        whole = Evidence(run=plan.run, plan=evidence.plan, stages=_all(store, plan, evidence.plan))
        store.write_record(f"runs/{plan.run}/evidence.json", whole)
    state = StageState(
        stage=evidence.stage,
        state="Succeeded",
        started_at=evidence.started_at,
        finished_at=evidence.finished_at,
        message=headline(evidence),
        fraction=1.0,
        cached=evidence.cached_from is not None,
    )
    store.write_record(state_path(plan.run, evidence.stage), state)


def _all(store: Store, plan: Plan, digest: str) -> tuple[StageEvidence, ...]:
    found = [recorded(store, plan, digest, stage) for stage in plan.stages]
    missing = [stage for stage, each in zip(plan.stages, found, strict=True) if each is None]
    if missing:
        message = f"no evidence of stage {missing[0]}, which should have run before"
        raise InfrastructureError(message, where=f"stage {plan.stages[-1]}")
    return tuple(each for each in found if each is not None)
