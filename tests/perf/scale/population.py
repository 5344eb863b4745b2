"""Puts jobs into the API server, many at a time, and looks how they are."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from perf.scale.jobs import NAMESPACE, new_job

from fulcrum_operator.kubernetes.api import Kube, connect
from fulcrum_operator.kubernetes.finding import load_credentials
from fulcrum_operator.kubernetes.retries import CallPolicy
from fulcrum_operator.resources.names import COMPRESSION_JOB

AT_A_TIME = 16
PATIENT = CallPolicy(timeout_s=60.0, deadline_s=180.0)


@dataclass(frozen=True)
class Population:
    """The jobs of the namespace, seen through the API.

    Attributes:
        admin: Credentials of who may create them.
    """

    admin: Path

    def create(self, names: Iterable[str]) -> dict[str, float]:
        """Create a job of each name; return when each was sent, in seconds since 1970."""
        sent: dict[str, float] = {}

        async def one(kube: Kube, name: str) -> None:
            sent[name] = time.time()
            await kube.create(COMPRESSION_JOB, new_job(name))

        asyncio.run(_all(self.admin, names, one))
        return sent

    def phases(self, prefix: str) -> Counter[str]:
        """Return how many of the jobs whose names begin so ended in each phase, or not yet."""

        async def count() -> Counter[str]:
            found: Counter[str] = Counter()
            async with _connected(self.admin) as kube:
                async for body in kube.list(COMPRESSION_JOB, NAMESPACE):
                    if body["metadata"]["name"].startswith(prefix):
                        status = body.get("status") or {}
                        found[status["phase"] if "completionTime" in status else "unfinished"] += 1
            return found

        return asyncio.run(count())


@asynccontextmanager
async def _connected(kubeconfig: Path) -> AsyncIterator[Kube]:
    credentials = load_credentials(kubeconfig)
    async with connect(credentials, policy=PATIENT, connections=AT_A_TIME) as kube:
        yield kube


async def _all(
    kubeconfig: Path, names: Iterable[str], work: Callable[[Kube, str], Awaitable[None]]
) -> None:
    """Do `work` for all names, some at a time, in their order."""
    waiting = iter(names)
    async with _connected(kubeconfig) as kube, asyncio.TaskGroup() as group:

        async def worker() -> None:
            for name in waiting:
                await work(kube, name)

        for _ in range(AT_A_TIME):
            group.create_task(worker())
