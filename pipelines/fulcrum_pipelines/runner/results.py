"""How a run ended, read from the store: no engine's word for it is needed, or trusted."""

from __future__ import annotations

from dataclasses import replace

from fulcrum_pipelines.compiled import Part, stages_of
from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.errors import CorruptError
from fulcrum_pipelines.states import RunStatus, StageState
from fulcrum_pipelines.storage.store import Store


def stage_states(store: Store, plan: Plan) -> tuple[StageState, ...]:
    """Return the states of the stages that have started, in the order of the plan."""
    states = (store.stage_state(plan.run, stage) for stage in plan.stages)
    return tuple(state for state in states if state is not None)


def failed_stage(states: tuple[StageState, ...]) -> StageState | None:
    """Return the stage that failed, if one did."""
    return next((state for state in states if state.state == "Failed"), None)


def unreadable(error: CorruptError) -> RunStatus:
    """Return the end of a run whose results are gone from the store, or damaged there."""
    return RunStatus("Failed", "EvidenceUnreadable", str(error), error.failure_class)


def ended_status(store: Store, plan: Plan, plan_digest: str, *, cancelled: bool) -> RunStatus:
    """Return the final status of a run that is no longer going.

    Complete evidence of this very plan is a success; a stage that reported failure names the class;
    an end without either is an infrastructure fault.

    Raises:
        InfrastructureError: The store does not answer; the run may have ended well.
    """
    try:
        states = stage_states(store, plan)
        failed = failed_stage(states)
        evidence = store.evidence(plan.run)
    except CorruptError as error:
        return unreadable(error)
    complete = (
        evidence is not None
        and evidence.plan == plan_digest
        and tuple(stage.stage for stage in evidence.stages) == plan.stages
    )
    if complete and failed is None:
        return RunStatus("Succeeded")
    if cancelled:
        return RunStatus("Cancelled", "Cancelled", "it was cancelled")
    if failed is not None:
        message = f"stage {failed.stage} failed: {failed.message}"
        return RunStatus("Failed", "StageFailed", message, failed.failure_class or "internal")
    going = [state.stage for state in states if state.state == "Running"]
    passed = f"{len(states)} stage{'' if len(states) == 1 else 's'}"
    place = f"in stage {going[-1]}" if going else f"after {passed}"
    message = f"the run ended {place} without complete evidence"
    return RunStatus("Failed", "NoEvidence", message, "infrastructure")


def part_status(
    store: Store, plan: Plan, plan_digest: str, part: Part, *, cancelled: bool = False
) -> RunStatus:
    """Return the final status of a `part` that is no longer going.

    Of what computes, each stage's evidence is needed; with what measures, the run's own.

    Raises:
        InfrastructureError: The store does not answer; the part may have ended well.
    """
    whole = ended_status(store, plan, plan_digest, cancelled=cancelled)
    if part != "compute" or whole.reason != "NoEvidence":
        return whole
    try:
        found = {stage: store.stage_evidence(plan.run, stage) for stage in stages_of(plan, part)}
    except CorruptError as error:
        return unreadable(error)
    missing = [name for name, it in found.items() if it is None or it.plan != plan_digest]
    if not missing:
        return RunStatus("Succeeded")
    return replace(whole, message=f"{whole.message} of {', '.join(missing)}")
