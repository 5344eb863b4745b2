"""The operator dies right after each of its effects, and its successor finishes what it began."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from operator_site import Site, check_promoted, promoting_job
from operators import END_TIMEOUT_S, OperatorProcess, wait_until

from fulcrum_pipelines.storage.store import object_path

PROMOTED = ("Submitted", "Evaluated", "Succeeded")
LIVES = 8
"""The effects until a promotion exists come one after the other, each in a separate process."""


@dataclass(frozen=True)
class Kill:
    """An effect after which the operator is killed, and the job in whose life it happens.

    Attributes:
        effect: Its name.
        behaviour: How the job's pipeline behaves.
        attempts: How many runs the job has.
        spec: Fields of the job.
        events: The reasons of all its Events, in their order.
    """

    effect: str
    behaviour: str = "succeed"
    attempts: int = 1
    spec: dict[str, Any] = field(default_factory=dict)
    events: tuple[str, ...] = PROMOTED


KILLS = (
    Kill("snapshot-made"),
    Kill("finalizer-added"),
    Kill("key-written"),
    Kill("submitted"),
    Kill("id-recorded"),
    Kill("progress", "wait"),
    Kill("retrying", "flaky", 2, {"backoffLimit": 2},
         ("Submitted", "Retrying", *PROMOTED)),
    Kill("verdict-written"),
    Kill("report-written"),
    Kill("finalizer-removed"),
    Kill("promotion-created"),
    Kill("promotion-seen"),
    Kill("channel-moved"),
    Kill("promotion-promoted"),
    Kill("outcome-written"),
    Kill("terminal-set"),
)  # fmt: skip


def has_ended(site: Site, name: str) -> bool:
    """Whether nothing is left to do for a job."""
    return "completionTime" in site.jobs.status(name)


def transitions(site: Site, name: str) -> tuple[str, ...]:
    """Return the reasons of a job's Events, but for a state that may be missed."""
    reasons = site.jobs.reasons(name)
    assert reasons.count("Promoting") <= 1
    return tuple(each for each in reasons if each != "Promoting")


@pytest.mark.parametrize("kill", KILLS, ids=lambda kill: kill.effect)
def test_killed_after_an_effect(site: Site, operator: OperatorProcess, kill: Kill) -> None:
    operator.order("KILL", kill.effect)
    name = promoting_job(site, f"{kill.behaviour}.{kill.effect}", **kill.spec)
    operator.wait_for_kill()
    site.let_go(name)
    operator.start(ready=False)
    site.jobs.ended(name)
    check_promoted(site, name, attempts=kill.attempts)
    assert transitions(site, name) == kill.events


def test_run_goes_on_while_there_is_no_operator(site: Site, operator: OperatorProcess) -> None:
    name = promoting_job(site, "wait.alone")
    site.runs_now(name)
    operator.kill()
    (process,) = site.runs()
    operator.start()
    site.jobs.reaches(name, "Running")
    assert site.runs() == [process]
    operator.kill()
    site.let_go(name)
    process.wait(30)
    operator.start()
    site.jobs.ended(name)
    check_promoted(site, name)


def test_killed_at_one_effect_after_the_other(site: Site, operator: OperatorProcess) -> None:
    """Kill the operator after each new effect.

    A job and its promotion are driven beside each other, so an effect of the one may have happened
    before an earlier one of the other: it is printed, or the kill comes between the server's write
    and the print.
    The job then reaches its end in the process that waits for that effect.
    """
    before = len(operator.effects)
    name = promoting_job(site, "succeed.again")
    lives = 0
    for kill in KILLS:
        if kill.behaviour == "succeed" and kill.effect not in operator.effects[before:]:
            operator.kill()
            operator.start("--kill-at", kill.effect, ready=False)
            wait_until(lambda: not operator.alive or has_ended(site, name), END_TIMEOUT_S)
            lives += 1
    assert lives >= LIVES
    operator.kill()
    operator.start()
    site.jobs.ended(name)
    check_promoted(site, name)
    assert transitions(site, name) == PROMOTED


def test_report_that_cannot_be_made_changes_nothing_else(
    site: Site, operator: OperatorProcess
) -> None:
    operator.order("KILL", "verdict-written")
    name = promoting_job(site, "succeed.unreported")
    operator.wait_for_kill()
    plan = site.jobs.status(name)["run"]["plan"]
    (site.directory / "store" / object_path(plan)).unlink()
    operator.start(ready=False)
    status = site.jobs.ended(name)
    assert (status["phase"], status["verdict"]) == ("Succeeded", "Pass")
    assert site.jobs.status(name, "ModelChannel")["current"]["digest"]
    assert "report" not in status
    (reported,) = (each for each in status["conditions"] if each["type"] == "Reported")
    assert reported["status"] == "False"
    assert f"plan {plan} is missing" in reported["message"]
    assert transitions(site, name) == ("Submitted", "Evaluated", "ReportFailed", "Succeeded")


def test_killed_after_the_deletion_of_an_old_job(site: Site, operator: OperatorProcess) -> None:
    operator.order("KILL", "ttl-deleted")
    name = site.jobs.apply("succeed.old", ttlSecondsAfterFinished=0)
    operator.wait_for_kill()
    site.jobs.gone(name)
    operator.start()
    assert not site.jobs.exists(name)
    assert site.starts(name).total() == 1


def test_killed_while_a_deleted_job_is_stopped(site: Site, operator: OperatorProcess) -> None:
    name = site.jobs.apply("hang.deleted")
    site.runs_now(name)
    operator.order("KILL", "cancelled")
    site.jobs.delete(name)
    operator.wait_for_kill()
    assert site.jobs.exists(name)
    operator.start()
    site.jobs.gone(name)
    assert site.runs() == []


def test_killed_when_a_job_was_suspended(site: Site, operator: OperatorProcess) -> None:
    name = promoting_job(site, "wait.suspended")
    site.runs_now(name)
    operator.order("KILL", "suspended")
    site.jobs.patch(name, {"suspend": True})
    operator.wait_for_kill()
    operator.start()
    assert site.jobs.status(name)["phase"] == "Suspended"
    assert site.runs() == []
    site.let_go(name)
    site.jobs.patch(name, {"suspend": False})
    site.jobs.ended(name)
    check_promoted(site, name, attempts=2)
