"""Wherever the operator is stopped, and however old what it acts on: a job runs once an attempt."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from job_world import World, job_body

from fulcrum_operator.lifecycle.observation import NoReport, Observed, Report
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
FINAL = {"Succeeded", "Rejected", "Inconclusive", "Failed"}

steps = st.lists(
    st.tuples(
        st.sampled_from(("step", "crash", "stale", "wait", "finish", "suspend", "resume")),
        st.integers(0, 3),
    ),
    max_size=40,
)


def check(world: World) -> None:
    """Assert the invariants, which hold at every moment."""
    assert len(world.submitted) == len(set(world.submitted)), "submitted twice under one key"
    assert len(world.asked) <= 1, "two promotions of one job"
    going = [key for key, run in world.runs.items() if not run.finished]
    assert len(going) <= 1, "two runs at a time"
    outcomes = [status["outcome"] for status in world.written if "outcome" in status]
    assert all(outcome == outcomes[0] for outcome in outcomes), "an outcome changed"
    done = [status for status in world.written if "completionTime" in status]
    assert len(done) <= 1, "written after the end"


@settings(max_examples=150, deadline=None)
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
    spec = {"promotion": {"channel": "production", "mode": mode}} if mode else {}
    world = World(job_body(**spec), outcomes=tuple(outcomes), verdict=verdict, report=report)
    old: list[Observed] = []
    for what, number in script:
        match what:
            case "step":
                old.append(world.observe())
                world.step()
            case "crash":
                world.step(crash_after=number)
            case "stale" if old:
                world.step(old[-1 - number % len(old)])
            case "wait":
                world.now += timedelta(seconds=10 * number)
            case "finish":
                world.finish_runs()
            case "suspend" | "resume":
                world.change(suspend=what == "suspend")
        check(world)
    world.change(suspend=False)
    world.settle(steps=120)
    check(world)
    assert world.status["phase"] in FINAL
    assert not world.body["metadata"].get("finalizers")
    assert world.status["phase"] in world.announced
    assert ("verdict" in world.status) == ("Evaluated" in world.announced)
    if world.status["phase"] == "Succeeded":
        assert verdict == "Pass"
    made = isinstance(report, Report)
    assert ("report" in world.status) == ("verdict" in world.status and made)
    assert ("ReportFailed" in world.announced) == ("verdict" in world.status and not made)


@settings(max_examples=100, deadline=None)
@given(before=st.integers(0, 12), crash=st.integers(0, 3))
def test_deletion_at_any_moment_leaves_no_run(before: int, crash: int) -> None:
    world = World(job_body(), outcomes=(RunStatus("Running"),))
    for _ in range(before):
        world.step()
    world.delete()
    if world.exists:
        world.step(crash_after=crash)
    if world.exists:
        world.settle()
    assert not world.exists
    assert all(run.finished for run in world.runs.values())
