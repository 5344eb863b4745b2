"""Drive one job to its end without a cluster, by the decisions of the operator.

`lifecycle.decide` says what comes next, as on a cluster: which failures are tried again, how often
and after what pause, when the time is up, and how a run is judged. Here are only the parts that the
API server, a watch and the sweeper have there: the job is a value in memory, an interruption is its
deletion, and a run that is given up is stopped at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import fulcrum_pipelines
from fulcrum_operator.controllers.run_observer import at_engine, in_store
from fulcrum_operator.engines.protocol import Engine
from fulcrum_operator.lifecycle import Limits, decide
from fulcrum_operator.lifecycle.actions import (
    Action,
    AddFinalizer,
    Announce,
    Cancel,
    RemoveFinalizer,
    SetDeadline,
    Submit,
    WriteStatus,
)
from fulcrum_operator.lifecycle.observation import Job, Observed, Snapshot
from fulcrum_operator.lifecycle.running import EVIDENCE, budgets, failure_kind
from fulcrum_operator.lifecycle.starting import plan_of
from fulcrum_operator.resources.compressionjob import AttemptStatus, CompressionJobStatus
from fulcrum_operator.resources.times import write_time
from fulcrum_pipelines.contract import Plan, canonical_json, digest_of, to_json
from fulcrum_pipelines.errors import FulcrumError, InfrastructureError
from fulcrum_pipelines.gates.assessment import Assessment
from fulcrum_pipelines.states import RunHandle, StageState
from fulcrum_pipelines.storage.store import Store

LIMITS = Limits(version=fulcrum_pipelines.__version__, poll_s=0.3)
"""The operator's defaults, but a person who waits sees progress sooner."""
NOTED = ("Retrying", "DuplicateRun", "OrphanedRun")
"""Reasons of events that a user sees during the job; the result reports the end."""


@dataclass(frozen=True)
class Watcher:
    """Callbacks that follow the progress of a job.

    Attributes:
        started: Called with the plan of an attempt, and whether it was going already.
        polled: Called with the plan and the stages whenever the run was looked at.
        noted: Called with a sentence about something that needs attention.
    """

    started: Callable[[Plan, bool], None] = lambda plan, joined: None
    polled: Callable[[Plan, tuple[StageState, ...]], None] = lambda plan, states: None
    noted: Callable[[str], None] = lambda text: None


@dataclass(frozen=True)
class Ended:
    """How a job ended.

    Attributes:
        plan: Its last attempt.
        status: What its status would be on a cluster; `outcome` is set.
        assessment: What the gates say of the last attempt, of evidence and a candidate that were
            read from the store; None if there is no verdict.
    """

    plan: Plan
    status: CompressionJobStatus
    assessment: Assessment | None


async def run_job(
    engine: Engine,
    store: Store,
    plan: Plan,
    watcher: Watcher | None = None,
    limits: Limits = LIMITS,
) -> Ended:
    """Run `plan`, with more attempts as the operator would, and return how it ended.

    An attempt that is going already is joined instead. Cancelling the task cancels the run and
    returns only when nothing of it is left.

    Args:
        engine: Runs the plan.
        store: Holds its results.
        plan: The first attempt.
        watcher: Follows its progress.
        limits: Bounds of the job's life; plans keep the version of `plan`.

    Raises:
        InfrastructureError: The engine does not take a run; or it is silent for longer than
            `limits.engine_silence_s`, or the store that the results are in.
    """
    limits = replace(limits, version=plan.fulcrum_version)
    local = _LocalJob(engine, store, plan, watcher or Watcher(), limits)
    await local.join()
    try:
        while not local.is_over:
            await asyncio.sleep(await local.turn())
    except asyncio.CancelledError:
        await local.stop()
        raise
    except InfrastructureError:
        await local.give_up()
        raise
    return local.ended


