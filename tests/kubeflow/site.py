"""The site of the suite for real servers: a real one, or the stand-in, which tests the suite here.

A test that wants a run of the real stages names its job after the stand-in's behaviour in their
place (`succeed.digits`): the shipped pipeline runs its stages under every job name.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fulcrum_operator.engines.kubeflow.cluster import ClusterView
from fulcrum_operator.engines.kubeflow.engine import KubeflowEngine
from fulcrum_operator.engines.kubeflow.uploading import shipped
from fulcrum_operator.kubernetes.api import Kube, connect
from fulcrum_operator.kubernetes.credentials import Credentials
from fulcrum_operator.settings import Kubeflow
from fulcrum_operator.settings.pools import Pool
from fulcrum_pipelines.states import RunHandle, RunStatus
from fulcrum_pipelines.storage.store import Store
from kubeflow.others import OthersClient
from kubeflow.server import Server

NAME = "fulcrum-e2e"
"""Prefix of the names of pipelines, experiments and folders."""


NEEDED = ("KFP_URL", "S3", "IMAGE")


def is_real(environment: Mapping[str, str]) -> bool:
    """Return whether the environment names a real server.

    Raises:
        pytest.UsageError: It names a part of one.
    """
    missing = [name for name in NEEDED if not environment.get(name)]
    if missing and len(missing) < len(NEEDED):
        raise pytest.UsageError(f"a real Kubeflow Pipelines needs {', '.join(missing)} too")
    return not missing


@dataclass(frozen=True)
class Seen:
    """An engine that may look at its cluster, and a hand in that cluster."""

    engine: KubeflowEngine
    kube: Kube
    cluster: ClusterView


@dataclass
class Site:
    """A server, the bucket and, if it may be seen, the cluster.

    Attributes:
        settings: Of the engine; its pipeline is this session's own.
        root: URL of the folder in which stores are made; pods reach it too.
        stand_in_file: The compiled pipeline that does what the name of its job says.
        credentials: Of the cluster; None where it cannot be seen.
        unseen: Why it cannot.
        server: The stand-in; None where the server is a real one.
        patience_s: For the end of one run.
        look_s: Between two looks at a run.
        kept: Whose experiments stay until the end of the session.
    """

    settings: Kubeflow
    root: str
    stand_in_file: Path
    credentials: Credentials | None = None
    unseen: str = ""
    server: Server | None = None
    patience_s: float = 60.0
    look_s: float = 0.02
    kept: list[Kubeflow] = field(default_factory=list)
    _pipelines: set[str] = field(default_factory=set)
    _experiments: list[Kubeflow] = field(default_factory=list)
    _stores: list[str] = field(default_factory=list)
    _counted: set[str] = field(default_factory=set)

    def own_settings(self) -> Kubeflow:
        """Return settings with a new experiment, so that no other runs are listed."""
        made = self.settings.model_copy(update={"experiment": f"{NAME}-{uuid.uuid4().hex[:12]}"})
        self._experiments.append(made)
        return made

    def own_store(self) -> Store:
        """Return an empty store."""
        folder = uuid.uuid4().hex
        self._stores.append(folder)
        return Store(f"{self.root}/{folder}")

    def engine(self, store: Store, settings: Kubeflow) -> KubeflowEngine:
        """Return the engine with the pipeline that does what the name of its job says."""
        return KubeflowEngine(store, settings, {}, compiled=self._stand_in)

    def _stand_in(self, tasks: tuple[str, ...]) -> str:
        return self.stand_in_file.read_text()

    @asynccontextmanager
    async def seeing(
        self,
        store: Store,
        settings: Kubeflow,
        pools: Mapping[str, Pool] | None = None,
        *,
        whole: bool = False,
    ) -> AsyncIterator[Seen]:
        """Give an engine that may look at the cluster.

        Args:
            store: Of its runs.
            settings: Its own.
            pools: Of nodes.
            whole: Run the stages, and not the pipeline that stands in for them.
        """
        assert self.credentials is not None
        async with connect(self.credentials) as kube:
            cluster = ClusterView(kube)
            compiled = shipped if whole else self._stand_in
            engine = KubeflowEngine(
                store, settings, pools or {}, cluster=cluster, compiled=compiled
            )
            yield Seen(engine, kube, cluster)

    async def ended(self, engine: KubeflowEngine, handle: RunHandle) -> RunStatus:
        """Wait for the end of a run, and return its final status."""
        async with asyncio.timeout(self.patience_s):
            while not (status := await engine.status(handle)).finished:
                await asyncio.sleep(self.look_s)
        return status

    async def started(self, store: Store, run: str) -> None:
        """Wait until the first stage of `run` says that it works."""
        async with asyncio.timeout(self.patience_s):
            while await asyncio.to_thread(store.stage_state, run, "evaluate") is None:
                await asyncio.sleep(self.look_s)

    async def passes(self, seconds: int) -> None:
        """Let seconds of the server's time pass after a run was made.

        Of those that a real server was seen to stop after 1 and 4 s, the history had no CANCELING.
        """
        if self.server is None:
            await asyncio.sleep(seconds)
        else:
            self.server.overwrites_canceling = seconds in (1, 4)
            await asyncio.sleep(seconds * self.server.start_s)

    def pod_namespace(self, settings: Kubeflow) -> str:
        """Return the namespace where the pods of runs are."""
        return settings.namespace or settings.pod_namespace

    # --- runs of pipelines that are not the engine's

    async def run(
        self, settings: Kubeflow, file: Path, name: str, parameters: dict[str, Any]
    ) -> str:
        """Upload a compiled pipeline, run it, and return the state in which it ended."""
        client, namespace, run_id = OthersClient(settings), settings.namespace, str(uuid.uuid4())
        self._pipelines.add(name)
        await client.upload_pipeline(str(file), name, namespace)
        pipeline = await client.pipeline_id(name, namespace)
        assert pipeline is not None
        version = await client.version_id(pipeline, name)
        await client.create_experiment(settings.experiment, namespace)
        experiment = await client.experiment_id(settings.experiment, namespace)
        assert version is not None
        assert experiment is not None
        await client.create_run(
            run_id,
            name,
            version=(pipeline, version),
            experiment_id=experiment,
            parameters=parameters,
            service_account=settings.service_account,
        )
        async with asyncio.timeout(self.patience_s):
            while (run := await client.run(run_id)) is None or run.course != "Ended":
                await asyncio.sleep(self.look_s)
        return run.state

    # --- what is counted and removed

    async def count(self) -> tuple[int, int]:
        """Return how many pods there were of runs since the last count: all, and drivers."""
        drivers = stages = 0
        for settings, experiment in await self._ours():
            client = OthersClient(settings)
            runs = await client.runs(namespace=settings.namespace, experiment_id=experiment)
            for run_id in {run.run_id for run in runs} - self._counted:
                found = await client.pod_nodes(run_id)
                drivers, stages = drivers + len(found[0]), stages + len(found[1])
                self._counted.add(run_id)
        return drivers + stages, drivers

    async def remove(self) -> None:
        """Remove all experiments with their runs but for those that are kept."""
        for settings, experiment in await self._ours():
            if settings in self.kept:
                continue
            client = OthersClient(settings)
            for run in await client.runs(namespace=settings.namespace, experiment_id=experiment):
                await client.delete_run(run.run_id)
            await client.delete_experiment(settings.experiment, settings.namespace)
        self._experiments = list(self.kept)

    async def close(self) -> None:
        """Remove everything that was made."""
        self.kept.clear()
        client, root = OthersClient(self.settings), Store(self.root)
        try:
            await self.remove()
            for name in {self.settings.pipeline, *self._pipelines}:
                await client.delete_pipeline(name, self.settings.namespace)
        finally:
            for folder in self._stores:
                await asyncio.to_thread(root.delete, folder)
                await asyncio.to_thread(root.delete, f"{folder}-inputs")

    async def _ours(self) -> list[tuple[Kubeflow, str]]:
        client = OthersClient(self.settings)
        found = []
        for settings in self._experiments:
            experiment = await client.experiment_id(settings.experiment, settings.namespace)
            if experiment is not None:
                found.append((settings, experiment))
        return found
