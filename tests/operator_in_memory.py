"""The operator's own parts, connected as `runtime.app` connects them, at ports in memory."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import cast

from api_in_memory import ApiInMemory

from fulcrum_operator.controllers.executor import Executor
from fulcrum_operator.controllers.job_memory import JobMemory
from fulcrum_operator.controllers.job_reconciler import JobReconciler
from fulcrum_operator.controllers.observer import Observer
from fulcrum_operator.controllers.report_writer import report
from fulcrum_operator.controllers.resolver import Templates
from fulcrum_operator.engines.protocol import Engine
from fulcrum_operator.engines.slots import EngineDesk, Slots
from fulcrum_operator.kubernetes.api import Kube
from fulcrum_operator.kubernetes.events import Events
from fulcrum_operator.kubernetes.object_cache import Key
from fulcrum_operator.lifecycle import Limits
from fulcrum_operator.lifecycle.observation import NoReport, Report
from fulcrum_operator.resources.compressionjob import CompressionJobStatus
from fulcrum_operator.resources.names import COMPRESSION_JOB, MODEL_CHANNEL, MODEL_PROMOTION
from fulcrum_operator.runtime.event_router import WATCHED, Inbox
from fulcrum_pipelines.storage.store import Store


class OperatorInMemory:
    """One process of the operator; its memory holds what the API server lists at its start.

    Args:
        api: The API server.
        store: Where runs leave evidence.
        engine: The engine `process`.
        limits: Bounds of a job's life.
        slots: How many runs the engine takes; one by default.
        wake: Called with the plural and the key of each object that needs a look.
        now: Returns the time.
        make_report: Writes the report of a job.

    Attributes:
        inbox: Takes the events of the watches.
    """

    def __init__(
        self,
        api: ApiInMemory,
        store: Store,
        engine: Engine,
        limits: Limits,
        *,
        slots: Slots | None = None,
        wake: Callable[[str, Key], None] = lambda plural, key: None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        make_report: Callable[[Store, CompressionJobStatus], Report | NoReport] = report,
    ) -> None:
        self.slots = slots or Slots(1)
        desks = {"process": EngineDesk(engine, self.slots)}
        self.memory = JobMemory(desks, lambda key: wake(COMPRESSION_JOB.plural, key))
        self.inbox = Inbox(wake, self.memory)
        objects, kube = self.inbox.objects, cast("Kube", api)
        self.jobs = objects[COMPRESSION_JOB.plural]
        self.observer = Observer(
            kube=kube,
            store=store,
            engines=desks,
            memory=self.memory,
            templates=Templates({each.kind.kind: each for each in objects.values()}),
            promotions=objects[MODEL_PROMOTION.plural],
            channels=objects[MODEL_CHANNEL.plural],
            source_root="file:///sources",
            make_report=make_report,
        )
        self.executor = Executor(
            kube=kube,
            jobs=self.jobs,
            promotions=objects[MODEL_PROMOTION.plural],
            engines=desks,
            memory=self.memory,
            observer=self.observer,
            events=Events(kube, "test"),
            user="operator",
            wake=wake,
        )
        self.reconciler = JobReconciler(
            kube=kube,
            jobs=self.jobs,
            memory=self.memory,
            observer=self.observer,
            executor=self.executor,
            limits=limits,
            judged=lambda job, found: None,
            attempted=lambda kind: None,
            ended=lambda body: None,
            now=now,
        )
        for kind in WATCHED:
            for body in api.of(kind):
                self.inbox.take(kind.plural, None, body)