class _LocalJob:
    """A job in memory: what is looked at, and what is done, of what a decision asks for."""

    def __init__(
        self, engine: Engine, store: Store, plan: Plan, watcher: Watcher, limits: Limits
    ) -> None:
        self._engine, self._store = engine, store
        self._watcher, self._limits = watcher, limits
        self._plan = plan
        spec = plan.spec.model_dump(mode="json", by_alias=True, exclude_none=True)
        self._snapshot = Snapshot(plan.spec, digest_of(canonical_json(spec)))
        self._started_at, self._started_s = datetime.now(UTC), time.monotonic()
        self._job = Job(
            name=plan.name,
            namespace=plan.namespace,
            uid=plan.uid,
            generation=1,
            resource_version="",
            created_at=self._started_at,
            deleted_at=None,
            finalized=False,
            labels={},
            spec=plan.spec.model_copy(update={"promotion": None}),  # channels are a cluster's
            status=CompressionJobStatus(),
            remeasure=plan.remeasure,
        )
        self._assessment: Assessment | None = None
        self._silent_since_s: float | None = None  # on the monotonic clock
        self._last_note = ""

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do."""
        if self._job.deleted_at is not None:
            return not self._job.finalized
        return self._job.status.completion_time is not None

    @property
    def ended(self) -> Ended:
        """How it ended."""
        judged = self._job.status.verdict is not None
        return Ended(self._plan, self._job.status, self._assessment if judged else None)

    async def join(self) -> None:
        """Go on with the attempt that another process started and that is still going."""
        failures: dict[str, int] = {}
        for attempt in range(1, sum(budgets(self._job, self._limits).values()) + 2):
            plan = plan_of(self._job, self._snapshot, attempt, self._limits.version)
            for handle in await self._engine.find(plan.run):
                status = await self._engine.status(handle)
                if not status.finished:
                    self._go_on(plan, failures)
                    return
                succeeded = status.state == "Succeeded"  # but could not be judged
                kind = EVIDENCE if succeeded else failure_kind(status)
                failures[kind] = failures.get(kind, 0) + 1

    def _go_on(self, plan: Plan, failures: dict[str, int]) -> None:
        now = write_time(self._now())
        run = AttemptStatus(
            key=plan.run, plan=digest_of(to_json(plan)), engine=plan.spec.engine, start_time=now
        )
        changes = {
            "attempt": plan.attempt, "run": run, "active_since": now, "failures": failures,
        }  # fmt: skip
        status = self._job.status.model_copy(update=changes)
        self._job = replace(self._job, status=status, finalized=True)
        self._plan = plan
        self._watcher.started(plan, True)

    async def turn(self) -> float:
        """Look, decide and act once; return when to do so again, in seconds."""
        seen = await self._look()
        decision = decide(seen, self._now(), self._limits)
        for action in decision.actions:
            await self._perform(action)
        if decision.after_s is not None:
            return decision.after_s
        return 0.0 if decision.actions else self._limits.poll_s

    async def stop(self) -> None:
        """End as a job that is deleted: its run is stopped first."""
        self._job = replace(self._job, deleted_at=self._now(), finalized=True)
        while not self.is_over:
            await asyncio.sleep(await self.turn())

    async def give_up(self) -> None:
        """Stop what may be going, as far as the engine answers."""
        if (run := self._job.status.run) is not None:
            await self._sweep(run.key)

    def _now(self) -> datetime:
        """Return the time; a clock that is set meanwhile moves no deadline."""
        return self._started_at + timedelta(seconds=time.monotonic() - self._started_s)

    # --- observe

    async def _look(self) -> Observed:
        job = self._job
        seen, on_file = Observed(job, snapshot=self._snapshot), job.status.run
        if on_file is not None and (job.finalized or job.status.verdict is None):
            seen = await at_engine(seen, self._engine, on_file.key)
            if seen.engine_error and on_file.reference is None:
                self._bear_silence(seen.engine_error)
        decided = job.status.verdict is not None or job.status.outcome is not None
        if (run := seen.run) is None or decided or job.deleted_at is not None:
            return seen
        try:
            seen = await asyncio.to_thread(in_store, seen, self._store, self._snapshot, run)
        except InfrastructureError as error:
            if run.finished:
                self._bear_silence(str(error))
            else:  # its stages wait for the store too
                self._note_once(f"{error}; the run goes on")
            return seen
        self._silent_since_s, self._last_note = None, ""
        if isinstance(seen.assessment, Assessment):
            self._assessment = seen.assessment
        if seen.stages:
            self._watcher.polled(self._plan, seen.stages)
        return seen

    def _bear_silence(self, why: str) -> None:
        """Ask again where the operator would for as long as it takes: here a person waits.

        Raises:
            InfrastructureError: Nothing was heard for `engine_silence_s`.
        """
        now_s = time.monotonic()
        self._silent_since_s = self._silent_since_s or now_s
        if now_s - self._silent_since_s > self._limits.engine_silence_s:
            raise InfrastructureError(why)
        self._note_once(f"{why}; it is asked again")

    def _note_once(self, text: str) -> None:
        if text != self._last_note:
            self._last_note = text
            self._watcher.noted(text)

    # --- act

    async def _perform(self, action: Action) -> None:
        match action:
            case WriteStatus():
                await self._write(action.status)
            case AddFinalizer() | RemoveFinalizer():
                self._job = replace(self._job, finalized=isinstance(action, AddFinalizer))
            case Submit():
                await self._submit(action.plan)
            case Cancel():
                await self._cancel(action.handle)
            case SetDeadline():
                await self._engine.set_deadline(action.handle, action.seconds)
            case Announce() if action.reason in NOTED:
                self._watcher.noted(action.message)

    async def _write(self, status: CompressionJobStatus) -> None:
        before, after = self._job.status.run, status.run
        self._job = replace(self._job, status=status)
        if before is not None and after is None:
            await self._sweep(before.key)
        elif before is None and after is not None:
            # The key of a job without a cluster is its content's, so an earlier job had it too.
            for finished in await self._engine.find(after.key):
                await self._engine.forget(finished)
            self._plan = plan_of(self._job, self._snapshot, status.attempt, self._limits.version)
            self._watcher.started(self._plan, False)

    async def _submit(self, plan: Plan) -> None:
        submission = asyncio.ensure_future(self._engine.submit(plan.run, plan))
        try:
            await asyncio.shield(submission)
        except asyncio.CancelledError:  # it may start yet, and must be found to be stopped
            with contextlib.suppress(FulcrumError):
                await submission
            raise

    async def _sweep(self, key: str) -> None:
        """Stop a run that is given up: one that nothing is heard of may still be going."""
        with contextlib.suppress(InfrastructureError):
            for handle in await self._engine.find(key):
                await self._engine.cancel(handle)

    async def _cancel(self, handle: RunHandle) -> None:
        with contextlib.suppress(InfrastructureError):  # the next look shows whether it still runs
            await self._engine.cancel(handle)
