"""A job comes to the same end by `fulcrum run` as on a cluster, after the same attempts.

Each situation is lived through twice: by `run_job`, and by the operator's reconciler with its
observer and executor on an API server in memory.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from api_in_memory import ApiInMemory
from fake_engine import FakeEngine
from harms import HARMS, Harm
from job_world import START, job_body
from operator_in_memory import OperatorInMemory
from stand_in import UID, stand_in_plan, work

from fulcrum_operator.controllers.embedded import NOTED, Watcher, run_job
from fulcrum_operator.lifecycle import Limits
from fulcrum_operator.resources.compressionjob import CompressionJobStatus
from fulcrum_operator.resources.names import COMPRESSION_JOB, EVENT
from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.errors import InfrastructureError
from fulcrum_pipelines.states import RunHandle, RunStatus
from fulcrum_pipelines.storage.store import Store

LIMITS = Limits(version="0.1.0", poll_s=0.02, first_backoff_s=0.01)
TURNS = 500


@dataclass(frozen=True)
class Situation:
    """Faults during a job, and how it must end.

    Attributes:
        behaviour: Of the stand-in, which is also the job's name.
        phase: How the job ends.
        reason: Why.
        attempts: How many there are.
        failures: By class.
        spec: Changes of the specification.
        harm: What is done to the store when an attempt has ended.
        harmed: The attempts that `harm` is done to, from the first.
        cancelled: The attempts that a user cancels, from the first.
        silent: How often the engine does not answer about the first attempt, once it is on file.
        silence_s: After how long a run is lost.
    """

    behaviour: str
    phase: str
    reason: str
    attempts: int = 1
    failures: dict[str, int] = field(default_factory=dict)
    spec: dict[str, Any] = field(default_factory=dict)
    harm: Harm | None = None
    harmed: int = 100
    cancelled: int = 0
    silent: int = 0
    silence_s: float = 300.0

    @property
    def name(self) -> str:
        """The properties that distinguish it from others."""
        changes = [f"{name}={value}" for name, value in self.spec.items()]
        harm = [f"{self.harm.__name__} x{self.harmed}"] if self.harm else []
        others = [f"{name} {getattr(self, name)}" for name in ("cancelled", "silent")]
        return ", ".join([self.behaviour, *changes, *harm, *(o for o in others if o[-2:] != " 0")])


SITUATIONS = (
    Situation("succeed", "Succeeded", "Passed"),
    Situation("worse", "Rejected", "GatesFailed"),
    Situation("undecided", "Inconclusive", "Undecided"),
    Situation("fail", "Failed", "InvalidInput", failures={"user": 1}),
    Situation("quality", "Failed", "ToleranceExceeded", failures={"quality": 1}),
    Situation("deadline", "Failed", "DeadlineExceeded", failures={"deadline": 1}),
    Situation("internal", "Failed", "StageFailed", failures={"internal": 1}),
    Situation("flaky", "Succeeded", "Passed", 2, {"infrastructure": 1}),
    Situation("broken", "Failed", "BackoffLimitExceeded", 3, {"infrastructure": 3},
              {"backoffLimit": 2}),
    Situation("broken", "Failed", "StageFailed", 1, {"infrastructure": 1}, {"backoffLimit": 0}),
    Situation("no-evidence", "Failed", "BackoffLimitExceeded", 2, {"evidence": 2},
              {"backoffLimit": 5}),
    Situation("no-evidence", "Failed", "StageFailed", 1, {"evidence": 1}, {"backoffLimit": 0}),
    Situation("early-end--succeed", "Succeeded", "Passed", 2, {"evidence": 1}),
    Situation("other-plan", "Failed", "BackoffLimitExceeded", 2, {"evidence": 2}),
    Situation("broken--no-evidence--broken--worse", "Rejected", "GatesFailed", 4,
              {"infrastructure": 2, "evidence": 1}, {"backoffLimit": 2}),
    Situation("broken--no-evidence--no-evidence", "Failed", "BackoffLimitExceeded", 3,
              {"infrastructure": 1, "evidence": 2}),
    Situation("broken--fail", "Failed", "InvalidInput", 2, {"infrastructure": 1, "user": 1}),
    Situation("hang--succeed", "Succeeded", "Passed", 2, {"infrastructure": 1}, cancelled=1),
    Situation("hang", "Failed", "BackoffLimitExceeded", 2, {"infrastructure": 2},
              {"backoffLimit": 1}, cancelled=2),
    Situation("hang", "Failed", "DeadlineExceeded", spec={"activeDeadlineSeconds": 1}),
    Situation("succeed", "Succeeded", "Passed", silent=3),
    Situation("succeed", "Succeeded", "Passed", 2, {"infrastructure": 1}, silent=100,
              silence_s=0.01),
    *(Situation("succeed", "Succeeded", "Passed", 2, {"evidence": 1}, harm=harm, harmed=1)
      for harm in HARMS),
    *(Situation("succeed", "Failed", "BackoffLimitExceeded", 2, {"evidence": 2}, harm=harm)
      for harm in HARMS),
    *(Situation("succeed", "Failed", "StageFailed", 1, {"evidence": 1}, {"backoffLimit": 0},
                harm=harm) for harm in HARMS),
)  # fmt: skip


class Troubled(FakeEngine):
    """Meets a situation."""

    def __init__(self, store: Store, situation: Situation) -> None:
        super().__init__(store, self._work_and_harm)
        self._situation = situation
        self._asked = 0

    def _work_and_harm(self, store: Store, plan: Plan) -> bool:
        is_over = work(store, plan)
        if self._situation.harm is not None and plan.attempt <= self._situation.harmed:
            self._situation.harm(store, plan)
        return is_over

    async def submit(self, key: str, plan: Plan) -> RunHandle:
        """Submit, and cancel the first attempts as a user would."""
        handle = await super().submit(key, plan)
        if plan.attempt <= self._situation.cancelled:
            await self.cancel(handle)
        return handle

    async def status(self, handle: RunHandle) -> RunStatus:
        """Answer, or not."""
        self._asked += 1
        if handle.key.endswith("-1") and 1 < self._asked <= 1 + self._situation.silent:
            raise InfrastructureError("connection refused", where="engine")
        return await super().status(handle)


@dataclass(frozen=True)
class Course:
    """How a job ended, and the notes that users saw meanwhile.

    Attributes:
        status: The parts of its last status that people decide by.
        submitted: Keys of its runs.
        notes: About the attempts that follow, in order.
    """

    status: dict[str, Any]
    submitted: tuple[str, ...]
    notes: tuple[str, ...]


def course(status: CompressionJobStatus, engine: FakeEngine, notes: list[str]) -> Course:
    outcome = status.outcome
    assert outcome is not None
    parts = {
        "phase": status.phase,
        "reason": outcome.reason,
        "message": outcome.message,
        "attempt": status.attempt,
        "failures": status.failures,
        "verdict": status.verdict,
        "gates": status.gates,
        "results": status.results,
        "candidate": status.candidate.digest if status.candidate else None,
        "evidence": status.evidence is not None,
        "stages": [(stage.name, stage.state) for stage in status.stages],
    }
    root = engine.store.url
    parts["message"] = outcome.message.replace(root, "STORE")
    return Course(parts, tuple(engine.submitted), tuple(t.replace(root, "STORE") for t in notes))


def by_command(situation: Situation, store: Store, limits: Limits) -> Course:
    """Let `fulcrum run` do it."""
    engine, notes = Troubled(store, situation), list[str]()
    plan = stand_in_plan(situation.behaviour, **situation.spec)
    plan = plan.model_copy(update={"namespace": "team"})
    ended = asyncio.run(run_job(engine, store, plan, Watcher(noted=notes.append), limits))
    passed = ended.assessment is not None and ended.assessment.verdict.outcome == "Pass"
    assert passed == (ended.status.verdict == "Pass")
    return course(ended.status, engine, notes)


def on_cluster(situation: Situation, store: Store, limits: Limits) -> Course:
    """Let the operator do it, on a clock that needs no waiting."""
    engine, api = Troubled(store, situation), ApiInMemory()
    now = START
    operator = OperatorInMemory(api, store, engine, limits, now=lambda: now)
    body = job_body(**situation.spec)
    body["metadata"] |= {"name": situation.behaviour, "uid": UID}

    async def live() -> CompressionJobStatus:
        nonlocal now
        operator.jobs.learn(await api.create(COMPRESSION_JOB, body))
        for _ in range(TURNS):
            after_s = await operator.reconciler.reconcile(("team", situation.behaviour))
            if after_s is None:
                break
            now += timedelta(seconds=after_s)
        (found,) = api.of(COMPRESSION_JOB)
        return CompressionJobStatus.model_validate(found["status"])

    status = asyncio.run(live())
    notes = [event["message"] for event in api.of(EVENT) if event["reason"] in NOTED]
    return course(status, engine, notes)


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.name)
def test_a_job_ends_alike_on_a_laptop_and_on_a_cluster(
    situation: Situation, tmp_path: Path
) -> None:
    limits = replace(LIMITS, engine_silence_s=situation.silence_s)
    here = by_command(situation, Store(str(tmp_path / "here")), limits)
    there = on_cluster(situation, Store(str(tmp_path / "there")), limits)
    assert here == there
    assert (here.status["phase"], here.status["reason"]) == (situation.phase, situation.reason)
    assert here.status["failures"] == situation.failures
    assert here.status["attempt"] == len(here.submitted) == situation.attempts
    assert len(here.notes) == situation.attempts - 1
    assert (here.status["verdict"] == "Pass") == (situation.phase == "Succeeded")
