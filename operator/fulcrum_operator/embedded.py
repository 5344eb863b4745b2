"""Drives one job to its end without an operator: attempts, the job's deadline, cancellation.

Whoever waits for a run keeps its deadline and decides about another attempt, whatever the engine.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from fulcrum_operator.ports import Engine, RunHandle, RunStatus
from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.errors import InfrastructureError

POLL_S = 0.3
SILENCE_LIMIT_S = 60.0  # an engine or a store that is silent for longer is given up
FIRST_BACKOFF_S = 1.0
LONGEST_BACKOFF_S = 60.0


@dataclass(frozen=True)
class Watcher:
    """What wants to know how a job goes.

    Attributes:
        started: Called with the plan of an attempt, and whether it was going already.
        polled: Called with the plan whenever the run was looked at.
        retrying: Called with the failure of an attempt that is followed by another.
    """

    started: Callable[[Plan, bool], None]
    polled: Callable[[Plan], None]
    retrying: Callable[[Plan, RunStatus], None]


async def run_job(engine: Engine, plan: Plan, watcher: Watcher) -> tuple[Plan, RunStatus]:
    """Run `plan`, again after infrastructure faults, and return the last attempt and its end.

    An attempt that is going already is joined instead. Cancelling the task cancels the run and
    returns only when nothing of it is left.

    Raises:
        InfrastructureError: The engine failed.
    """
    limit_s = plan.spec.active_deadline_seconds
    deadline_s = time.monotonic() + limit_s if limit_s is not None else float("inf")
    plan, handle = await _going(engine, plan) or (plan, None)
    while True:
        watcher.started(plan, handle is not None)
        if handle is None:
            handle = await _start(engine, plan)
        status = await _wait(engine, handle, plan, deadline_s, watcher)
        retry = status.state == "Failed" and status.failure_class == "infrastructure"
        if not retry or plan.attempt > plan.spec.backoff_limit:
            return plan, status
        watcher.retrying(plan, status)
        await asyncio.sleep(min(FIRST_BACKOFF_S * 2 ** (plan.attempt - 1), LONGEST_BACKOFF_S))
        plan, handle = _attempt(plan, plan.attempt + 1), None


def _attempt(plan: Plan, attempt: int) -> Plan:
    return plan.model_copy(update={"attempt": attempt})


async def _going(engine: Engine, plan: Plan) -> tuple[Plan, RunHandle] | None:
    """Return the attempt of this job that somebody else started and that is still going."""
    for attempt in range(1, plan.spec.backoff_limit + 2):
        candidate = _attempt(plan, attempt)
        for handle in await engine.find(candidate.run):
            if not (await engine.status(handle)).finished:
                return candidate, handle
    return None


async def _start(engine: Engine, plan: Plan) -> RunHandle:
    for finished in await engine.find(plan.run):
        await engine.forget(finished)
    submission = asyncio.ensure_future(engine.submit(plan.run, plan))
    try:
        return await asyncio.shield(submission)
    except asyncio.CancelledError:
        await engine.cancel(await submission)
        raise


async def _wait(
    engine: Engine, handle: RunHandle, plan: Plan, deadline_s: float, watcher: Watcher
) -> RunStatus:
    """Wait for the end of a run; past `deadline_s` on the monotonic clock it is stopped."""
    heard_s = time.monotonic()
    try:
        while True:
            status = await _ask(engine, handle)
            watcher.polled(plan)
            if status.finished:
                return status
            now_s = time.monotonic()
            if status.state != "Unknown":
                heard_s = now_s
            if now_s >= deadline_s:
                await engine.cancel(handle)
                return await _over_deadline(engine, handle, plan)
            if now_s - heard_s > SILENCE_LIMIT_S:
                message = (
                    f"nothing was heard of the run for {SILENCE_LIMIT_S:g} s: {status.message}"
                )
                return RunStatus("Failed", "EngineSilent", message, "internal")
            await asyncio.sleep(min(POLL_S, max(deadline_s - now_s, 0.0)))
    except asyncio.CancelledError:
        await engine.cancel(handle)
        raise


async def _ask(engine: Engine, handle: RunHandle) -> RunStatus:
    try:
        return await engine.status(handle)
    except InfrastructureError as error:
        return RunStatus("Unknown", "NoAnswer", str(error), "infrastructure")


async def _over_deadline(engine: Engine, handle: RunHandle, plan: Plan) -> RunStatus:
    status = await _ask(engine, handle)
    if status.state == "Succeeded":  # in the last moment
        return status
    limit_s = plan.spec.active_deadline_seconds
    message = f"the job ran longer than spec.activeDeadlineSeconds, {limit_s} s, and was stopped"
    return RunStatus("Failed", "DeadlineExceeded", message, "deadline")
