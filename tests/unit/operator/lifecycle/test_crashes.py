"""Wherever the operator is stopped, and however old what it acts on: a job runs once an attempt.

The operator's own executor, observer and reconciler end, or get no answer, before and after each of
their writes.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from job_world import UID, Fault, Look, World, job_body

from fulcrum_operator.lifecycle.observation import NoReport, Report
from fulcrum_pipelines.states import RunStatus

ENDS = (
    RunStatus("Succeeded"),
    RunStatus("Failed", "StageFailed", "no disk", "infrastructure"),
    RunStatus("Failed", "NoEvidence", "nothing", "infrastructure"),
    RunStatus("Failed", "StageFailed", "no file", "user"),
    RunStatus("Cancelled", "Cancelled", "it was"),
)
REPORTS = (
    Report("file:///store/report.html"),
    NoReport("the store is away", retryable=True),
    NoReport("no page", retryable=False),
)
KEY = f"mnist-{UID[:12]}"
FINAL = {"Succeeded", "Rejected", "Inconclusive", "Failed"}

FOREIGN = "example.com/keep"
"""A finalizer of another program."""

MOMENTS = st.integers(0, 12)
"""Before and after each of the writes of a turn; the longest has six."""

steps = st.lists(
    st.tuples(
        st.sampled_from(
            ("step", "turn", "kill", "fail", "stale", "deaf", "wait", "finish", "suspend", "resume")
        ),
        MOMENTS,
    ),
    max_size=40,
)


def check(world: World) -> None:
    """Assert the invariants of every moment; `World` asserts those of every submission."""
    attempts = [int(key.removeprefix(f"{KEY}-")) for key in world.submitted]
    assert attempts == sorted(set(attempts)), "an attempt was repeated"
    assert len(world.asked) <= 1, "two promotions of one job"
    going = [key for key, run in world.runs.items() if not run.finished]
    assert len(going) <= 1, "two runs at a time"
    outcomes = [status["outcome"] for status in world.written if "outcome" in status]
    assert all(outcome == outcomes[0] for outcome in outcomes), "an outcome changed"
    done = [status for status in world.written if "completionTime" in status]
    assert len(done) <= 1, "written after the end"


@settings(max_examples=100, deadline=None)
@given(
    outcomes=st.lists(st.sampled_from(ENDS), min_size=1, max_size=4),
    verdict=st.sampled_from(("Pass", "Fail", "Inconclusive", "Anomalous", None)),
    report=st.sampled_from(REPORTS),
    mode=st.sampled_from((None, "Automatic")),
    script=steps,
)
def test_every_interruption_converges(
    outcomes: list[RunStatus],
    verdict: Any,
    report: Report | NoReport,
    mode: str | None,
    script: list[tuple[str, int]],
) -> None:
    body = job_body(**({"promotion": {"channel": "production", "mode": mode}} if mode else {}))
    body["metadata"]["finalizers"] = [FOREIGN]
    world = World(body, outcomes=tuple(outcomes), verdict=verdict, report=report)
    old: list[Look] = []
    for what, number in script:
        match what:
            case "step":
                if (look := world.look()) is not None:
                    old.append(look)
                    world.perform(look)
            case "turn":
                world.turn()
            case "kill" | "fail":
                world.turn(Fault(what, number))
            case "stale" if old:
                world.perform(old[-1 - number % len(old)])
            case "deaf":
                world.deaf = bool(number % 2)
            case "wait":
                world.now += timedelta(seconds=10 * number)
            case "finish":
                world.finish_runs()
            case "suspend" | "resume":
                world.change(suspend=what == "suspend")
        check(world)
    world.change(suspend=False)
    world.settle(turns=120)
    check(world)
    assert world.status["phase"] in FINAL
    assert world.body["metadata"]["finalizers"] == [FOREIGN]
    assert world.status["phase"] in world.announced
    assert ("verdict" in world.status) == ("Evaluated" in world.announced)
    if world.status["phase"] == "Succeeded":
        assert verdict == "Pass"
    made = isinstance(report, Report)
    assert ("report" in world.status) == ("verdict" in world.status and made)
    assert ("ReportFailed" in world.announced) == ("verdict" in world.status and not made)


def lasting(announced: list[str]) -> list[str]:
    """Return the Events but for that of a promotion, which may have ended before it is seen."""
    return [reason for reason in announced if reason != "Promoting"]


@pytest.mark.parametrize("kind", ["kill", "fail"])
def test_one_fault_at_any_moment_changes_nothing(kind: Literal["kill", "fail"]) -> None:
    body = job_body(promotion={"channel": "production", "mode": "Automatic"})
    calm = World(body)
    calm.settle()
    writes = [call for call in calm.api.calls.elements() if not call.startswith("get ")]
    moments = 2 * (len(writes) + len(calm.submitted))
    assert moments > 20
    for moment in range(moments):
        world = World(body)
        world.settle(fault=Fault(kind, moment))
        assert world.status["outcome"]["reason"] == "Promoted", moment
        assert lasting(world.announced) == lasting(calm.announced), moment
        assert (world.submitted, world.asked) == (calm.submitted, calm.asked), moment


@settings(max_examples=100, deadline=None)
@given(before=st.integers(0, 12), moment=MOMENTS, unheard=st.booleans())
def test_deletion_at_any_moment_leaves_no_run(before: int, moment: int, unheard: bool) -> None:
    world = World(job_body(), outcomes=(RunStatus("Running"),))
    for _ in range(before):
        world.step()
    world.deaf = unheard
    world.delete()
    world.turn(Fault("kill", moment))
    world.settle()
    assert not world.exists
    assert all(run.finished for run in world.runs.values())


@pytest.mark.parametrize("before", range(8))
def test_process_that_leads_no_more_changes_nothing(before: int) -> None:
    world = World(job_body())
    for _ in range(before):
        world.step()
        world.finish_runs()
    written, submitted, said = len(world.written), len(world.submitted), len(world.announced)
    world.fence.close()
    for _ in range(3):
        world.turn()
    assert (len(world.written), len(world.submitted)) == (written, submitted)
    assert len(world.announced) == said


@pytest.mark.parametrize("change", ["suspend", "delete"])
@pytest.mark.parametrize("before", range(6))
def test_observation_from_before_a_change_starts_no_run(before: int, change: str) -> None:
    world = World(job_body(), outcomes=(RunStatus("Running"),))
    for _ in range(before):
        world.step()
    look = world.look()
    assert look is not None
    if change == "suspend":
        world.change(suspend=True)
    else:
        world.delete()
    for _ in range(3):
        world.turn()
    started = len(world.submitted)
    world.perform(look)
    assert len(world.submitted) == started
    assert all(run.finished for run in world.runs.values())
