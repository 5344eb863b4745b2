"""Test the executor's writes after the cluster has changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
from api_stand_in import Answer, refusal, serve
from builders.plans import make_plan
from job_world import job_body

from fulcrum_operator.controllers.executor import Executor
from fulcrum_operator.controllers.job_memory import JobMemory
from fulcrum_operator.controllers.observer import Observer
from fulcrum_operator.controllers.resolver import Templates
from fulcrum_operator.engines.protocol import Engine
from fulcrum_operator.engines.slots import EngineDesk, Slots
from fulcrum_operator.kubernetes.api import Kube
from fulcrum_operator.kubernetes.errors import Conflict, NotLeader
from fulcrum_operator.kubernetes.events import Events
from fulcrum_operator.kubernetes.object_cache import Key, Objects
from fulcrum_operator.lifecycle.actions import Action, CreatePromotion, RemoveFinalizer, Submit
from fulcrum_operator.lifecycle.observation import Observed, read_job
from fulcrum_operator.resources.names import COMPRESSION_JOB, MODEL_CHANNEL, MODEL_PROMOTION
from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.errors import InfrastructureError
from fulcrum_pipelines.states import RunHandle
from fulcrum_pipelines.storage.store import Store

KEY = ("team", "mnist")
PLAN = make_plan()
PROMOTION = {
    "metadata": {"name": "mnist-0a1b2c3d", "namespace": "team", "resourceVersion": "7"},
    "spec": {},
}


class Bench:
    """An executor at a stand-in of the API server, and what it did."""

    def __init__(self, kube: Kube, store: Store) -> None:
        self.jobs = Objects(COMPRESSION_JOB)
        self.woken: list[tuple[str, Key]] = []
        self.effects: list[str] = []
        self.engines: dict[str, EngineDesk] = {}
        self.memory = JobMemory(self.engines, lambda key: None)
        self.promotions = Objects(MODEL_PROMOTION)
        self.observer = Observer(
            kube=kube,
            store=store,
            engines=self.engines,
            memory=self.memory,
            templates=Templates({}),
            promotions=self.promotions,
            channels=Objects(MODEL_CHANNEL),
            source_root="file:///sources",
        )
        self.executor = Executor(
            kube=kube,
            jobs=self.jobs,
            promotions=self.promotions,
            engines=self.engines,
            memory=self.memory,
            observer=self.observer,
            events=Events(kube, "test"),
            user="operator",
            wake=lambda plural, key: self.woken.append((plural, key)),
            probe=self.effects.append,
        )


@pytest.fixture
def perform(store: Store) -> Callable[..., Bench]:
    """Let an executor perform an action on a job, at an API server that gives `answers`."""

    def run(body: dict[str, Any], action: Action, *answers: Answer) -> Bench:
        async def work() -> Bench:
            async with serve(*answers) as (_, kube):
                bench = Bench(kube, store)
                bench.jobs.learn(body)
                await bench.executor.perform(read_job(body), body, (action,))
                return bench

        return asyncio.run(work())

    return run


@pytest.fixture
def store(tmp_path: Any) -> Store:
    return Store(f"file://{tmp_path}")


def deleted_job() -> dict[str, Any]:
    body = job_body()
    body["metadata"] |= {
        "finalizers": ["fulcrum.dev/run"],
        "deletionTimestamp": "2026-11-25T09:00:00Z",
    }
    return body


def test_job_that_is_let_go_is_forgotten(perform: Callable[..., Bench]) -> None:
    """The answer to what ended the job has the version that was known, so it is no news."""
    answer = job_body()
    answer["metadata"]["deletionTimestamp"] = "2026-11-25T09:00:00Z"
    bench = perform(deleted_job(), RemoveFinalizer(), Answer(200, answer))
    assert bench.jobs.get(KEY) is None
    assert bench.effects == ["finalizer-removed"]


def test_job_that_went_meanwhile_is_looked_at_again(perform: Callable[..., Bench]) -> None:
    gone = refusal(404, "NotFound", "not found")
    with pytest.raises(Conflict, match="it was deleted since"):
        perform(deleted_job(), RemoveFinalizer(), gone)


@pytest.mark.parametrize(
    "answers",
    [
        (Answer(201, PROMOTION),),
        (refusal(409, "AlreadyExists", "it is there"), Answer(200, PROMOTION)),
    ],
    ids=["created", "was there"],
)
def test_promotion_that_was_asked_for_has_its_turn(
    perform: Callable[..., Bench], answers: tuple[Answer, ...]
) -> None:
    """Its creation is learned at once, so the watch brings no news that would give it one."""
    bench = perform(job_body(), CreatePromotion("mnist-0a1b2c3d", {"channel": "p"}), *answers)
    key = ("team", "mnist-0a1b2c3d")
    assert bench.woken == [(MODEL_PROMOTION.plural, key)]
    assert bench.promotions.get(key) == PROMOTION


class Refusing:
    """An engine that takes no run, for one reason after the other."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    async def find(self, key: str) -> tuple[RunHandle, ...]:
        return ()

    async def submit(self, key: str, plan: Plan) -> RunHandle:
        raise self.errors.pop(0)


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (InfrastructureError("exceeded quota"), "exceeded quota"),
        (NotLeader("this process does not hold the lease"), ""),
    ],
    ids=["refused", "another leads"],
)
def test_refused_submission_is_kept_for_the_jobs_status(
    store: Store, error: Exception, kept: str
) -> None:
    """But for a process that may not act, which knows nothing of the run."""
    run = {
        "key": PLAN.run,
        "plan": PLAN.run,
        "engine": "process",
        "startTime": "2026-11-25T09:00:00Z",
    }
    body = job_body({"attempt": 1, "run": run})

    async def work() -> Observed:
        async with serve(refusal(404, "NotFound", "no snapshot")) as (_, kube):
            bench = Bench(kube, store)
            desk = EngineDesk(cast("Engine", Refusing(error)), Slots(1))
            bench.engines["process"] = desk
            bench.jobs.learn(body)
            with pytest.raises(type(error)):
                await bench.executor.perform(read_job(body), body, (Submit(PLAN),))
            return await bench.observer.observe(read_job(body))

    assert asyncio.run(work()).submit_error == kept
