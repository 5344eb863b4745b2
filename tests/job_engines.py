"""The engine `job` as tests call it: each call, or several at once, over a new connection.

A connection belongs to an event loop, and tests run many.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from fulcrum_operator.engines.job.cluster import JobCluster
from fulcrum_operator.engines.job.engine import JobEngine
from fulcrum_operator.kubernetes.api import connect
from fulcrum_operator.kubernetes.credentials import Credentials
from fulcrum_operator.settings import JobEngineSettings
from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.states import RunHandle, RunStatus

IMAGE = "registry.example/fulcrum-components:1"


def settings_for(**changes: Any) -> JobEngineSettings:
    """Return settings of the engine."""
    return JobEngineSettings(
        **{"enabled": True, "image": IMAGE, "termination_grace_s": 1, **changes}
    )


@dataclass
class ConnectingEngine:
    """Connects for its first call at a time, and disconnects after the last."""

    engine: JobEngine
    cluster: JobCluster
    credentials: Credentials
    _users: int = 0
    _connection: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def submit(self, key: str, plan: Plan) -> RunHandle:
        """As of the port."""
        async with self._connected():
            return await self.engine.submit(key, plan)

    async def find(self, key: str) -> tuple[RunHandle, ...]:
        """As of the port."""
        async with self._connected():
            return await self.engine.find(key)

    async def runs(self) -> tuple[RunHandle, ...]:
        """As of the port."""
        async with self._connected():
            return await self.engine.runs()

    async def status(self, handle: RunHandle) -> RunStatus:
        """As of the port."""
        async with self._connected():
            return await self.engine.status(handle)

    async def cancel(self, handle: RunHandle) -> None:
        """As of the port."""
        async with self._connected():
            await self.engine.cancel(handle)

    async def set_deadline(self, handle: RunHandle, seconds: int | None) -> None:
        """As of the port."""
        async with self._connected():
            await self.engine.set_deadline(handle, seconds)

    async def forget(self, handle: RunHandle) -> None:
        """As of the port."""
        async with self._connected():
            await self.engine.forget(handle)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[None]:
        self._users += 1
        try:
            if self._users == 1:
                kube = await self._connection.enter_async_context(connect(self.credentials))
                self.cluster.kube = kube
            yield
        finally:
            self._users -= 1
            if self._users == 0:
                await self._connection.aclose()
