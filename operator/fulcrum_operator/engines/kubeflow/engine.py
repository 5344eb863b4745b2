"""Runs plans in Kubeflow Pipelines: each key at most once, even if answers are lost.

Before the server is asked for a run, the request is on file; an answer that leaves open whether
the run was made is then never followed by a second request, but by looking for the run. One that
does not turn up is given up after a while, and its attempt with it.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from weakref import WeakValueDictionary

from fulcrum_operator.engines.kubeflow.api_errors import KubeflowError
from fulcrum_operator.engines.kubeflow.client import KubeflowClient
from fulcrum_operator.engines.kubeflow.cluster import ClusterView
from fulcrum_operator.engines.kubeflow.following import Follower
from fulcrum_operator.engines.kubeflow.parameters import parameters
from fulcrum_operator.engines.kubeflow.runs import Run
from fulcrum_operator.engines.kubeflow.submission import Submission, Submissions
from fulcrum_operator.engines.kubeflow.uploading import Compiled, Uploads, shipped
from fulcrum_operator.engines.placement import beyond_kubeflow, place
from fulcrum_operator.engines.protocol import RunActiveError
from fulcrum_operator.resources.times import write_time
from fulcrum_operator.settings import Kubeflow
from fulcrum_operator.settings.pools import Pool
from fulcrum_pipelines.compiled import tasks_of
from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.states import RunHandle, RunStatus
from fulcrum_pipelines.storage.store import Store
from fulcrum_pipelines.validation.problem import Problem


class KubeflowEngine:
    """The engine `kubeflow`.

    Args:
        store: Holds plans, records and artifacts; pods reach it by the same URL.
        settings: Of the engine.
        pools: That jobs may name.
        cluster: Pods and Workflows; None without access to a cluster.
        namespaces: Profiles of a multi-user installation; runs are in their jobs' profiles.
        now: The time of day.
        clock: Seconds that only go forward.
        compiled: The pipeline that is uploaded.
    """

    def __init__(
        self,
        store: Store,
        settings: Kubeflow,
        pools: Mapping[str, Pool],
        *,
        cluster: ClusterView | None = None,
        namespaces: tuple[str, ...] = (),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
        compiled: Compiled = shipped,
    ) -> None:
        self._store = store
        self._settings = settings
        self._pools = pools
        self._cluster = cluster
        self._namespaces = namespaces if settings.in_job_namespace else (settings.namespace,)
        self._now = now
        self._clock = clock
        self._client = KubeflowClient(settings)
        self._uploads = Uploads(self._client, settings, compiled)
        self._submissions = Submissions(store)
        self._follower = Follower(store, settings, cluster, now, clock)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._multi_user: bool | None = None
        self._looked_s: dict[str, float] = {}  # when other runs with this name were looked for

    # --- the port

    async def submit(self, key: str, plan: Plan) -> RunHandle:
        """Ask for the run, or return the one that exists, or may exist, already."""
        if key != plan.run:
            message = f"key {key} is not that of the plan, {plan.run}"
            raise ValueError(message)
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            self._looked_s.pop(key, None)
            if found := await self.find(key):
                return found[0]
            return await self._submit(plan)

    async def find(self, key: str) -> tuple[RunHandle, ...]:
        """Return the runs under `key`; one that was asked for counts, even without an answer."""
        on_file = await asyncio.to_thread(self._submissions.read, key)
        others = await self._others(key, on_file)
        if on_file is None:
            return self._handles(sorted(others, key=_age))
        own = await self._client.run(on_file.run_id)
        if own is not None:
            if not on_file.confirmed:
                await self._write(on_file.model_copy(update={"confirmed": True}))
            own = replace(own, name=key, namespace=on_file.namespace)
            return self._handles(sorted([own, *others], key=_age))
        asked_for = self._handle(key, on_file.run_id, on_file.namespace)
        return (asked_for, *self._handles(others))

    async def runs(self) -> tuple[RunHandle, ...]:
        """Return all runs of jobs in our experiment, archived ones too.

        Runs that a person or a recurring run made of our pipeline are none.
        """
        found: list[RunHandle] = []
        for namespace in self._namespaces:
            pipeline = await self._uploads.pipeline(namespace)
            experiment = await self._uploads.experiment(namespace)
            if pipeline is None or experiment is None:
                continue
            try:
                runs = await self._client.runs(namespace=namespace, experiment_id=experiment)
            except KubeflowError as error:
                if error.is_missing:  # the experiment was deleted
                    self._uploads.forget()
                raise
            ours = [run for run in runs if run.pipeline_id == pipeline and run.is_of_a_job]
            found += self._handles(ours)
        return tuple(found)

    async def status(self, handle: RunHandle) -> RunStatus:
        """Return how the run goes, with what its pods wait for; its end is read from the store."""
        on_file = await self._on_file(handle)
        run = await self._client.run(handle.reference)
        if run is None:
            if on_file is None:
                message = f"Kubeflow has no run {handle.reference}"
                return RunStatus("Unknown", "NotFound", message)
            return await self._follower.without_run(on_file, handle.reference)
        status, gone = await self._follower.status(run, on_file, self._pod_namespace(on_file))
        if gone and on_file is not None and not on_file.gone:
            await self._write(on_file.model_copy(update={"gone": True}))
        return status

    async def cancel(self, handle: RunHandle) -> None:
        """Stop the run; that it was we who did so is on file before."""
        on_file = await self._on_file(handle)
        run = await self._client.run(handle.reference)
        if on_file is not None and (run is None or run.course != "Ended"):
            on_file = on_file.model_copy(update={"cancelled": True})
            await self._write(on_file)
        if run is None or run.course == "Ended" or run.state == "CANCELING":
            return
        try:
            accepted = await self._client.terminate_run(run.run_id)
            if accepted and on_file is not None:
                await self._write(on_file.model_copy(update={"terminated": True}))
        except KubeflowError as error:
            if not error.workflow_is_missing:
                raise
            if on_file is not None:  # the server never stops saying RUNNING
                await self._write(on_file.model_copy(update={"gone": True}))
            else:
                await self._client.delete_run(run.run_id)

    async def set_deadline(self, handle: RunHandle, seconds: int | None) -> None:
        """Do nothing: runs have none, the operator keeps the time."""

    async def forget(self, handle: RunHandle) -> None:
        """Delete the run in Kubeflow and what is on file about it."""
        status = await self.status(handle)
        on_file = await self._on_file(handle)
        lost = status.reason == "NotFound" and on_file is None
        if not (status.finished or lost):
            raise RunActiveError("it is still going", where=f"run {handle.key}")
        await self._client.delete_run(handle.reference)
        if on_file is not None:
            await asyncio.to_thread(self._submissions.remove, handle.key)
        self._looked_s.pop(handle.key, None)
        self._follower.forget(handle.reference)

    # --- submitting

    async def _submit(self, plan: Plan) -> RunHandle:
        key, namespace = plan.run, self._settings.namespace
        if self._settings.in_job_namespace:
            namespace = plan.namespace
        placement = place(plan.spec, self._pools)
        problems = [placement] if isinstance(placement, Problem) else beyond_kubeflow(placement)
        if isinstance(placement, Problem) or problems:
            raise UserError("; ".join(map(str, problems)), where=f"job {plan.name}")
        await self._check_mode(namespace)
        tasks = tasks_of(plan.stages, placement.fused(self._settings.fuse))
        version = await self._uploads.ensure_version(namespace, tasks)
        experiment = await self._uploads.ensure_experiment(namespace)
        digest = await asyncio.to_thread(self._prepare, plan)
        run_id = str(uuid.uuid4())
        on_file = Submission(key=key, plan=digest, run_id=run_id, namespace=namespace)
        await self._write(on_file.model_copy(update={"posted_at": write_time(self._now())}))
        try:
            await self._client.create_run(
                run_id,
                key,
                version=version,
                experiment_id=experiment,
                parameters=parameters(
                    plan,
                    placement,
                    store=self._store.url,
                    plan_digest=digest,
                    image=self._settings.image,
                ),
                service_account=self._settings.service_account,
            )
        except KubeflowError as error:
            await self._not_created(on_file, error)
        return self._handle(key, run_id, namespace)

    async def _check_mode(self, namespace: str) -> None:
        """Report a missing namespace here; a multi-user installation's own refusal is unclear."""
        if self._multi_user is None:
            self._multi_user = await self._client.is_multi_user()
        if self._multi_user and not namespace:
            message = (
                "this installation keeps its users apart by namespaces: set kubeflow.namespace "
                "or kubeflow.in_job_namespace"
            )
        elif namespace and not self._multi_user:
            message = (
                "this installation knows no namespaces: leave out kubeflow.namespace and "
                "kubeflow.in_job_namespace"
            )
        else:
            return
        self._multi_user = None  # it may be another one after it is mended
        raise UserError(message, where=self._settings.url)

    async def _not_created(self, on_file: Submission, error: KubeflowError) -> None:
        """Make clear what an error left, and raise it where nothing can have been made."""
        if error.pipeline_is_missing or error.is_missing:
            self._uploads.forget()
        if error.status == 400:
            await self._write(on_file.model_copy(update={"refused": error.text}))
        elif error.pipeline_is_missing or not error.acted:
            await asyncio.to_thread(self._submissions.remove, on_file.key)
            raise error
        elif self._cluster is not None and await self._client.run(on_file.run_id):
            # It is there after all, maybe twice: the server failed after it made a Workflow.
            namespace = self._pod_namespace(on_file)
            await self._cluster.remove_strays(on_file.run_id, namespace, keep=1)

    def _prepare(self, plan: Plan) -> str:
        """Remove the files of an earlier run under this key, and store the plan."""
        self._store.delete(f"runs/{plan.run}")
        digest = self._store.put_record(plan)
        self._store.write_record(f"runs/{plan.run}/plan.json", plan)
        return digest

    # --- finding

    async def _others(self, key: str, on_file: Submission | None) -> list[Run]:
        """Return runs of our pipeline that bear this name and are not the one that we asked for.

        If one is on file, only those that are going matter, and they are looked for seldom.
        """
        known, own = on_file is not None, "" if on_file is None else on_file.run_id
        last_s = self._looked_s.get(key)
        if known and last_s is not None and self._clock() - last_s < self._settings.look_s:
            return []
        going: list[Run] = []
        for namespace in self._namespaces if on_file is None else (on_file.namespace,):
            if (pipeline := await self._uploads.pipeline(namespace)) is None:
                continue
            for run in await self._client.runs(namespace=namespace, name=key):
                other = run.pipeline_id == pipeline and run.is_of_a_job
                if other and run.run_id != own and not (known and run.course == "Ended"):
                    going.append(run)
        if known and not going:
            self._looked_s[key] = self._clock()
        return going

    def _namespace_of(self, on_file: Submission | None) -> str:
        if on_file is not None:
            return on_file.namespace
        return self._settings.namespace

    def _pod_namespace(self, on_file: Submission | None) -> str:
        return self._namespace_of(on_file) or self._settings.pod_namespace

    def _handles(self, runs: list[Run]) -> tuple[RunHandle, ...]:
        return tuple(self._handle(run.name, run.run_id, run.namespace) for run in runs)

    def _handle(self, key: str, run_id: str, namespace: str) -> RunHandle:
        url = self._settings.ui_url.format(run_id=run_id, namespace=namespace)
        return RunHandle(key, run_id, url)

    # --- what is on file

    async def _on_file(self, handle: RunHandle) -> Submission | None:
        """Return what is on file about this very run, not about another with its name."""
        found = await asyncio.to_thread(self._submissions.read, handle.key)
        return found if found is not None and found.run_id == handle.reference else None

    async def _write(self, submission: Submission) -> None:
        await asyncio.to_thread(self._submissions.write, submission)


def _age(run: Run) -> tuple[bool, datetime]:
    epoch = datetime.fromtimestamp(0, UTC)
    return run.created_at is None, run.created_at or epoch
