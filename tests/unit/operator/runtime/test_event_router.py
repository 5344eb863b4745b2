"""Events of a watch update the cache and wake only the objects they concern."""

from __future__ import annotations

from typing import Any

from job_world import START, job_body

from fulcrum_operator.controllers.job_memory import JobMemory
from fulcrum_operator.engines.slots import EngineDesk, Slots
from fulcrum_operator.kubernetes.object_cache import Key
from fulcrum_operator.runtime.event_router import Inbox

JOBS, PROMOTIONS, CHANNELS = "compressionjobs", "modelpromotions", "modelchannels"


class Woken:
    """An inbox, and the objects it woke."""

    def __init__(self) -> None:
        self.items: list[tuple[str, Key]] = []
        self.slots = Slots(1)
        self.inbox = Inbox(
            lambda plural, key: self.items.append((plural, key)),
            JobMemory(
                {"process": EngineDesk(None, self.slots)},  # type: ignore[arg-type]  # never called
                lambda key: None,
            ),
        )

    def has_slot(self) -> bool:
        """Return whether another job may start."""
        return self.slots.take("other", START, ("team", "other"))

    def take(self, plural: str, event: str | None, body: dict[str, Any]) -> list[tuple[str, str]]:
        """Take an event and return the plural and name of each object it woke."""
        self.items.clear()
        self.inbox.take(plural, event, body)
        return [(plural, name) for plural, (_, name) in self.items]


def body(name: str, version: int = 1, namespace: str = "team", **rest: Any) -> dict[str, Any]:
    metadata = {
        "name": name,
        "namespace": namespace,
        "uid": f"uid-{name}",
        "resourceVersion": str(version),
    }
    return {"apiVersion": "fulcrum.dev/v1alpha1", "metadata": metadata, "spec": {}, **rest}


def job(version: int = 1, status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    made = job_body(status, **spec)
    made["metadata"]["resourceVersion"] = str(version)
    return made


FINISHED = {"completionTime": "2026-11-25T09:00:00Z", "phase": "Succeeded"}


def test_new_job_is_looked_at() -> None:
    assert Woken().take(JOBS, "ADDED", job()) == [(JOBS, "mnist")]


def test_our_own_write_wakes_no_object() -> None:
    woken = Woken()
    woken.inbox.objects[JOBS].learn(job(7))
    assert woken.take(JOBS, "MODIFIED", job(7)) == []
    assert woken.take(JOBS, "MODIFIED", job(5)) == []
    assert woken.take(JOBS, "MODIFIED", job(8)) == [(JOBS, "mnist")]


def test_our_own_write_of_a_schedules_job_wakes_the_schedule() -> None:
    """The end of a job is written by the job's reconciler; the schedule counts it."""
    woken = Woken()
    ended = job(7, FINISHED)
    ended["metadata"]["labels"] = {"fulcrum.dev/schedule": "nightly"}
    woken.inbox.objects[JOBS].learn(ended)
    assert woken.take(JOBS, "MODIFIED", ended) == [("compressionschedules", "nightly")]
    assert woken.take(JOBS, "DELETED", ended) == [("compressionschedules", "nightly")]


def test_finished_job_is_left_alone_and_kept_small() -> None:
    woken = Woken()
    assert woken.take(JOBS, None, job(2, FINISHED)) == []
    kept = woken.inbox.objects[JOBS].get(("team", "mnist"))
    assert kept is not None
    assert "apiVersion" not in kept
    assert list(woken.inbox.everything()) == []


def test_place_of_a_job_that_another_leader_ended_is_given_back() -> None:
    woken = Woken()
    run = {"key": "mnist-1", "engine": "process", "startTime": "2026-11-25T09:00:00Z"}
    woken.take(JOBS, "MODIFIED", job(2, {"phase": "Running", "run": run}))
    assert not woken.has_slot()
    woken.take(JOBS, "MODIFIED", job(3, {**FINISHED, "run": run}))
    assert woken.has_slot()


def test_finished_job_with_a_time_to_live_is_looked_at() -> None:
    woken = Woken()
    assert woken.take(JOBS, None, job(2, FINISHED, ttlSecondsAfterFinished=5)) == [(JOBS, "mnist")]


def test_deleted_job_gives_its_place_back() -> None:
    woken = Woken()
    running = job(2, {"run": {"key": "k", "engine": "process"}, "attempt": 1})
    woken.take(JOBS, "ADDED", running)
    assert not woken.has_slot()
    woken.take(JOBS, "DELETED", running)
    assert woken.has_slot()
    assert woken.inbox.objects[JOBS].get(("team", "mnist")) is None


def test_deletion_of_a_namesake_takes_nothing() -> None:
    woken = Woken()
    woken.take(JOBS, "ADDED", job(5))
    old = job(3)
    old["metadata"]["uid"] = "another"
    woken.take(JOBS, "DELETED", old)
    assert woken.inbox.objects[JOBS].get(("team", "mnist")) is not None


def test_template_wakes_jobs_that_wait_for_it() -> None:
    woken = Woken()
    woken.take(JOBS, "ADDED", job(1, recipe=None, recipeRef={"kind": "X", "name": "half"}))
    assert woken.take("compressionrecipes", "ADDED", body("half")) == [(JOBS, "mnist")]
    assert woken.take("compressionrecipes", "ADDED", body("other")) == []
    assert woken.take("compressionrecipes", "ADDED", body("half", 2, "elsewhere")) == []
    assert woken.take("clustercompressionrecipes", "ADDED", body("half", 2, "")) == [
        (JOBS, "mnist")
    ]


def test_template_does_not_wake_a_job_that_has_started() -> None:
    woken = Woken()
    started = job(1, {"snapshot": {"name": "s"}}, recipe=None, recipeRef={"name": "half"})
    woken.take(JOBS, "ADDED", started)
    assert woken.take("compressionrecipes", "MODIFIED", body("half")) == []


def test_channel_wakes_its_promotions_and_the_jobs_that_wait_for_it() -> None:
    woken = Woken()
    asks = {"promotion": {"channel": "production", "mode": "Automatic"}}
    woken.take(JOBS, "ADDED", job(1, {"verdict": "Pass"}, **asks))
    open_one = body("open", spec={"channel": "production"})
    done = body("done", spec={"channel": "production"}, status={"phase": "Promoted"})
    other = body("other", spec={"channel": "staging"})
    for promotion in (open_one, done, other):
        woken.take(PROMOTIONS, "ADDED", promotion)
    assert woken.take(CHANNELS, "MODIFIED", body("production")) == [
        (CHANNELS, "production"),
        (PROMOTIONS, "open"),
        (JOBS, "mnist"),
    ]


def test_promotion_wakes_its_job() -> None:
    woken = Woken()
    woken.take(JOBS, "ADDED", job())
    asked = body("p", spec={"channel": "production", "job": {"name": "mnist", "uid": "x"}})
    assert woken.take(PROMOTIONS, "ADDED", asked) == [(PROMOTIONS, "p"), (JOBS, "mnist")]


def test_new_leader_looks_at_everything_unfinished() -> None:
    woken = Woken()
    woken.take(JOBS, None, job())
    woken.take(CHANNELS, None, body("production"))
    woken.take("gatepolicies", None, body("strict"))
    assert sorted(woken.inbox.everything()) == [
        (JOBS, ("team", "mnist")),
        (CHANNELS, ("team", "production")),
    ]
