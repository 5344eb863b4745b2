"""How a run ended, read from the store: no engine's word for it is needed, or trusted."""

from __future__ import annotations

from fulcrum_operator.ports import RunStatus
from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.errors import CorruptError
from fulcrum_pipelines.store import StageState, Store


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
