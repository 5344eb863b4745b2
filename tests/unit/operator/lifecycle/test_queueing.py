"""A run that a queue of the cluster keeps waiting: what its job says, and whose time that is."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from job_world import START, UID, World, job_body

from fulcrum_operator.resources.times import seconds_since
from fulcrum_pipelines.states import RunStatus

KEY = f"mnist-{UID[:12]}-1"
WHY = "waits in queue team: insufficient unused quota for nvidia.com/gpu in flavor gpu-a, 1 more"
WAITS = RunStatus("Pending", "QuotaNotReserved", WHY, quota_reserved=False)
PREEMPTED = RunStatus("Pending", "Evicted", "waits in queue team: preempted", quota_reserved=False)
RUNS = RunStatus("Running", quota_reserved=True)


def queued_world(first: RunStatus = WAITS, **spec: Any) -> World:
    """Return a world whose job was submitted, and whose run has state `first`."""
    world = World(job_body(**spec))
    while not world.submitted:
        world.step()
    goes_on(world, first)
    return world


def goes_on(world: World, run: RunStatus, seconds: float = 0) -> None:
    """Give the run state `run`, advance the clock by `seconds`, and step several times."""
    key = next(reversed(world.runs))
    world.runs[key] = run
    world.now += timedelta(seconds=seconds)
    for _ in range(4):
        world.step()


def quota(world: World) -> tuple[str, str, str] | None:
    """Return the condition, if there is one."""
    found = [each for each in world.status["conditions"] if each["type"] == "QuotaReserved"]
    return (found[0]["status"], found[0]["reason"], found[0]["message"]) if found else None


def progressing(world: World) -> str:
    (found,) = (each for each in world.status["conditions"] if each["type"] == "Progressing")
    return str(found["reason"])


def test_run_that_waits_is_a_pending_job_with_the_queues_words() -> None:
    world = queued_world()
    assert world.status["phase"] == "Pending"
    assert world.status["message"] == WHY
    assert quota(world) == ("False", "QuotaNotReserved", WHY)
    assert progressing(world) == "WaitsInQueue"
    assert all(each["phase"] == "Pending" for each in world.written)
    assert world.status["attempt"] == 1


def test_waiting_writes_nothing_while_the_words_stay() -> None:
    world = queued_world()
    before = len(world.written)
    goes_on(world, WAITS, seconds=1000)
    assert len(world.written) == before
    other = RunStatus("Pending", "QuotaNotReserved", "2 more", quota_reserved=False)
    goes_on(world, other)
    assert len(world.written) == before + 1
    assert quota(world) == ("False", "QuotaNotReserved", "2 more")


def test_run_that_is_let_in_is_a_running_job() -> None:
    world = queued_world()
    goes_on(world, RUNS, seconds=10)
    assert world.status["phase"] == "Running"
    assert WHY not in world.status["message"]
    assert quota(world) == ("True", "QuotaReserved", "")
    assert progressing(world) == "Running"


def test_run_in_no_queue_says_nothing_of_one() -> None:
    assert quota(queued_world(RunStatus("Running"))) is None


def test_run_that_was_let_in_at_once_says_so() -> None:
    assert quota(queued_world(RUNS)) == ("True", "QuotaReserved", "")


def test_run_that_ended_between_two_looks_was_let_in() -> None:
    world = queued_world()
    world.outcomes = (RunStatus("Succeeded", quota_reserved=True),)
    world.settle()
    assert world.status["phase"] == "Succeeded"
    assert quota(world) == ("True", "QuotaReserved", "")


def test_evicted_run_waits_again_and_costs_no_attempt() -> None:
    world = queued_world(RUNS)
    goes_on(world, PREEMPTED, seconds=10)
    assert world.status["phase"] == "Pending"
    assert quota(world) == ("False", "Evicted", PREEMPTED.message)
    goes_on(world, RUNS, seconds=10)
    assert world.status["phase"] == "Running"
    assert world.submitted == [KEY]
    assert "failures" not in world.status


def test_queue_that_is_silent_leaves_the_job_pending() -> None:
    world = queued_world()
    world.engine.error = "no route"
    goes_on(world, WAITS, seconds=5)
    assert world.status["phase"] == "Pending"
    assert "no route" in world.status["message"]


@pytest.mark.parametrize(
    ("ran_s", "waited_s", "ends"),
    [
        pytest.param(0, 5000, False, id="only waited"),
        pytest.param(90, 5000, False, id="ran and was evicted within its time"),
        pytest.param(110, 0, True, id="ran for too long"),
    ],
)
def test_time_in_the_queue_is_not_the_jobs_time(ran_s: int, waited_s: int, ends: bool) -> None:
    world = queued_world(RUNS, activeDeadlineSeconds=100)
    goes_on(world, RUNS, seconds=ran_s)
    if waited_s:
        goes_on(world, WAITS)
        goes_on(world, WAITS, seconds=waited_s)
        goes_on(world, RUNS)
        assert seconds_since(world.status["activeSince"], world.now) == ran_s
    assert ("outcome" in world.status) == ends


def test_time_before_an_eviction_and_after_it_add_up() -> None:
    world = queued_world(RUNS, activeDeadlineSeconds=100)
    goes_on(world, RUNS, seconds=60)
    goes_on(world, WAITS)
    goes_on(world, RUNS, seconds=1000)
    goes_on(world, RUNS, seconds=30)
    assert "outcome" not in world.status
    goes_on(world, RUNS, seconds=20)
    assert world.status["outcome"]["reason"] == "DeadlineExceeded"


def test_run_that_is_lost_in_the_queue_takes_the_condition_along() -> None:
    world = queued_world(activeDeadlineSeconds=100)
    goes_on(world, WAITS, seconds=500)
    goes_on(world, RunStatus("Failed", "JobDeleted", "a user deleted it", "infrastructure"))
    assert world.status["failures"] == {"infrastructure": 1}
    assert quota(world) is None
    assert seconds_since(world.status["activeSince"], world.now) == 0
    world.now += timedelta(seconds=10)
    while len(world.submitted) < 2:
        world.step()
    goes_on(world, RUNS, seconds=50)
    assert quota(world) == ("True", "QuotaReserved", "")
    assert "outcome" not in world.status


def test_suspended_job_is_in_no_queue() -> None:
    world = queued_world()
    world.change(suspend=True)
    for _ in range(4):
        world.step()
    assert world.status["phase"] == "Suspended"
    assert world.cancelled == [KEY]
    assert quota(world) is None


def test_clock_of_a_job_that_started_later_than_its_queue_spoke_is_not_set_back() -> None:
    """Resuming restarts the clock; an older state of the queue does not change that."""
    world = queued_world()
    world.patch({"status": {"activeSince": "2026-11-25T09:10:00Z"}})
    world.now = START + timedelta(seconds=660)
    goes_on(world, RUNS)
    assert world.status["activeSince"] == "2026-11-25T09:11:00Z"
