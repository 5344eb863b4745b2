"""A cluster in memory that stops at will: the operator's own parts, at ports without a network.

Observer, resolver, decisions, executor, reconciler and event router are the real ones. The API
server, the engine and the store behind them are in memory, so a test can end the process before or
after each of its writes, lose an answer, or keep news from it, thousands of times in a few seconds.
Everything about the real API server is tested against a real one.
"""

from __future__ import annotations

import asyncio
import atexit
import itertools
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, cast

from api_in_memory import ApiInMemory
from builders.plans import make_plan
from operator_in_memory import OperatorInMemory
from scripted_engine import ScriptedEngine

from fulcrum_operator.engines.slots import Slots
from fulcrum_operator.kubernetes.errors import Conflict, Unavailable
from fulcrum_operator.kubernetes.fence import Fence
from fulcrum_operator.kubernetes.object_cache import Body, Key
from fulcrum_operator.lifecycle import Limits, decide
from fulcrum_operator.lifecycle.observation import NoReport, Observed, Report, read_job
from fulcrum_operator.resources.names import (
    API_VERSION,
    COMPRESSION_JOB,
    CONFIG_MAP,
    EVENT,
    MODEL_CHANNEL,
    MODEL_PROMOTION,
    RUN_FINALIZER,
    Kind,
)
from fulcrum_operator.resources.times import write_time
from fulcrum_operator.runtime.event_router import WATCHED
from fulcrum_pipelines.contract import Plan, digest_of, to_json
from fulcrum_pipelines.errors import FulcrumError
from fulcrum_pipelines.gates import Verdict
from fulcrum_pipelines.gates.verdict import Outcome
from fulcrum_pipelines.states import RunStatus
from fulcrum_pipelines.storage.store import Store

UID = "0a1b2c3d-4e5f-6789-abcd-ef0123456789"
KEY: Key = ("team", "mnist")
START = datetime(2026, 11, 25, 9, 0, tzinfo=UTC)
LIMITS = Limits(version="0.1", poll_s=2.0, cancel_limit_s=60.0, engine_silence_s=300.0)
DIGEST = "sha256:" + "c" * 64
SPEC = make_plan().spec
RETRY_S = 1.0
"""After how long a reconcile that failed is tried again."""


