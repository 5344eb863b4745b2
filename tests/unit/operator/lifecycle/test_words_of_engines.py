"""What an engine says of a run besides its state: where people see it, and what it waits for."""

from __future__ import annotations

from dataclasses import replace

from job_world import World, job_body

from fulcrum_operator.ports import RunHandle, RunStatus

URL = "https://kubeflow.example/#/runs/details/1"
WAITS = RunStatus("Running", "Unschedulable", "stage prune waits: 0/3 nodes are available")


def submitted() -> World:
    world = World(job_body())
    while "run" not in world.status or not world.runs:
        world.step()
    return world


def look(world: World, run: RunStatus) -> None:
    """Decide once where the engine knows the run, with an address."""
    seen = world.observe()
    handles = tuple(RunHandle(each.key, each.reference, URL) for each in seen.runs)
    world.step(replace(seen, runs=handles, run=run, stages=()))


def test_address_of_the_run_is_in_status() -> None:
    world = submitted()
    look(world, RunStatus("Running"))
    assert world.status["run"]["url"] == URL


def test_what_the_run_waits_for_is_in_status() -> None:
    world = submitted()
    look(world, RunStatus("Running"))
    look(world, WAITS)
    assert world.status["message"] == WAITS.message
