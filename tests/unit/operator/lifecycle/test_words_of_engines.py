"""Show users the link to a run and the reason why it waits, besides its state."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

from job_world import World, job_body

from fulcrum_pipelines.states import RunStatus, StageState
from fulcrum_pipelines.storage.store import state_path

URL = "https://kubeflow.example/#/runs/details/1"
WAITS = RunStatus("Running", "Unschedulable", "stage prune waits: 0/3 nodes are available")


def submitted(**options: Any) -> World:
    world = World(job_body(), **options)
    while "run" not in world.status or not world.runs:
        world.step()
    return world


def look(world: World, run: RunStatus, *stages: StageState) -> None:
    """Let the operator look once at a run that stands so, with these stages in the store."""
    (key,) = world.runs
    world.runs[key] = run
    for stage in stages:
        world.store.write_record(state_path(key, stage.stage), stage)
    world.step()


def validate_state(state: Literal["Running", "Succeeded"], fraction: float) -> StageState:
    """Return the state of stage validate, as the store has it."""
    end = "2026-11-25T09:01:00Z" if state == "Succeeded" else None
    return StageState(
        stage="validate",
        state=state,
        started_at="2026-11-25T09:00:00Z",
        finished_at=end,
        fraction=fraction,
    )


def test_address_of_the_run_is_in_status() -> None:
    world = submitted()
    world.engine.url = URL
    look(world, RunStatus("Running"))
    assert world.status["run"]["url"] == URL


def test_what_the_run_waits_for_is_in_status() -> None:
    world = submitted()
    look(world, RunStatus("Running"))
    look(world, WAITS)
    assert world.status["message"] == WAITS.message


def test_last_stage_of_a_judged_job_has_succeeded() -> None:
    world = submitted()
    look(world, RunStatus("Running"), validate_state("Running", 0.9))
    assert world.status["stages"][0]["state"] == "Running"
    world.settle()
    stage = world.status["stages"][-1]
    assert stage["name"] == "validate"
    assert (stage["state"], stage["fraction"]) == ("Succeeded", 1.0)
    assert stage["endTime"]


def test_stage_that_was_stopped_with_its_job_does_not_stay_running() -> None:
    world = submitted(outcomes=(RunStatus("Running"),))
    look(world, RunStatus("Running"), validate_state("Running", 0.9))
    world.change(activeDeadlineSeconds=1)
    world.now += timedelta(seconds=10)
    world.settle()
    assert world.status["outcome"]["reason"] == "DeadlineExceeded"
    (stage,) = world.status["stages"]
    assert (stage["state"], stage["message"]) == ("Failed", "stopped with its job")
    assert stage["endTime"]
