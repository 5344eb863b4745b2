"""Each way of a job's life, from its manifest to its end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from builders.plans import make_spec
from job_world import DIGEST, LIMITS, SPEC, START, UID, World, job_body

from fulcrum_operator.lifecycle.judging import REPORT_LIMIT_S
from fulcrum_operator.lifecycle.observation import NoReport, Report, Snapshot, read_job
from fulcrum_operator.lifecycle.starting import plan_of
from fulcrum_operator.resources.names import CONFIG_MAP, GATE_POLICY, SNAPSHOT_KEY
from fulcrum_operator.resources.times import write_time
from fulcrum_pipelines.contract import canonical_json
from fulcrum_pipelines.states import RunStatus

KEY = f"mnist-{UID[:12]}"
INFRASTRUCTURE = RunStatus("Failed", "StageFailed", "the disk is full", "infrastructure")
USER = RunStatus("Failed", "StageFailed", "stage evaluate failed: no such file", "user")
NO_EVIDENCE = RunStatus("Failed", "NoEvidence", "the run ended", "infrastructure")
OTHER_SPEC = make_spec(backoffLimit=5).model_dump(mode="json", by_alias=True, exclude_none=True)
AUTOMATIC = {"promotion": {"channel": "production", "mode": "Automatic"}}
MANUAL = {"promotion": {"channel": "production", "mode": "Manual"}}


def conditions(world: World) -> dict[str, tuple[str, str]]:
    return {each["type"]: (each["status"], each["reason"]) for each in world.status["conditions"]}


@dataclass(frozen=True)
class Life:
    """A job whose run ends so and whose gates say so, and how it must end."""

    name: str
    phase: str
    reason: str
    outcomes: tuple[RunStatus, ...] = (RunStatus("Succeeded"),)
    verdict: Any = "Pass"
    spec: Any = None
    promotes: str = "Promoted"
    attempts: int = 1


LIVES = (
    Life("passes", "Succeeded", "Passed"),
    Life("is promoted", "Succeeded", "Promoted", spec=AUTOMATIC),
    Life("promotion refused", "Failed", "PromotionRefused", spec=AUTOMATIC, promotes="Refused"),
    Life("is worse", "Rejected", "GatesFailed", verdict="Fail"),
    Life("is worse, with a channel", "Rejected", "GatesFailed", verdict="Fail", spec=AUTOMATIC),
    Life("is undecided", "Inconclusive", "Undecided", verdict="Inconclusive", spec=AUTOMATIC),
    Life("cannot be trusted", "Inconclusive", "Anomalous", verdict="Anomalous", spec=AUTOMATIC),
    Life("user error", "Failed", "InvalidInput", outcomes=(USER,)),
    Life(
        "one fault, then fine",
        "Succeeded",
        "Passed",
        outcomes=(INFRASTRUCTURE, RunStatus("Succeeded")),
        attempts=2,
    ),
    Life(
        "only faults",
        "Failed",
        "BackoffLimitExceeded",
        outcomes=(INFRASTRUCTURE,),
        spec={"backoffLimit": 2},
        attempts=3,
    ),
    Life(
        "no second try",
        "Failed",
        "StageFailed",
        outcomes=(INFRASTRUCTURE,),
        spec={"backoffLimit": 0},
    ),
    Life("cancelled by others", "Succeeded", "Passed", attempts=2,
         outcomes=(RunStatus("Cancelled", "Cancelled", "it was"), RunStatus("Succeeded"))),
    Life("never evidence", "Failed", "BackoffLimitExceeded", outcomes=(NO_EVIDENCE,), attempts=2),
    Life("corrupt evidence", "Failed", "BackoffLimitExceeded", verdict=None, attempts=2),
)  # fmt: skip


@pytest.mark.parametrize("life", [pytest.param(life, id=life.name) for life in LIVES])
def test_job_ends_as_it_must(life: Life) -> None:
    world = World(
        job_body(**(life.spec or {})),
        outcomes=life.outcomes,
        verdict=life.verdict,
        promotes=life.promotes,
    )
    world.settle()
    status = world.status
    assert (status["phase"], status["outcome"]["reason"]) == (life.phase, life.reason)
    assert world.submitted == [f"{KEY}-{number}" for number in range(1, life.attempts + 1)]
    assert status["attempt"] == life.attempts
    assert status["message"]
    assert not world.body["metadata"].get("finalizers")
    kind = "Complete" if life.phase == "Succeeded" else "Failed"
    other = "Failed" if kind == "Complete" else "Complete"
    assert conditions(world)[kind][0] == "True"
    assert other not in conditions(world)
    assert len(world.asked) == int("Promot" in life.reason)


@pytest.mark.parametrize("verdict", ["Pass", "Fail", "Inconclusive", "Anomalous"])
@pytest.mark.parametrize("retryable", [True, False])
def test_missing_report_changes_nothing_but_what_is_said(verdict: Any, retryable: bool) -> None:
    worlds = [
        World(job_body(**AUTOMATIC), verdict=verdict, report=report)
        for report in (Report("s3://b/report.html"), NoReport("no room", retryable))
    ]
    for world in worlds:
        world.settle(turns=120)
    reported, silent = worlds
    for field in ("phase", "verdict", "attempt"):
        assert reported.status[field] == silent.status[field]
    for field in ("candidate", "evidence"):
        assert reported.status[field]["digest"] == silent.status[field]["digest"]
    assert reported.status["outcome"]["reason"] == silent.status["outcome"]["reason"]
    assert reported.asked == silent.asked
    assert reported.status["report"] == "s3://b/report.html"
    assert conditions(reported)["Reported"] == ("True", "Reported")
    assert "report" not in silent.status
    assert conditions(silent)["Reported"] == ("False", "ReportFailed")
    assert [each for each in silent.announced if each not in reported.announced] == ["ReportFailed"]


def test_report_waits_a_while_for_the_store() -> None:
    world = World(job_body(**AUTOMATIC), report=NoReport("no answer", retryable=True))
    while "verdict" not in world.status:
        world.step()
        world.finish_runs()
    world.now += timedelta(seconds=REPORT_LIMIT_S / 2)
    assert world.step() == LIMITS.poll_s
    assert not world.asked
    world.report = Report("s3://b/report.html")
    world.settle()
    assert world.status["report"] == "s3://b/report.html"
    assert "ReportFailed" not in world.announced


LATER_WORDS = (
    RunStatus("Failed", "StageFailed", "the plan is missing", "infrastructure"),
    RunStatus("Failed", "StageFailed", "no file", "user"),
    RunStatus("Cancelled", "Cancelled", "it was"),
    RunStatus("Unknown", "NotFound"),
    None,
)


@pytest.mark.parametrize("word", LATER_WORDS, ids=lambda word: (word and word.message) or "other")
@pytest.mark.parametrize("suspends", [False, True])
def test_verdict_outlasts_what_the_engine_says_later(word: Any, suspends: bool) -> None:
    world = World(job_body(**MANUAL), report=NoReport("no answer", retryable=True))
    while "verdict" not in world.status:
        world.step()
        world.finish_runs()
    if word is None:
        world.runs.clear()
    else:
        world.runs[f"{KEY}-1"] = word
    if suspends:
        world.change(suspend=True)
        for _ in range(4):
            world.step()
        assert world.status["phase"] == "Suspended"
        world.change(suspend=False)
    world.report = Report("s3://b/report.html")
    world.settle()
    assert world.status["phase"] == "AwaitingApproval"
    assert world.status["run"]["key"] == f"{KEY}-1"
    assert world.status["report"] == "s3://b/report.html"
    assert world.status["attempt"] == 1
    assert "failures" not in world.status


def test_report_is_written_before_promotion_is_asked_for() -> None:
    world = World(job_body(**MANUAL))
    while world.status.get("phase") != "AwaitingApproval":
        world.step()
        world.finish_runs()
    assert world.status["report"] == "file:///store/report.html"


def test_key_is_written_before_anything_is_submitted() -> None:
    world = World(job_body())
    while not world.submitted:
        before = dict(world.status)
        world.step()
    assert before["run"]["key"] == f"{KEY}-1"
    assert "reference" not in before["run"]
    assert world.body["metadata"]["finalizers"] == ["fulcrum.dev/run"]


def test_refused_job_says_why_once_and_heals() -> None:
    reference = {"kind": "GatePolicy", "name": "strict"}
    world = World(job_body(gates=None, gatePolicyRef=reference))
    world.settle()
    assert world.status["phase"] == "Pending"
    assert conditions(world)["Accepted"] == ("False", "ReferenceNotFound")
    assert world.announced == ["NotAccepted"]
    world.settle()
    assert world.announced == ["NotAccepted"]
    gates = [gate.model_dump(by_alias=True, exclude_unset=True) for gate in SPEC.gates]
    policy = {"name": "strict", "namespace": "team", "uid": "policy"}
    world.api.put(GATE_POLICY, {"metadata": policy, "spec": {"gates": gates}})
    world.settle()
    assert conditions(world)["Accepted"] == ("True", "Accepted")
    assert world.status["phase"] == "Succeeded"


def test_job_waits_for_a_place() -> None:
    world = World(job_body())
    world.slots.hold("another")
    world.settle()
    assert world.status["phase"] == "Pending"
    assert "room" in world.status["message"]
    assert not world.submitted
    world.slots.release("another")
    world.settle()
    assert world.status["phase"] == "Succeeded"


def test_suspended_job_stops_and_resumes_with_a_new_deadline() -> None:
    world = World(job_body(activeDeadlineSeconds=100), outcomes=(RunStatus("Running"),))
    for _ in range(5):
        world.step()
    world.now += timedelta(seconds=90)
    world.change(suspend=True)
    for _ in range(4):
        world.step()
    assert world.status["phase"] == "Suspended"
    assert world.cancelled == [f"{KEY}-1"]
    assert not world.body["metadata"].get("finalizers")
    world.now += timedelta(seconds=90)
    world.change(suspend=False)
    world.outcomes = (RunStatus("Cancelled"), RunStatus("Succeeded"))
    world.settle()
    assert world.status["phase"] == "Succeeded"
    assert "failures" not in world.status
    assert conditions(world)["Suspended"][0] == "False"


def test_job_created_suspended_starts_nothing() -> None:
    world = World(job_body(suspend=True))
    world.settle()
    assert world.status["phase"] == "Suspended"
    assert not world.api.of(CONFIG_MAP)
    assert not world.submitted


def test_deadline_stops_the_run() -> None:
    world = World(job_body(activeDeadlineSeconds=60), outcomes=(RunStatus("Running"),))
    world.settle()
    assert world.status["outcome"]["reason"] == "DeadlineExceeded"
    assert world.cancelled == [f"{KEY}-1"]
    assert world.now - START < timedelta(seconds=70)


def test_deleted_job_stops_its_run_and_goes() -> None:
    world = World(job_body(), outcomes=(RunStatus("Running"),))
    for _ in range(5):
        world.step()
    world.delete()
    world.settle()
    assert not world.exists
    assert world.cancelled == [f"{KEY}-1"]


def test_deleted_job_does_not_wait_forever_for_a_dead_engine() -> None:
    world = World(job_body(), outcomes=(RunStatus("Running"),))
    for _ in range(5):
        world.step()
    world.engine.error = "connection refused"
    world.delete()
    world.settle()
    assert not world.exists
    assert world.announced[-1] == "OrphanedRun"


def test_submission_that_is_refused_says_so_until_it_is_taken() -> None:
    world = World(job_body())
    world.engine.submit_error = "exceeded quota: jobs"
    for _ in range(6):
        world.step()
    assert "exceeded quota: jobs" in world.status["message"]
    assert conditions(world)["Submitted"][:2] == ("False", "SubmissionFailed")
    written = len(world.written)
    world.step()
    assert len(world.written) == written
    world.engine.submit_error = ""
    world.settle()
    assert (world.status["phase"], world.status["attempt"]) == ("Succeeded", 1)
    assert conditions(world)["Submitted"][0] == "True"


def test_deadline_that_is_edited_reaches_the_engine_that_keeps_it_too() -> None:
    run = RunStatus("Running", deadline_s=600)
    world = World(job_body(activeDeadlineSeconds=600), outcomes=(run,))
    for _ in range(5):
        world.step()
    key = world.status["run"]["key"]
    world.runs[key] = run
    for seconds in (1200, 300, None):
        world.change(activeDeadlineSeconds=seconds)
        for _ in range(2):
            world.step()
        assert world.runs[key].deadline_s == seconds


def test_lost_run_is_tried_again_after_silence_only() -> None:
    world = World(job_body(), outcomes=(RunStatus("Running"),))
    for _ in range(5):
        world.step()
    world.runs.clear()  # the engine forgot it
    world.step()
    assert world.status["attempt"] == 1
    assert "silent" in world.status["message"]
    world.now += timedelta(seconds=301)
    world.outcomes = (RunStatus("Succeeded"),)
    world.settle()
    assert world.status["attempt"] == 2
    assert world.status["failures"] == {"infrastructure": 1}
    assert world.status["phase"] == "Succeeded"


@pytest.mark.parametrize("change", ["gone", "other"])
def test_lost_snapshot_ends_the_job(change: str) -> None:
    world = World(job_body(), outcomes=(RunStatus("Running"),))
    for _ in range(5):
        world.step()
    snapshot = world.lose_snapshot()
    if change == "other":
        snapshot["data"][SNAPSHOT_KEY] = canonical_json(OTHER_SPEC).decode()
        world.api.put(CONFIG_MAP, snapshot)
    world.restart()  # what cannot change is in memory until then
    world.settle()
    assert world.status["outcome"]["reason"] == "SnapshotLost"
    assert world.cancelled == [f"{KEY}-1"]


def test_manual_promotion_is_waited_for_without_a_finalizer() -> None:
    world = World(job_body(**MANUAL))
    world.settle()
    assert world.status["phase"] == "AwaitingApproval"
    assert not world.body["metadata"].get("finalizers")
    assert not world.asked
    assert "completionTime" not in world.status


def test_held_channel_leaves_the_decision_to_a_person() -> None:
    world = World(job_body(**AUTOMATIC), promotes="Refused", why="ChannelHeld")
    world.settle()
    assert world.status["phase"] == "AwaitingApproval"
    assert "fulcrum promote mnist" in world.status["message"]
    assert "because" in world.status["message"]


def test_missing_channel_is_reported_and_waited_for() -> None:
    world = World(job_body(**AUTOMATIC), channel=False)
    world.settle()
    assert world.status["phase"] == "Promoting"
    assert conditions(world)["Promoted"] == ("False", "ChannelNotFound")
    world.add_channel()
    world.settle()
    assert world.status["phase"] == "Succeeded"


def test_finished_job_is_deleted_after_its_time_to_live() -> None:
    world = World(job_body(ttlSecondsAfterFinished=600))
    while "completionTime" not in world.status:
        world.step()
        world.finish_runs()
    assert world.step() == pytest.approx(600, abs=1)
    world.now += timedelta(seconds=601)
    world.step()
    assert not world.exists


def test_other_controllers_jobs_are_left_alone() -> None:
    world = World(job_body(managedBy="example.com/other"))
    world.settle()
    assert world.status == {}


def test_finished_job_never_runs_again_though_everything_of_it_is_gone() -> None:
    world = World(job_body())
    world.settle()
    done = dict(world.status)
    world.runs.clear()
    world.lose_snapshot()
    world.restart()
    world.change(suspend=True)
    world.settle()
    world.change(suspend=False)
    world.settle()
    assert world.status == done
    assert len(world.submitted) == 1


def test_newer_version_writes_its_plan_before_it_submits() -> None:
    world = World(job_body())
    while not world.status.get("run"):
        world.step()
    world.patch({"status": {"run": {"plan": DIGEST}}})
    world.step()
    assert world.status["run"]["plan"] != DIGEST
    assert not world.submitted
    world.settle()
    assert len(world.submitted) == 1


def test_transition_time_changes_with_the_state_only() -> None:
    world = World(job_body(), outcomes=(INFRASTRUCTURE, RunStatus("Succeeded")))
    world.settle()
    accepted = [
        each
        for status in world.written
        for each in status["conditions"]
        if each["type"] == "Accepted"
    ]
    assert {each["lastTransitionTime"] for each in accepted} == {write_time(START)}


@dataclass(frozen=True)
class Annotated:
    name: str
    annotations: dict[str, str]
    remeasure: bool


ANNOTATED = (
    Annotated("asked", {"fulcrum.dev/remeasure": "true"}, remeasure=True),
    Annotated("refused", {"fulcrum.dev/remeasure": "false"}, remeasure=False),
    Annotated("none", {}, remeasure=False),
)


@pytest.mark.parametrize("case", ANNOTATED, ids=lambda case: case.name)
def test_annotation_decides_whether_the_plan_measures_again(case: Annotated) -> None:
    body = job_body()
    body["metadata"]["annotations"] = case.annotations
    job = read_job(body)
    assert plan_of(job, Snapshot(SPEC, DIGEST), 1, "0.1").remeasure is case.remeasure


def test_annotation_of_a_finished_job_changes_nothing() -> None:
    world = World(job_body())
    world.settle()
    finished, submitted = dict(world.status), len(world.runs)
    world.patch({"metadata": {"annotations": {"fulcrum.dev/remeasure": "true"}}})
    world.settle()
    assert (world.status, len(world.runs)) == (finished, submitted)


def test_annotation_between_key_and_submission_makes_one_run() -> None:
    world = World(job_body())
    while not world.status.get("run"):
        world.step()
    planned = world.status["run"]["plan"]
    world.patch({"metadata": {"annotations": {"fulcrum.dev/remeasure": "true"}}})
    world.settle()
    assert world.status["run"]["plan"] != planned
    assert (world.status["phase"], world.status["attempt"]) == ("Succeeded", 1)
    assert len(world.runs) == 1
