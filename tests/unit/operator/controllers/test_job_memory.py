"""Nothing is remembered of a job that has ended or was deleted, whenever that happened."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from api_in_memory import ApiInMemory
from fake_engine import FakeEngine
from job_world import START, UID, job_body
from operator_in_memory import OperatorInMemory
from stand_in import work

from fulcrum_operator.controllers.embedded import LIMITS
from fulcrum_operator.metrics import Metrics
from fulcrum_operator.resources.names import COMPRESSION_JOB, Kind
from fulcrum_operator.runtime.workers import Dispatcher
from fulcrum_operator.settings import Reconcile, Settings
from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.errors import FulcrumError, InfrastructureError
from fulcrum_pipelines.states import RunHandle, RunStatus
from fulcrum_pipelines.storage.store import Store

JOBS = COMPRESSION_JOB.plural
KEY = ("team", "succeed")


class Api(ApiInMemory):
    """Calls `before` for a read as `ApiInMemory` calls `touched` for a write."""

    def __init__(self, before: Callable[[str], None], **rest: Any) -> None:
        super().__init__(touched=before, **rest)
        self.before = before

    async def get(self, kind: Kind, name: str, namespace: str = "") -> dict[str, Any]:
        self.before(f"get {kind.plural}")
        return await super().get(kind, name, namespace)


class Engine(FakeEngine):
    """Calls `before` likewise, and takes no run if `full`."""

    def __init__(self, store: Store, before: Callable[[str], None], *, full: bool) -> None:
        super().__init__(store, work)
        self.before, self.full = before, full

    async def submit(self, key: str, plan: Plan) -> RunHandle:
        self.before("submit")
        if self.full:
            raise InfrastructureError("no room", where="engine")
        return await super().submit(key, plan)

    async def find(self, key: str) -> tuple[RunHandle, ...]:
        self.before("find")
        return await super().find(key)

    async def status(self, handle: RunHandle) -> RunStatus:
        self.before("status")
        return await super().status(handle)


class Desk:
    """The parts of an operator that remember jobs, and one job that is deleted at a call.

    Args:
        store: Of the runs.
        at: The call at which the job is deleted, without waiting for its finalizer.
        full: Whether the engine refuses all runs.
    """

    def __init__(self, store: Store, at: str = "", *, full: bool = False, **spec: Any) -> None:
        self.at, self.now, self.reached = at, START, False
        self.api = Api(self.call, watched=self.notify)
        self.engine = Engine(store, self.call, full=full)
        operator = OperatorInMemory(
            self.api,
            store,
            self.engine,
            LIMITS,
            now=self.clock,
        )
        self.slots, self.memory, self.inbox = operator.slots, operator.memory, operator.inbox
        self.reconciler = operator.reconciler
        self.leads = True
        self.dispatcher = Dispatcher(
            Reconcile(workers=1, first_backoff_s=0.05),
            Metrics(Settings()),
            leads=lambda: self.leads,
            reconcilers={JOBS: self.reconciler.reconcile},
            troubled=self.troubled,
        )
        self.body = job_body(**spec)
        self.body["metadata"] |= {"name": KEY[1], "uid": UID}

    def clock(self) -> datetime:
        return self.now

    async def troubled(self, item: object, error: FulcrumError) -> None:
        """Ignore it; it has no reader here."""

    def call(self, name: str) -> None:
        if name == self.at and not self.reached:
            self.reached = True
            self.delete()

    def notify(self, kind: Kind, event: str, body: dict[str, Any]) -> None:
        """Pass an event on as the watch does."""
        if kind.plural in self.inbox.objects:
            self.inbox.take(kind.plural, event, body)

    def delete(self) -> None:
        """Delete the job at once, as if a user had removed its finalizer."""
        namespace, name = KEY
        if self.api.find(COMPRESSION_JOB, name, namespace) is not None:
            self.api.edit(COMPRESSION_JOB, name, namespace, {"metadata": {"finalizers": []}})
            self.api.remove(COMPRESSION_JOB, name, namespace)

    async def live(self, turns: int = 40, *, restarts: bool = False) -> None:
        """Reconcile the job until nothing is left to do; with `restarts` each time from nothing."""
        self.api.put(COMPRESSION_JOB, self.body)
        for _ in range(turns):
            if restarts:
                self.memory.forget(UID)
            try:
                after_s = await self.reconciler.reconcile(KEY)
            except FulcrumError:
                after_s = 1.0
            if after_s is None:
                return
            self.now += timedelta(seconds=after_s)

    def remembered(self) -> list[str]:
        """Return where the uid or the key of the job is in the memory of the operator's parts."""
        parts = {
            "reconciler": self.reconciler,
            "inbox": self.inbox,
            "dispatcher": self.dispatcher,
        }
        left_out = (self.api, self.engine, self)
        seen = {id(each) for each in left_out}
        return [path for name, part in parts.items() for path in mentions(part, name, seen)]


