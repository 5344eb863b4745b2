"""The exact jobs of a schedule, whatever happens to its operator, its clock and its jobs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schedule_world import DAY, HOUR, KEY, START, Process, ScheduleWorld

from fulcrum_operator.kubernetes.errors import Forbidden, Invalid
from fulcrum_operator.resources.names import (
    API_VERSION,
    COMPRESSION_JOB,
    COMPRESSION_SCHEDULE,
    MODEL_CHANNEL,
)

MINUTE = timedelta(minutes=1)


def down_over(slots: float) -> Callable[[ScheduleWorld], None]:
    def happens(world: ScheduleWorld) -> None:
        world.turn()
        world.stop()
        world.now += slots * HOUR + 5 * MINUTE
        world.start()
        world.turn()

    return happens


def finishing(hours: int) -> Callable[[ScheduleWorld], None]:
    """Each job ends within its hour."""

    def happens(world: ScheduleWorld) -> None:
        for _ in range(hours):
            world.advance(HOUR)
            world.finish()
        world.turn()

    return happens


def suspended(*, operator_up: bool) -> Callable[[ScheduleWorld], None]:
    def happens(world: ScheduleWorld) -> None:
        world.advance(10 * MINUTE)
        if not operator_up:
            world.stop()
        world.edit(suspend=True)
        if operator_up:
            world.advance(2 * HOUR)
        else:
            world.now += 2 * HOUR
        world.edit(suspend=False)
        if not operator_up:
            world.start()
        world.advance(10 * MINUTE)

    return happens


def clock_goes_back(world: ScheduleWorld) -> None:
    world.advance(HOUR + MINUTE)
    world.finish()
    world.now -= 30 * MINUTE
    world.advance(40 * MINUTE)


def clock_jumps_and_returns(world: ScheduleWorld) -> None:
    world.advance(MINUTE)
    world.now += 30 * DAY
    world.turn()
    world.finish()
    world.now -= 30 * DAY
    world.advance(3 * HOUR)


def quota_for(hours: float) -> Callable[[ScheduleWorld], None]:
    def happens(world: ScheduleWorld) -> None:
        world.refuses = Forbidden
        world.advance(hours * HOUR)
        world.refuses = None
        world.advance(2 * MINUTE)

    return happens


def invalid_job(world: ScheduleWorld) -> None:
    world.refuses = Invalid
    world.advance(HOUR + MINUTE)
    world.refuses = None
    world.advance(10 * MINUTE)


def edited_at_the_slot(world: ScheduleWorld) -> None:
    """The edit comes after the slot and before the operator has seen the slot."""
    world.advance(59 * MINUTE)
    world.stop()
    world.now += 2 * MINUTE
    world.edit(failedJobsHistoryLimit=2)
    world.start()
    world.turn()


def name_taken(world: ScheduleWorld) -> None:
    metadata = {"name": "nightly-202611281300", "namespace": KEY[0], "annotations": {}}
    world.now += HOUR
    body = {"apiVersion": API_VERSION, "kind": "CompressionJob", "metadata": metadata}
    metadata["annotations"] = {"fulcrum.dev/slot": "2026-11-28T12:00:00Z"}
    world.api.put(COMPRESSION_JOB, body)
    world.created.clear()
    world.turn()


def triggered_before(world: ScheduleWorld) -> None:
    """A user created the job of the slot, by its name and with its label."""
    world.now += HOUR
    metadata = {
        "name": "nightly-202611281300",
        "namespace": KEY[0],
        "labels": {"fulcrum.dev/schedule": KEY[1]},
        "annotations": {"fulcrum.dev/slot": "2026-11-28T13:00:00Z"},
    }
    body = {"apiVersion": API_VERSION, "kind": "CompressionJob", "metadata": metadata, "spec": {}}
    world.api.put(COMPRESSION_JOB, body)
    world.turn(deaf=True)
    world.turn()


@dataclass(frozen=True)
class Situation:
    """What happens to a schedule of each hour, and which jobs come of it, by their hours."""

    name: str
    happens: Callable[[ScheduleWorld], None]
    hours: tuple[int, ...]
    outcomes: dict[str, int]
    spec: dict[str, Any] = field(default_factory=dict)


SITUATIONS = (
    Situation("three nights", finishing(3), (13, 14, 15), {"OnTime": 3}),
    Situation("down over one slot", down_over(1), (13,), {"Late": 1}),
    Situation("down over many", down_over(4), (16,), {"Late": 1, "Missed": 3}),
    Situation("down beyond the deadline", down_over(4), (), {"MissedDeadline": 1, "Missed": 3},
              {"startingDeadlineSeconds": 299}),
    Situation("down within the deadline", down_over(4), (16,), {"Late": 1, "Missed": 3},
              {"startingDeadlineSeconds": 301}),
    Situation("still running", lambda world: world.advance(3 * HOUR), (13,),
              {"OnTime": 1, "StillRunning": 2}),
    Situation("still running, allowed", lambda world: world.advance(3 * HOUR), (13, 14, 15),
              {"OnTime": 3}, {"concurrencyPolicy": "Allow"}),
    Situation("still running, replaced", lambda world: world.advance(3 * HOUR), (13, 14, 15),
              {"OnTime": 3}, {"concurrencyPolicy": "Replace"}),
    Situation("suspended", suspended(operator_up=True), (), {"Suspended": 2}),
    Situation("suspended while the operator is down", suspended(operator_up=False), (), {}),
    Situation("created suspended", lambda world: world.advance(2 * HOUR), (), {"Suspended": 2},
              {"suspend": True}),
    Situation("clock goes back", clock_goes_back, (13,), {"OnTime": 1}),
    Situation("clock jumps and returns", clock_jumps_and_returns, (12,),
              {"OnTime": 1, "Missed": 100}),
    Situation("quota for a while", quota_for(1.5), (13,), {"Late": 1}),
    Situation("quota to the next slot", quota_for(2.5), (14,), {"Late": 1, "Missed": 1}),
    Situation("quota beyond the deadline", quota_for(1.5), (), {"JobRefused": 1},
              {"startingDeadlineSeconds": 600}),
    Situation("job is invalid", invalid_job, (), {"InvalidTemplate": 1}),
    Situation("edited between slot and look", edited_at_the_slot, (), {}),
    Situation("name taken", name_taken, (), {"NameTaken": 1}),
    Situation("triggered before", triggered_before, (13,), {"OnTime": 1}),
    Situation("never", lambda world: world.advance(DAY), (), {}, {"schedule": "0 0 30 2 *"}),
    Situation("unknown zone", lambda world: world.advance(DAY), (), {}, {"timeZone": "Mars/Base"}),
)  # fmt: skip


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.name)
def test_exactly_these_jobs(situation: Situation) -> None:
    world = ScheduleWorld(**situation.spec)
    world.turn()
    situation.happens(world)
    assert set(world.created.values()) <= {1}
    assert tuple(int(name[-4:-2]) for name in world.created) == situation.hours
    assert dict(world.outcomes) == situation.outcomes
    assert not world.skipped & set(world.created)


def test_a_job_is_of_its_slot() -> None:
    world = ScheduleWorld(schedule="30 0 * * *", timeZone="Europe/Berlin")
    world.advance(DAY)
    (job,) = world.jobs
    metadata = job["metadata"]
    assert metadata["name"] == "nightly-202611282330"
    assert metadata["labels"] == {"team": "vision", "fulcrum.dev/schedule": "nightly"}
    assert metadata["annotations"] == {"fulcrum.dev/slot": "2026-11-28T23:30:00Z"}
    (owner,) = metadata["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == (
        "CompressionSchedule",
        "schedule",
        True,
    )
    assert job["spec"]["data"]["test"]["uri"] == "days/2026-11-29.npz"  # by the zone's calendar
    assert world.status["lastSlot"]["job"] == metadata["name"]
    assert world.status["nextSlot"] == "2026-11-29T23:30:00Z"
    assert [each["name"] for each in world.status["active"]] == [metadata["name"]]


REASONS = {
    "suspend": ({"suspend": True}, ("False", "Suspended"), False),
    "zone": ({"timeZone": "Mars/Base"}, ("False", "UnknownTimeZone"), True),
    "fields": ({"schedule": "1 2 3"}, ("False", "InvalidSchedule"), True),
    "day": ({"schedule": "0 0 31 2 *"}, ("False", "InvalidSchedule"), True),
    "good": ({}, ("True", "Scheduled"), False),
}


@pytest.mark.parametrize("name", REASONS)
def test_condition_says_whether_jobs_start(name: str) -> None:
    spec, expected, warned = REASONS[name]
    world = ScheduleWorld(**spec)
    world.turn()
    assert world.condition() == expected
    assert ("NotScheduling" in world.events) == warned
    assert world.condition("Suspended")[0] == ("True" if name == "suspend" else "False")
    world.turn()
    assert world.events.count("NotScheduling") == warned  # once


def test_refusals_of_the_api_server_are_shown_while_the_slot_waits() -> None:
    world = ScheduleWorld()
    world.refuses = Forbidden
    world.advance(HOUR + 2 * MINUTE)
    assert world.condition() == ("False", "JobRefused")
    assert "exceeded quota" in str(world.status["conditions"])
    assert world.events == ["SlotDelayed"]
    world.refuses = None
    world.advance(MINUTE)
    assert world.condition() == ("True", "Scheduled")
    assert world.events == ["SlotDelayed", "SlotStarted"]


def test_a_bad_placeholder_skips_the_slot() -> None:
    world = ScheduleWorld(jobTemplate={"spec": {"data": {"test": {"uri": "{slot:%c}"}}}})
    world.advance(HOUR + MINUTE)
    assert world.status["lastSlot"]["reason"] == "InvalidTemplate"
    assert "%c" in world.status["lastSlot"]["message"]
    assert not world.jobs


def test_a_clock_that_was_ahead_is_noticed() -> None:
    world = ScheduleWorld()
    clock_jumps_and_returns(world)
    assert world.condition() == ("False", "ClockBehind")


def test_finished_jobs_beyond_the_limits_go_but_those_of_a_channel_stay() -> None:
    world = ScheduleWorld(successfulJobsHistoryLimit=2, failedJobsHistoryLimit=1)
    ends = ["Succeeded", "Failed", "Succeeded", "Rejected", "Succeeded", "Succeeded", "Failed"]
    for number, phase in enumerate(ends):
        world.advance(HOUR)
        world.finish(phase)
        if number == 0:
            move = {"job": world.jobs[0]["metadata"]["name"]}
            world.api.put(
                MODEL_CHANNEL,
                {
                    "metadata": {"name": "production", "namespace": KEY[0]},
                    "spec": {},
                    "status": {"history": [move]},
                },
            )
    world.turn()
    left = [int(job["metadata"]["name"][-4:-2]) for job in world.jobs]
    assert left == [13, 17, 18, 19]  # the first is named by the channel, the last failed
    assert world.status["lastSuccess"]["job"].endswith("1800")
    assert world.status["lastFinished"]["phase"] == "Failed"
    assert world.status["activeCount"] == 0


def test_of_two_leaders_at_a_slot_one_creates_the_job() -> None:
    """The one that was has not noticed yet, and its watch is late."""
    world = ScheduleWorld()
    world.turn()
    first = world.processes[0]
    second = Process(world)
    world.processes.append(second)
    world.now += HOUR
    world.turn(first, deaf=True)
    world.turn(second, deaf=True)
    world.turn(first)
    assert dict(world.created) == {"nightly-202611281300": 1}
    assert world.status["lastSlot"]["outcome"] == "Started"


def test_a_deleted_schedule_starts_nothing() -> None:
    world = ScheduleWorld()
    world.turn()
    world.api.remove(COMPRESSION_SCHEDULE, KEY[1], KEY[0])
    world.now += HOUR
    assert world.turn() is None
    assert not world.jobs


STEPS = st.one_of(
    st.tuples(st.just("advance"), st.integers(1, 130)),
    st.tuples(st.just("jump"), st.integers(-90, 180)),
    st.tuples(st.just("stop at"), st.integers(0, 7)),
    st.tuples(st.just("lose answer"), st.integers(0, 7)),
    st.tuples(st.just("suspend"), st.booleans()),
    st.tuples(st.just("schedule"), st.sampled_from(["0 * * * *", "*/20 * * * *", "30 */2 * * *"])),
    st.tuples(st.just("policy"), st.sampled_from(["Forbid", "Allow", "Replace"])),
    st.tuples(st.just("finish"), st.sampled_from(["Succeeded", "Failed"])),
    st.tuples(st.just("refuse"), st.sampled_from([None, Forbidden, Invalid])),
    st.tuples(st.just("restart"), st.just(0)),
    st.tuples(st.just("deaf turn"), st.just(0)),
    st.tuples(st.just("delete"), st.just(0)),
)


def do(world: ScheduleWorld, what: str, value: Any) -> None:
    match what:
        case "advance":
            world.advance(value * MINUTE)
        case "jump":
            world.now += value * MINUTE
        case "stop at" | "lose answer":
            world.stops_at, world.loses_answer = value, what == "lose answer"
        case "suspend":
            world.edit(suspend=value)
        case "schedule":
            world.edit(schedule=value)
        case "policy":
            world.edit(concurrencyPolicy=value)
        case "finish":
            world.finish(value)
        case "refuse":
            world.refuses = value
        case "restart":
            world.start()
        case "deaf turn":
            world.turn(deaf=True)
        case "delete":
            world.delete_decided()


@settings(deadline=None, max_examples=50)
@given(steps=st.lists(STEPS, max_size=15), deadline=st.sampled_from([None, 90, 4000]))
def test_a_slot_has_at_most_one_job_and_a_skipped_one_none(
    steps: list[tuple[str, Any]], deadline: int | None
) -> None:
    world = ScheduleWorld(**({} if deadline is None else {"startingDeadlineSeconds": deadline}))
    for what, value in steps:
        do(world, what, value)
    world.stops_at, world.refuses = None, None
    world.advance(HOUR)
    assert set(world.created.values()) <= {1}
    assert not world.skipped & set(world.created)


@settings(deadline=None, max_examples=25)
@given(stops=st.lists(st.integers(0, 9), max_size=6), lost=st.booleans())
def test_no_slot_is_lost_to_a_crash(stops: list[int], lost: bool) -> None:
    world = ScheduleWorld(concurrencyPolicy="Allow")
    for stop in [*stops, None]:
        world.stops_at, world.loses_answer = stop, lost
        world.advance(HOUR)
        world.stops_at = None
        world.finish()
    world.turn()
    hours = [START + (number + 1) * HOUR for number in range(len(stops) + 1)]
    assert set(world.created) == {f"nightly-{hour:%Y%m%d%H%M}" for hour in hours}
    assert set(world.created.values()) == {1}
