"""The operator, put together: the only place where its parts meet.

It starts in an order in which nothing acts on half a picture: memory is filled from lists, then
watches keep it fresh, then the Lease decides whether this process acts on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import fulcrum_pipelines
from fulcrum_operator.controllers.effects import EffectProbe, ignore_effect
from fulcrum_operator.controllers.executor import Executor
from fulcrum_operator.controllers.job_memory import JobMemory
from fulcrum_operator.controllers.job_reconciler import JobReconciler
from fulcrum_operator.controllers.metrics_restore import Restorer
from fulcrum_operator.controllers.observer import Observer
from fulcrum_operator.controllers.orphan_sweep import Sweeper
from fulcrum_operator.controllers.promotion_reconciler import PromotionReconciler
from fulcrum_operator.controllers.resolver import Templates
from fulcrum_operator.controllers.schedule_reconciler import ScheduleReconciler
from fulcrum_operator.engines.factory import default_engines
from fulcrum_operator.engines.placement import Site
from fulcrum_operator.engines.slots import EngineDesk
from fulcrum_operator.kubernetes.api import Kube, connect
from fulcrum_operator.kubernetes.credentials import Credentials
from fulcrum_operator.kubernetes.election import DEFAULT_TIMING, Elector, Timing, unique_identity
from fulcrum_operator.kubernetes.errors import ApiError, Forbidden, NotFound
from fulcrum_operator.kubernetes.events import Events, Happening
from fulcrum_operator.kubernetes.fence import Fence
from fulcrum_operator.kubernetes.finding import load_credentials
from fulcrum_operator.kubernetes.object_cache import Body, Key, phases
from fulcrum_operator.kubernetes.retries import CallPolicy
from fulcrum_operator.kubernetes.watching import Watches
from fulcrum_operator.lifecycle import Limits
from fulcrum_operator.lifecycle.observation import Job
from fulcrum_operator.metrics import Metrics, Sources, model_label
from fulcrum_operator.metrics.families import MODEL
from fulcrum_operator.resources.names import (
    COMPRESSION_JOB,
    COMPRESSION_SCHEDULE,
    GROUP,
    MODEL_CHANNEL,
    MODEL_PROMOTION,
)
from fulcrum_operator.resources.times import read_time, seconds_since
from fulcrum_operator.runtime.event_router import WATCHED, Inbox
from fulcrum_operator.runtime.health import HealthServer, LoopMonitor, Probe, liveness, readiness
from fulcrum_operator.runtime.kopf_handlers import make_registry, make_settings
from fulcrum_operator.runtime.kopf_runner import follow
from fulcrum_operator.runtime.workers import Dispatcher, Item
from fulcrum_operator.scheduling.figures import count, last_successes_s
from fulcrum_operator.settings import Settings
from fulcrum_pipelines.errors import FulcrumError, InfrastructureError, UserError
from fulcrum_pipelines.gates.assessment import Assessment
from fulcrum_pipelines.storage.store import Store

THREADS = 32
"""For engines and stores, which block; the default of asyncio is six on two cores."""
GRACE_S = 10.0
"""For reconciles that are going when the operator is asked to stop."""

log = logging.getLogger(__name__)


def limits_from(settings: Settings) -> Limits:
    """Return the bounds of a job's life."""
    given = settings.reconcile
    return Limits(
        version=fulcrum_pipelines.__version__,
        poll_s=given.poll_s,
        first_backoff_s=given.first_backoff_s,
        longest_backoff_s=given.longest_backoff_s,
        evidence_retries=given.evidence_retries,
        engine_silence_s=given.engine_silence_s,
        cancel_limit_s=given.cancel_limit_s,
    )