def mentions(value: object, path: str, seen: set[int]) -> Iterator[str]:
    """Yield the paths in `value` at which the uid or the key of the job is."""
    if value == KEY or (isinstance(value, str) and UID in value):
        yield path
        return
    if id(value) in seen or isinstance(value, (str, bytes, type)):
        return
    seen.add(id(value))
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from mentions(key, f"{path} key {key!r}", seen)
            yield from mentions(each, f"{path}[{key!r}]", seen)
    elif isinstance(value, (list, tuple, set, frozenset)) or type(value).__name__ == "deque":
        for each in cast("list[object]", value):
            yield from mentions(each, f"{path} item", seen)
    elif type(value).__module__.startswith("fulcrum"):
        for name, each in vars(value).items() if hasattr(value, "__dict__") else ():
            yield from mentions(each, f"{path}.{name}", seen)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


@pytest.mark.parametrize("restarts", [False, True], ids=["", "after restarts"])
@pytest.mark.parametrize(
    ("at", "full"),
    [
        ("create configmaps", False),
        ("get configmaps", False),
        ("patch compressionjobs", False),
        ("find", False),
        ("submit", False),
        ("submit", True),
        ("status", False),
    ],
)
def test_job_deleted_during_a_call_is_forgotten(
    store: Store, at: str, full: bool, restarts: bool
) -> None:
    """The answer to a call comes after the deletion, and would be remembered, or take a slot."""
    desk = Desk(store, at, full=full)
    asyncio.run(desk.live(restarts=restarts))
    assert desk.reached == (restarts or at != "get configmaps")
    desk.delete()
    assert desk.remembered() == []
    assert desk.slots.take("another", START, ("team", "another"))


def test_unfinished_job_is_remembered(store: Store) -> None:
    """Otherwise the other tests here would find nothing to forget."""
    desk = Desk(store, full=True)
    asyncio.run(desk.live(turns=5))
    entry = desk.memory._entries[UID]
    assert entry.parsed is not None
    assert entry.snapshot is not None
    assert "no room" in entry.submit_error
    assert not desk.slots.take("another", START, ("team", "another"))
    found = " ".join(desk.remembered())
    assert all(name in found for name in ("parsed", "slots._holders", "_bodies", "_entries"))


def test_ended_job_is_forgotten_but_for_its_phase(store: Store) -> None:
    desk = Desk(store)
    asyncio.run(desk.live())
    assert desk.api.of(COMPRESSION_JOB)[0]["status"]["phase"] == "Succeeded"
    assert UID not in desk.memory._entries
    assert desk.slots.take("another", START, ("team", "another"))
    desk.delete()
    assert desk.remembered() == []


def test_failures_of_a_deleted_job_are_forgotten_by_a_standby(store: Store) -> None:
    """A process that leads no more lets its failing objects go, and a namesake starts afresh."""
    desk = Desk(store)

    async def scenario() -> None:
        desk.api.put(COMPRESSION_JOB, desk.body)
        desk.dispatcher.reconcilers = {JOBS: failing}
        desk.dispatcher.add(JOBS, KEY)
        working = asyncio.create_task(desk.dispatcher.run())
        async with asyncio.timeout(5):
            while not desk.dispatcher._failures:
                await asyncio.sleep(0.005)
            desk.leads = False
            desk.delete()
            while desk.remembered():
                await asyncio.sleep(0.005)
        working.cancel()

    async def failing(key: object) -> float | None:
        raise InfrastructureError("no answer", where="store")

    asyncio.run(scenario())
