"""Run jobs by the operator on a real API server, with a pipeline that takes no time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cluster.kubectl import KubectlError
from operator_site import Site
from operators import wait_until
from promotion_team import Team

from fulcrum_pipelines.storage.store import Store

WAIT_S = 60.0
MAX_RUNNING = 3
OPERATOR = "system:serviceaccount:fulcrum-system:fulcrum-operator"
TEMPLATED = {"recipe": None, "gates": None, "gatePolicyRef": {"name": "strict"}}
RECIPE: dict[str, Any] = {"quantize": {}}
GATES = [{"name": "accuracy", "kind": "nonInferiority", "metric": "accuracy", "margin": 0.01}]


@dataclass(frozen=True)
class Life:
    """A job that meets nothing unusual, and what it shows in the end.

    Attributes:
        name: Of the job, and of its channel; says how its pipeline behaves.
        phase: In the end.
        reason: Of the condition that says that it is over.
        message: What the job's message says among other things.
        events: Reasons of its Events, in their order.
        moves: How often its channel was moved.
    """

    name: str
    phase: str
    reason: str
    message: str
    events: tuple[str, ...]
    moves: int = 0
    spec: dict[str, Any] = field(default_factory=dict)


LIVES = (
    Life("succeed", "Succeeded", "Promoted", "channel succeed was moved by promotion succeed-",
         ("Submitted", "Evaluated", "Promoting", "Succeeded"), moves=1),
    Life("worse", "Rejected", "Rejected", "accuracy", ("Submitted", "Evaluated", "Rejected")),
    Life("undecided", "Inconclusive", "Inconclusive", "accuracy",
         ("Submitted", "Evaluated", "Inconclusive")),
    Life("fail", "Failed", "InvalidInput", "spec.data.test: nothing is at 'nowhere.npz'",
         ("Submitted", "Failed")),
    Life("flaky", "Succeeded", "Promoted", "channel flaky was moved",
         ("Submitted", "Retrying", "Submitted", "Evaluated", "Promoting", "Succeeded"), moves=1),
    Life("no-evidence", "Failed", "BackoffLimitExceeded", "after 2 failures of class evidence",
         ("Submitted", "Retrying", "Submitted", "Failed")),
    Life("hang", "Failed", "DeadlineExceeded", "ran longer than spec.activeDeadlineSeconds, 3 s",
         ("Submitted", "Failed"), spec={"activeDeadlineSeconds": 3}),
)  # fmt: skip


@pytest.fixture(scope="module")
def site(site: Site) -> Iterator[Site]:
    """The file's namespace with an operator, and with all `LIVES` begun."""
    operator = site.new_operator(process={"max_running": MAX_RUNNING})
    operator.start()
    for life in LIVES:
        promote(site, life.name, **life.spec)
    yield site
    assert operator.stop() == 0, operator.log[-4000:]
    assert "defect" not in operator.log


def promote(site: Site, name: str, mode: str = "Automatic", **spec: Any) -> str:
    """Create a job and the channel that it moves."""
    site.jobs.create("ModelChannel", name, {"description": "production"})
    return site.jobs.apply(name, promotion={"channel": name, "mode": mode}, **spec)


