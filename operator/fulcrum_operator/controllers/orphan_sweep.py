"""Runs whose job is gone or over, stopped and forgotten.

A job lets go of a run that cannot be stopped in bounded time, and an operator that was down while
jobs were deleted never saw them go. This compares the engines' runs with the existing jobs.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fulcrum_operator.engines.slots import EngineDesk
from fulcrum_operator.kubernetes.object_cache import Body, Objects, is_finished
from fulcrum_pipelines.errors import FulcrumError
from fulcrum_pipelines.states import RunHandle

KEY = re.compile(r".+-(?P<uid>[0-9a-f-]{12})-(?P<attempt>[0-9]+)")
"""A write-ahead key: the job's name, the beginning of its uid, the attempt."""

log = logging.getLogger(__name__)


def leftovers(handles: Iterable[RunHandle], jobs: Iterable[Body]) -> dict[RunHandle, bool]:
    """Return the runs that no job wants, each with whether its job is gone altogether.

    Wanted are the run that an unfinished job's status names, and all later attempts: those may
    have been started since the job was read.
    """
    known: dict[str, Body] = {body["metadata"]["uid"][:12]: body for body in jobs}
    found: dict[RunHandle, bool] = {}
    for handle in handles:
        parts = KEY.fullmatch(handle.key)
        if parts is None:
            continue
        job = known.get(parts["uid"])
        if job is None:
            found[handle] = True
        elif is_finished(job) or not _wants(job.get("status") or {}, handle.key, parts["attempt"]):
            found[handle] = False
    return found


def _wants(status: Mapping[str, Any], key: str, attempt: str) -> bool:
    named = (status.get("run") or {}).get("key") == key
    return named or int(attempt) > status.get("attempt", 0)


@dataclass
class Sweeper:
    """Looks for leftovers now and then.

    Attributes:
        jobs: All existing jobs.
        engines: Whose runs are looked at.
    """

    jobs: Objects
    engines: Mapping[str, EngineDesk]
    _seen: set[RunHandle] = field(default_factory=set)
    _over: set[RunHandle] = field(default_factory=set)  # ended, and their jobs are there still

    async def sweep(self) -> None:
        """Stop what was left over at the last sweep too; once is not enough to be sure."""
        found: set[RunHandle] = set()
        for name, desk in self.engines.items():
            try:
                runs = leftovers(await desk.engine.runs(), self.jobs)
                found |= set(runs)
                for handle, gone in runs.items():
                    if handle in self._seen and (gone or handle not in self._over):
                        await self._stop(desk, handle, gone=gone)
            except FulcrumError as error:
                log.warning("engine %s cannot be swept: %s", name, error)
        self._seen = found
        self._over &= found

    async def _stop(self, desk: EngineDesk, handle: RunHandle, *, gone: bool) -> None:
        if not (await desk.engine.status(handle)).finished:
            log.warning("run %s has no job that wants it and is stopped", handle.key)
            await desk.engine.cancel(handle)
        if not (await desk.engine.status(handle)).finished:
            return
        if gone:
            await desk.engine.forget(handle)
        else:
            self._over.add(handle)