@dataclass
class Operator:
    """One process of the operator.

    Attributes:
        settings: Of the operator.
        make_engines: Returns those that are set up, by name.
        probe: Called after every effect.
        started: Called with the port of the metrics once all is going.
    """

    settings: Settings
    make_engines: Callable[[Settings, Store, Kube], Mapping[str, EngineDesk]] = default_engines
    probe: EffectProbe = ignore_effect
    started: Callable[[int], None] = lambda port: log.info("metrics on port %d", port)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set or a signal comes.

        Raises:
            FulcrumError: It cannot start: no API server, no kinds, no rights, no store.
        """
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, "blocking"))
        credentials = load_credentials(self.settings.kubeconfig)
        metrics = Metrics(self.settings)
        api = self.settings.api
        policy = CallPolicy(timeout_s=api.request_timeout_s, retries=api.retries)
        async with connect(
            credentials,
            policy=policy,
            connections=api.connections,
            user_agent="fulcrum-operator",
            on_call=metrics.api_call,
            on_retry=metrics.api_retry,
        ) as kube:
            await _Running(self, credentials, metrics, kube).run(stop)


class _Running:
    """The parts of an operator that is connected."""

    def __init__(
        self, operator: Operator, credentials: Credentials, metrics: Metrics, kube: Kube
    ) -> None:
        settings = self.settings = operator.settings
        self.operator = operator
        self.credentials = credentials
        self.metrics = metrics
        self.kube = kube
        self.store = Store(_url(settings.store))
        self.fence = Fence()
        self.fenced = kube.behind(self.fence)
        self.engines = operator.make_engines(settings, self.store, self.fenced)
        identity = settings.identity or unique_identity()
        self.events = Events(self.fenced, identity, metrics.event)
        self.elector = Elector(
            kube,
            settings.namespace,
            settings.election.lease_name,
            identity,
            fence=self.fence,
            timing=Timing(
                lease_s=settings.election.lease_duration_s,
                renew_s=settings.election.renew_every_s,
                retry_s=min(DEFAULT_TIMING.retry_s, settings.election.renew_every_s),
                margin_s=settings.election.margin_s,
            ),
            on_change=self._leadership_changed,
        )
        self.watches = Watches(tuple(kind.plural for kind in WATCHED))
        self.memory = JobMemory(self.engines, lambda key: self._add(COMPRESSION_JOB.plural, key))
        self.inbox = Inbox(self._add, self.memory)
        self.restorer = Restorer(self.store, metrics, at_most=MODEL.at_most)
        self.monitor = LoopMonitor(metrics.loop_lag)

    async def run(self, stop: asyncio.Event) -> None:
        self.dispatcher = await self._make_dispatcher()
        health = await self._serve()
        self.monitor.start()
        try:
            self.operator.started(health.port)
            await self._fill_memory()
            restored = asyncio.create_task(asyncio.to_thread(self.restorer.restore))
            async with self._background(stop):
                try:
                    await self._watch(stop)
                finally:
                    await self.dispatcher.drain(GRACE_S)
            await restored
        finally:
            await self.monitor.stop()
            await health.stop()

    async def _serve(self) -> HealthServer:
        """Memory takes a while to fill, in which probes are answered already."""
        self.metrics.attach(
            Sources(
                jobs=lambda: phases(self.inbox.objects[COMPRESSION_JOB.plural]),
                queue_depth=lambda: len(self.dispatcher.queue),
                watch_ages_s=lambda: {
                    f"{plural}.{GROUP}": age_s for plural, age_s in self.watches.ages_s().items()
                },
                schedules=lambda: count(self.inbox.objects[COMPRESSION_SCHEDULE.plural]),
                last_successes_s=lambda: last_successes_s(
                    self.inbox.objects[COMPRESSION_SCHEDULE.plural]
                ),
            )
        )
        http = self.settings.http
        health = HealthServer(http, self.metrics, self._live, self._ready)
        try:
            await health.start()
        except OSError as error:
            message = f"http: cannot listen at {http.host}:{http.port}: {error.strerror}"
            raise UserError(message, where="settings") from error
        return health

    async def _make_dispatcher(self) -> Dispatcher:
        objects, settings = self.inbox.objects, self.settings
        observer = Observer(
            kube=self.kube,
            store=self.store,
            engines=self.engines,
            memory=self.memory,
            templates=Templates({each.kind.kind: each for each in objects.values()}),
            promotions=objects[MODEL_PROMOTION.plural],
            channels=objects[MODEL_CHANNEL.plural],
            source_root=_url(settings.source_root),
            site=Site(tuple(self.engines), settings.pools),
        )
        executor = Executor(
            kube=self.fenced,
            jobs=objects[COMPRESSION_JOB.plural],
            promotions=objects[MODEL_PROMOTION.plural],
            engines=self.engines,
            memory=self.memory,
            observer=observer,
            events=self.events,
            user=await self.kube.whoami(),
            wake=self._add,
            probe=self.operator.probe,
        )
        jobs = JobReconciler(
            kube=self.fenced,
            jobs=objects[COMPRESSION_JOB.plural],
            memory=self.memory,
            observer=observer,
            executor=executor,
            limits=limits_from(settings),
            judged=self._judged,
            attempted=self.metrics.attempt_ended,
            ended=self._ended,
        )
        promotions = PromotionReconciler(
            kube=self.fenced,
            store=self.store,
            channels=objects[MODEL_CHANNEL.plural],
            promotions=objects[MODEL_PROMOTION.plural],
            events=self.events,
            decided=self.metrics.promotion,
            probe=self.operator.probe,
        )
        schedules = ScheduleReconciler(
            kube=self.fenced,
            schedules=objects[COMPRESSION_SCHEDULE.plural],
            jobs=objects[COMPRESSION_JOB.plural],
            channels=objects[MODEL_CHANNEL.plural],
            events=self.events,
            decided=self.metrics.slot,
            probe=self.operator.probe,
        )
        return Dispatcher(
            settings.reconcile,
            self.metrics,
            leads=self.elector.leading.is_set,
            reconcilers={
                COMPRESSION_JOB.plural: jobs.reconcile,
                MODEL_PROMOTION.plural: promotions.reconcile,
                MODEL_CHANNEL.plural: promotions.reconcile_channel,
                COMPRESSION_SCHEDULE.plural: schedules.reconcile,
            },
            troubled=self._troubled,
        )

    async def _fill_memory(self) -> None:
        for kind in WATCHED:
            objects = self.inbox.objects[kind.plural]
            for namespace in self.settings.namespaces or ("",):
                try:
                    async for body in self.kube.list(kind, namespace if kind.namespaced else ""):
                        self.inbox.take(kind.plural, None, body)
                        if kind == COMPRESSION_JOB:
                            self.restorer.note(body)
                except NotFound as error:
                    message = f"the API server has no {kind.plural}: apply crds/ first"
                    raise InfrastructureError(message, where=self.credentials.server) from error
                except Forbidden as error:
                    message = f"{error}; operator/deploy/rbac.yaml has the rights that it needs"
                    raise InfrastructureError(message, where=self.credentials.server) from error
            objects.warm = True

    @contextlib.asynccontextmanager
    async def _background(self, stop: asyncio.Event) -> AsyncIterator[None]:
        """Do all that goes on beside the watches, and end in good order.

        None of it ends by itself, so where one does, what is left is no operator, and ends too.
        """
        sweeper = Sweeper(self.inbox.objects[COMPRESSION_JOB.plural], self.engines)
        works = {
            "election": self.elector.run(),
            "reconciles": self.dispatcher.run(),
            "sweep": self._while_leading(sweeper),
            "resync": self._resync(),
        }
        tasks = [asyncio.create_task(work, name=name) for name, work in works.items()]
        for task in tasks:
            task.add_done_callback(lambda _: stop.set())
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            await self.elector.release()
        for end in ends:
            if isinstance(end, Exception):
                raise end

    async def _watch(self, stop: asyncio.Event) -> None:
        """Let kopf watch until it is asked to stop.

        Raises:
            InfrastructureError: It gave up. Nothing is lost: the next leader begins with the lists.
        """
        registry = make_registry(self.inbox, self.credentials, self.watches, self.metrics.api_call)
        settings = make_settings(self.settings.api)
        try:
            await follow(registry, settings, self.settings.namespaces, stop)
        except Exception as error:
            message = f"the watches broke, so this process ends: {type(error).__name__}: {error}"
            raise InfrastructureError(message, where=self.credentials.server) from error

    async def _while_leading(self, sweeper: Sweeper) -> None:
        while True:
            await asyncio.sleep(self.settings.reconcile.sweep_every_s)
            if self.elector.leading.is_set():
                await sweeper.sweep()

    async def _resync(self) -> None:
        while True:
            await asyncio.sleep(self.settings.reconcile.resync_s)
            for plural, key in self.inbox.everything():
                self._add(plural, key)

    # --- callbacks between the parts

    def _add(self, plural: str, key: Key) -> None:
        self.dispatcher.add(plural, key)

    def _leadership_changed(self, leads: bool) -> None:
        self.metrics.lease_moved(leads)
        if leads:
            for plural, key in self.inbox.everything():
                self._add(plural, key)

    async def _troubled(self, item: Item, error: FulcrumError) -> None:
        """Record an Event about an error that only a person can fix."""
        plural, key = item
        body = self.inbox.objects[plural].get(key)
        retryable = isinstance(error, ApiError) and error.retryable
        if body is not None and "apiVersion" in body and not retryable:
            happening = Happening("ReconcileError", str(error), str(error), "Warning")
            await self.events.record(dict(body), happening)

    def _judged(self, job: Job, found: Assessment) -> None:
        channel = job.spec.promotion.channel if job.spec.promotion else ""
        model = model_label(job.labels, channel)
        self.metrics.observe_evidence(model, found.evidence, found.verdict)

    def _ended(self, body: Body) -> None:
        status = body["status"]
        start, end = status.get("startTime"), read_time(status["completionTime"])
        seconds = seconds_since(start, end) if start else None
        reason = (status.get("outcome") or {}).get("reason", "")
        self.metrics.job_ended(status["phase"], reason, seconds)

    def _live(self) -> Probe:
        return liveness(
            asyncio.get_running_loop().time(),
            self.monitor.last_beat,
            self.watches.idle_s(),
            self.dispatcher.longest_s(),
            self.settings,
        )

    def _ready(self) -> Probe:
        warm = {
            plural: objects.warm and self.watches.is_open(plural)
            for plural, objects in self.inbox.objects.items()
        }
        return readiness(
            warm, self.elector.leading.is_set(), self.elector.seen_age_s, self.settings
        )


def _url(address: str) -> str:
    """Return `address` as a URL; a path is of this machine."""
    return address if "://" in address else f"file://{Path(address).absolute()}"


def run_operator(settings: Settings) -> None:
    """Run an operator until a signal ends it."""

    async def work() -> None:
        await Operator(settings).run(asyncio.Event())

    started_s = time.monotonic()
    asyncio.run(work())
    log.info("stopped after %.0f s", time.monotonic() - started_s)