def conditions(status: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {each["type"]: (each["status"], each["reason"]) for each in status["conditions"]}


@pytest.mark.parametrize("life", LIVES, ids=lambda life: life.name)
def test_life(site: Site, life: Life) -> None:
    status = site.jobs.ended(life.name)
    assert (status["phase"], status["outcome"]["phase"]) == (life.phase, life.phase)
    assert life.message in status["message"]
    kind = "Complete" if life.phase == "Succeeded" else "Failed"
    assert conditions(status)[kind] == ("True", life.reason)
    assert tuple(site.jobs.reasons(life.name)) == life.events
    assert "finalizers" not in site.jobs.get(life.name)["metadata"]
    channel = site.jobs.status(life.name, "ModelChannel")
    assert channel.get("moves", 0) == life.moves
    assert ("current" in channel) == bool(life.moves)


def test_promotion_is_by_digest_and_by_the_operator(site: Site) -> None:
    status = site.jobs.ended("succeed")
    (promotion,) = site.jobs.promotions_of("succeed")
    channel = site.jobs.status("succeed", "ModelChannel")
    assert channel["current"]["digest"] == status["candidate"]["digest"]
    (move,) = channel["history"]
    assert (move["promotion"], move["by"]) == (promotion["metadata"]["name"], OPERATOR)
    assert status["promotion"] == {"name": promotion["metadata"]["name"], "phase": "Promoted"}
    assert conditions(status) == {
        "Accepted": ("True", "Accepted"),
        "Snapshotted": ("True", "Snapshotted"),
        "Submitted": ("True", "Submitted"),
        "Progressing": ("False", "Finished"),
        "Evaluated": ("True", "Pass"),
        "Reported": ("True", "Reported"),
        "Promoted": ("True", "Promoted"),
        "Complete": ("True", "Promoted"),
    }


def test_kubectl_shows_the_outcome(site: Site) -> None:
    site.jobs.ended("succeed")
    here = ("-n", site.namespace)
    head, line = site.plane.kubectl("get", "cpj", "succeed", *here).splitlines()
    assert head.split() == ["NAME", "PHASE", "STAGE", "VERDICT", "DELTA", "SPEEDUP", "AGE"]
    assert line.split()[:6] == ["succeed", "Succeeded", "Pass", "-0.07", "points", "x5.8"]
    text = site.plane.kubectl("describe", "cpj", "succeed", *here)
    events = text[text.index("\nEvents:") :].splitlines()
    # kubectl sorts by whole seconds; events within one second have no order.
    reasons = sorted(line.split()[1] for line in events if "fulcrum" in line)
    assert reasons == sorted(LIVES[0].events)
    assert site.jobs.reasons("succeed") == list(LIVES[0].events)


def test_jobs_wait_for_room_in_the_order_of_their_creation(site: Site) -> None:
    for life in LIVES:
        site.jobs.ended(life.name)
    names = [site.jobs.apply(f"wait.{number}") for number in range(MAX_RUNNING + 2)]
    for name in names[:MAX_RUNNING]:
        site.runs_now(name)
    *_, next_one, last = names
    for name in (next_one, last):
        status = site.jobs.reaches(name, "Pending")
        assert conditions(status)["Progressing"] == ("False", "WaitingForEngine")
    site.let_go(names[1])
    site.runs_now(next_one)
    assert site.jobs.status(last)["phase"] == "Pending"
    site.jobs.delete(next_one)
    site.runs_now(last)
    for name in names:
        site.let_go(name)
    for name in (*names[:MAX_RUNNING], last):
        assert site.jobs.ended(name)["phase"] == "Succeeded"


def test_person_with_the_right_approves_what_was_undecided(site: Site) -> None:
    site.jobs.ended("undecided")
    team = Team(site.plane, site.namespace, Store(f"file://{site.directory / 'store'}"))
    site.jobs.create("ModelChannel", "production", {"description": "for rights"})
    team.grant()
    code, _, err = team.fulcrum("ann", "approve", "undecided", "--yes")
    assert code != 0
    assert "approve" in err
    assert "current" not in site.jobs.status("undecided", "ModelChannel")
    code, out, err = team.fulcrum("eve", "approve", "undecided", "--yes", "--reason", "seen")
    assert code == 0, out + err
    (move,) = site.jobs.status("undecided", "ModelChannel")["history"]
    assert (move["by"], move["approvedBy"], move["verdict"]) == ("eve", "eve", "Inconclusive")
    assert site.jobs.status("undecided")["phase"] == "Inconclusive"


def test_manual_promotion_waits_for_a_person(site: Site) -> None:
    promote(site, "succeed.manual", mode="Manual")
    status = site.jobs.reaches("succeed.manual", "AwaitingApproval")
    assert "fulcrum promote succeed.manual" in status["message"]
    assert "completionTime" not in status
    team = Team(site.plane, site.namespace, Store(f"file://{site.directory / 'store'}"))
    team.grant()
    code, out, err = team.fulcrum("ann", "promote", "succeed.manual")
    assert code == 0, out + err
    assert site.jobs.ended("succeed.manual")["phase"] == "Succeeded"


def test_references_heal_and_are_read_once(site: Site) -> None:
    name = site.jobs.apply("wait.templated", recipeRef={"name": "small"}, **TEMPLATED)
    status = site.jobs.reaches(name, "Pending")
    assert conditions(status)["Accepted"] == ("False", "ReferenceNotFound")
    assert "CompressionRecipe small" in status["message"]
    site.jobs.create("CompressionRecipe", "small", RECIPE)
    wait_until(lambda: "GatePolicy strict" in site.jobs.status(name)["message"], WAIT_S)
    site.jobs.create("GatePolicy", "strict", {"gates": GATES})
    site.runs_now(name)
    before = site.jobs.status(name)["snapshot"]
    assert (before["recipe"]["name"], before["gatePolicy"]["name"]) == ("small", "strict")
    site.jobs.patch("small", {"prune": {"structured": {"sparsity": 0.5}}}, "CompressionRecipe")
    impossible = {"name": "accuracy", "kind": "threshold", "metric": "accuracy", "min": 1.0}
    site.jobs.patch("strict", {"gates": [impossible]}, "GatePolicy")
    site.let_go(name)
    status = site.jobs.ended(name)
    assert (status["phase"], status["snapshot"]) == ("Succeeded", before)
    assert [gate["kind"] for gate in status["gates"]] == ["nonInferiority"]
    assert site.jobs.reasons(name).count("NotAccepted") == 1


def test_suspended_job_has_no_run_and_gets_its_time_back(site: Site) -> None:
    name = site.jobs.apply("wait.suspended", activeDeadlineSeconds=600)
    site.runs_now(name)
    (process,) = site.runs()
    before = site.jobs.status(name)
    site.jobs.patch(name, {"suspend": True})
    status = site.jobs.reaches(name, "Suspended")
    assert conditions(status)["Suspended"] == ("True", "Suspended")
    assert "activeSince" not in status
    assert not process.is_running()
    later = _time(before["activeSince"]) + timedelta(seconds=1)  # status has whole seconds
    wait_until(lambda: datetime.now(UTC) > later, WAIT_S)
    site.jobs.patch(name, {"suspend": False})
    site.let_go(name)
    status = site.jobs.ended(name)
    assert (status["phase"], status["attempt"]) == ("Succeeded", 2)
    assert conditions(status)["Suspended"] == ("False", "Resumed")
    assert _time(status["activeSince"]) > _time(before["activeSince"])


def test_deleted_job_takes_its_processes_with_it(site: Site) -> None:
    name = site.jobs.apply("ignore-sigterm")
    site.runs_now(name)
    (process,) = site.runs()
    assert site.jobs.get(name)["metadata"]["finalizers"] == ["fulcrum.dev/run"]
    site.jobs.delete(name)
    site.jobs.gone(name)
    assert not process.is_running()


def test_job_with_the_same_name_runs_again(site: Site) -> None:
    first = site.jobs.apply("succeed.twice")
    site.jobs.ended(first)
    uid = site.jobs.get(first)["metadata"]["uid"]
    site.jobs.delete(first)
    site.jobs.gone(first)
    site.jobs.apply(first)
    assert site.jobs.ended(first)["phase"] == "Succeeded"
    assert site.jobs.get(first)["metadata"]["uid"] != uid
    assert sorted(site.starts(first).values()) == [1, 1]


def test_finished_job_goes_after_its_time_to_live(site: Site) -> None:
    name = site.jobs.apply("succeed.short", ttlSecondsAfterFinished=2)
    status = site.jobs.ended(name)
    site.jobs.gone(name)
    assert (datetime.now(_time(status["completionTime"]).tzinfo)
            - _time(status["completionTime"])).total_seconds() >= 2  # fmt: skip


def test_job_of_another_controller_is_left_alone(site: Site) -> None:
    theirs = site.jobs.apply("succeed.theirs", managedBy="example.com/other")
    site.jobs.ended(site.jobs.apply("succeed.ours", managedBy="fulcrum.dev/operator"))
    assert site.jobs.status(theirs) == {}
    assert site.jobs.reasons(theirs) == []


def test_only_the_operator_writes_status(site: Site) -> None:
    site.jobs.ended("worse")
    forged = '{"status": {"phase": "Succeeded", "verdict": "Pass"}}'
    words = ("patch", "cpj", "worse", "-n", site.namespace, "--subresource=status", "--type=merge")
    with pytest.raises(KubectlError, match="status is written by the operator"):
        site.plane.kubectl(*words, "-p", forged)
    assert site.jobs.status("worse")["verdict"] == "Fail"


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