def job_body(status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """Return a CompressionJob as the API server gives it; `spec` fields replace the default's."""
    fields = SPEC.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return {
        "apiVersion": API_VERSION,
        "kind": "CompressionJob",
        "metadata": {
            "name": KEY[1],
            "namespace": KEY[0],
            "uid": UID,
            "generation": 1,
            "resourceVersion": "1",
            "creationTimestamp": write_time(START),
        },
        "spec": {name: value for name, value in {**fields, **spec}.items() if value is not None},
        "status": status or {},
    }


def make_verdict(outcome: Outcome) -> Verdict:
    """Return a verdict without gates, as far as a job's life depends on one."""
    return Verdict(
        outcome=outcome,
        reasons=(f"accuracy: {outcome}",),
        gates=(),
        rules="test",
        run="run",
        evidence=DIGEST,
        policy=DIGEST,
        candidate_model=DIGEST,
    )


class KilledError(BaseException):
    """The process ends here; nothing in it can catch that."""


@dataclass(frozen=True)
class Fault:
    """What happens at one of the moments before and after the writes of a turn.

    Attributes:
        kind: Whether the process ends, or the call fails; one that has had its effect loses only
            its answer.
        moment: Which: 0 is before the first write, 1 after it, 2 before the second.
    """

    kind: Literal["kill", "fail"]
    moment: int


@dataclass(frozen=True)
class Look:
    """What was seen of the job, and the object that it was seen in."""

    seen: Observed
    body: Body


class World:
    """One job, its operator, and all that they meet.

    Args:
        manifest: The job.
        outcomes: How the run of each attempt ends; the last counts for all further ones.
        verdict: What the gates say of a run that succeeds; None if its evidence is unreadable.
        report: What becomes of the report.
        promotes: What becomes of a promotion.
        why: The reason that it gives.
        channel: Whether the channel is there.

    Attributes:
        now: The time.
        deaf: Whether the watches bring the operator no news.
        written: Each status that was written, in order.
    """

    def __init__(
        self,
        manifest: dict[str, Any],
        *,
        outcomes: tuple[RunStatus, ...] = (RunStatus("Succeeded"),),
        verdict: Outcome | None = "Pass",
        report: Report | NoReport | None = None,
        promotes: str = "Promoted",
        why: str = "",
        channel: bool = True,
    ) -> None:
        self.outcomes = outcomes
        self.report = report or Report("file:///store/report.html")
        self.promotes, self.why = promotes, why
        self.now = START
        self.deaf = False
        self.written: list[dict[str, Any]] = []
        self.fence = Fence(clock=lambda: 0.0)
        self.fence.open_until(1.0)
        self.api = ApiInMemory(self._watched, self._touched, self.fence)
        self.store = _new_store(self)
        self.engine = ScriptedEngine(self.store, verdict, self._asked, self._touched)
        self._news: list[tuple[Kind, str, dict[str, Any]]] = []
        self._woken = False
        self._fault: Fault | None = None
        if channel:
            self.add_channel()
        self.api.put(COMPRESSION_JOB, manifest)
        self.restart()

    # --- what is there

    @property
    def exists(self) -> bool:
        """Whether the API server has the job."""
        return self.api.find(COMPRESSION_JOB, KEY[1], KEY[0]) is not None

    @property
    def body(self) -> dict[str, Any]:
        """The job as the API server has it."""
        found = self.api.find(COMPRESSION_JOB, KEY[1], KEY[0])
        assert found is not None, "the job is gone"
        return found

    @property
    def status(self) -> dict[str, Any]:
        """The job's status as it is written."""
        return cast("dict[str, Any]", self.body.get("status", {}))

    @property
    def runs(self) -> dict[str, RunStatus]:
        """How each run stands, by key; tests change it."""
        return self.engine.states

    @property
    def submitted(self) -> list[str]:
        """Keys of the runs that were started."""
        return self.engine.submitted

    @property
    def cancelled(self) -> list[str]:
        """Keys of the runs that were cancelled."""
        return self.engine.cancelled

    @property
    def announced(self) -> list[str]:
        """The reasons of all Events, in order."""
        return [event["reason"] for event in self.api.of(EVENT)]

    @property
    def asked(self) -> list[str]:
        """Names of the promotions that the job asked for."""
        return [each["metadata"]["name"] for each in self.api.of(MODEL_PROMOTION)]

    # --- what the operator does

    def restart(self) -> None:
        """Start the operator: its memory holds what the API server lists, and nothing else."""
        self._operator = OperatorInMemory(
            self.api,
            self.store,
            self.engine,
            LIMITS,
            wake=self._wake,
            now=lambda: self.now,
            make_report=lambda store, status: self.report,
        )
        self._news.clear()

    @property
    def slots(self) -> Slots:
        """The engine's places, of which there is one."""
        return self._operator.slots

    def turn(self, fault: Fault | None = None) -> float | None:
        """Let the operator do all that it can do now.

        Args:
            fault: What goes wrong meanwhile. A process that ends is started again.

        Returns:
            Seconds until the next look; None if only an event can change anything.
        """
        self.hear()
        return self._act(self._operator.reconciler.reconcile(KEY), fault)

    def step(self) -> float | None:
        """Let the operator look and decide once, and do that; return as `turn` does."""
        look = self.look()
        return None if look is None else self.perform(look)

    def look(self) -> Look | None:
        """Return what the operator sees now, or None if it knows of no job."""
        self.hear()
        return LOOP.run_until_complete(self._look())

    async def _look(self) -> Look | None:
        body = self._operator.jobs.get(KEY)
        if body is None:
            return None
        if "apiVersion" not in body:  # memory has only little of a finished job
            body = await self.api.get(COMPRESSION_JOB, KEY[1], KEY[0])
        return Look(await self._operator.observer.observe(read_job(body)), body)

    def perform(self, look: Look) -> float | None:
        """Let the operator decide from `look`, which may be old, and do that."""
        return self._act(self._perform(look), None)

    async def _perform(self, look: Look) -> float | None:
        decision = decide(look.seen, self.now, LIMITS)
        try:
            await self._operator.executor.perform(look.seen.job, look.body, decision.actions)
        except Conflict:
            return 0.0
        return 0.0 if decision.actions and decision.after_s is None else decision.after_s

    def _act(self, work: Coroutine[Any, Any, float | None], fault: Fault | None) -> float | None:
        self._fault = fault or self._fault
        try:
            return LOOP.run_until_complete(work)
        except KilledError:
            self.restart()
            return 0.0
        except FulcrumError:
            return RETRY_S
        finally:
            if fault is not None:  # else it waits for a later turn of `settle`
                self._fault = None

    def hear(self) -> bool:
        """Let the watches bring their news, and return whether any concerns the job."""
        self._woken = False
        if not self.deaf:
            while self._news:
                kind, event, body = self._news.pop(0)
                self._operator.inbox.take(kind.plural, event, body)
        return self._woken

    def settle(self, turns: int = 60, fault: Fault | None = None) -> None:
        """Let time pass and act until nothing is left to do; `fault` comes in whichever turn."""
        self.deaf, self._fault = False, fault
        for _ in range(turns):
            after_s = self.turn()
            self.finish_runs()
            if not self.exists or (after_s is None and not self.hear()):
                self._fault = None
                return
            self.now += timedelta(seconds=max(after_s or 0.0, 0.1))
        raise AssertionError(f"the job does not come to rest: {self.status}")

    # --- what others do

    def finish_runs(self) -> None:
        """Let runs and promotions that are going end as they are to end."""
        for number, (key, run) in enumerate(self.runs.items()):
            if not run.finished:
                self.runs[key] = self.outcomes[min(number, len(self.outcomes) - 1)]
        for promotion in self.api.of(MODEL_PROMOTION):
            if "status" not in promotion:
                status = {"phase": self.promotes, "reason": self.why, "message": "because"}
                self._edit(MODEL_PROMOTION, promotion["metadata"]["name"], {"status": status})

    def add_channel(self) -> None:
        """Create the channel that jobs promote to."""
        metadata = {"name": "production", "namespace": KEY[0], "uid": "channel"}
        self.api.put(MODEL_CHANNEL, {"apiVersion": API_VERSION, "metadata": metadata, "spec": {}})

    def delete(self) -> None:
        """Ask for the deletion of the job."""
        self.api.remove(COMPRESSION_JOB, KEY[1], KEY[0], write_time(self.now))

    def change(self, **spec: Any) -> None:
        """Edit the specification as a user would; None removes a field."""
        self.patch({"spec": spec})

    def patch(self, patch: dict[str, Any]) -> None:
        """Merge `patch` into the job."""
        self._edit(COMPRESSION_JOB, KEY[1], patch)

    def _edit(self, kind: Kind, name: str, patch: dict[str, Any]) -> None:
        self.api.edit(kind, name, KEY[0], patch)

    def lose_snapshot(self) -> dict[str, Any]:
        """Delete the ConfigMap with what the job started with, and return it."""
        (snapshot,) = self.api.of(CONFIG_MAP)
        self.api.remove(CONFIG_MAP, snapshot["metadata"]["name"], KEY[0])
        return snapshot

    # --- observations through the ports

    def _wake(self, plural: str, key: Key) -> None:
        self._woken |= (plural, key) == (COMPRESSION_JOB.plural, KEY)

    def _watched(self, kind: Kind, event: str, body: dict[str, Any]) -> None:
        if kind in WATCHED:
            self._news.append((kind, event, body))
        if kind == COMPRESSION_JOB and event == "MODIFIED":
            status = body.get("status")
            if status and (not self.written or status != self.written[-1]):
                self.written.append(status)

    def _asked(self, key: str, plan: Plan) -> None:
        """Hold a submission against what stands written: after a crash only that is left."""
        body = self.body
        status, run = body["status"], body["status"].get("run", {})
        assert run.get("key") == key == plan.run, "submitted under a key that is not written"
        assert run["plan"] == digest_of(to_json(plan)), "submitted a plan that is not written"
        assert status["attempt"] == plan.attempt, "submitted another attempt than is written"
        assert RUN_FINALIZER in body["metadata"].get("finalizers", ()), "submitted unprotected"

    def _touched(self, call: str) -> None:
        """Bring about the fault when its moment has come."""
        if self._fault is None or (self._fault.kind == "fail" and call == "create events"):
            return  # an Event may be lost by a failure, but not by a crash
        if self._fault.moment > 0:
            self._fault = Fault(self._fault.kind, self._fault.moment - 1)
            return
        kind, self._fault = self._fault.kind, None
        raise KilledError if kind == "kill" else Unavailable(f"no answer to {call}")


class _AtOnce(ThreadPoolExecutor):
    """Does work in the thread that asks for it: in memory nothing blocks."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:
            done.set_exception(error)
        return done


LOOP = asyncio.new_event_loop()
"""One for all worlds: making a loop takes longer than most turns."""
LOOP.set_default_executor(_AtOnce(1))
atexit.register(LOOP.close)

_numbers = itertools.count()


def _new_store(owner: World) -> Store:
    """Return an empty store in memory, which is emptied again with its world."""
    store = Store(f"memory://world-{next(_numbers)}/store")
    weakref.finalize(owner, store.delete, "runs")
    return store
