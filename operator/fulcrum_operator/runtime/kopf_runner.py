"""Runs kopf until one of its tasks ends, and then ends the others.

kopf's own runner also waits for all other tasks in the loop: seconds for a scraper of our metrics
and, if a watch failed, without end, since it cancels watches together with the tasks that these
wait for when they are cancelled. An operator that neither works nor ends is the worst of all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

import kopf

from fulcrum_operator.kopf_internals import watch_tasks

GRACE_S = 5.0
"""For tasks that are cancelled. kopf's own, for the workers of a watch, is 2 s."""


async def follow(
    registry: kopf.OperatorRegistry,
    settings: kopf.OperatorSettings,
    namespaces: Sequence[str],
    stop: asyncio.Event,
) -> None:
    """Watch until `stop` is set or a signal comes.

    Args:
        registry: The handlers.
        settings: kopf's.
        namespaces: Of the objects; empty for the whole cluster.
        stop: Ends it.

    Raises:
        Exception: What kopf gave up with.
    """
    tasks = await kopf.spawn_tasks(
        registry=registry,
        settings=settings,
        clusterwide=not namespaces,
        namespaces=namespaces,
        standalone=True,
        stop_flag=stop,
    )
    await run_together(tasks)


async def run_together(tasks: Collection[asyncio.Task[None]], grace_s: float = GRACE_S) -> None:
    """Wait until one of kopf's `tasks` ends, and end the others within `grace_s`, twice.

    Raises:
        Exception: What the one ended with.
    """
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _end(tasks, grace_s)
        await _end(watch_tasks(), grace_s)
    for task in done:
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error


async def _end(tasks: Collection[asyncio.Task[None]], grace_s: float) -> None:
    left = [task for task in tasks if not task.done()]
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=grace_s)
