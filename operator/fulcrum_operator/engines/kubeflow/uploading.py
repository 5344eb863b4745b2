"""Compiled pipelines and the experiment in Kubeflow, made once and then known by their ids.

Each list of tasks is a separate version, named by its content. So all operators that ship the
same pipeline use the same version, no matter which of them uploads it first, and an upgrade never
changes a run that is going.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from fulcrum_operator.engines.kubeflow.api_errors import KubeflowError
from fulcrum_operator.engines.kubeflow.client import KubeflowClient
from fulcrum_operator.settings import Kubeflow
from fulcrum_pipelines.compiled import IR_PATH, pipeline_of
from fulcrum_pipelines.contract import digest_of

DIGITS = 16
"""Of the digest, in the name of a version."""


Compiled = Callable[[tuple[str, ...]], str]
"""Returns the compiled pipeline with these tasks, as YAML."""


@cache
def shipped(tasks: tuple[str, ...]) -> str:
    """Return the pipeline that is shipped, with these tasks."""
    return pipeline_of(IR_PATH.read_text(), tasks)


@dataclass
class Uploads:
    """Pipelines and experiments of runs, by namespace; empty in a single-user installation.

    Attributes:
        client: Of the server.
        settings: Names of pipeline and experiment.
        compiled: What is uploaded.
    """

    client: KubeflowClient
    settings: Kubeflow
    compiled: Compiled = shipped
    _pipelines: dict[str, str] = field(default_factory=dict)
    _versions: dict[tuple[str, str], str] = field(default_factory=dict)  # by namespace and name
    _experiments: dict[str, str] = field(default_factory=dict)

    def version_name(self, tasks: tuple[str, ...]) -> str:
        """Return the name of the version with these tasks."""
        digest = digest_of(self.compiled(tasks).encode()).removeprefix("sha256:")
        return f"{self.settings.pipeline}-{digest[:DIGITS]}"

    async def pipeline(self, namespace: str) -> str | None:
        """Return the id of our pipeline, if it was ever uploaded."""
        if namespace not in self._pipelines:
            found = await self.client.pipeline_id(self.settings.pipeline, namespace)
            if found is None:
                return None
            self._pipelines[namespace] = found
        return self._pipelines[namespace]

    async def experiment(self, namespace: str) -> str | None:
        """Return the id of our experiment, if there is one."""
        if namespace not in self._experiments:
            found = await self.client.experiment_id(self.settings.experiment, namespace)
            if found is None:
                return None
            self._experiments[namespace] = found
        return self._experiments[namespace]

    async def ensure_version(self, namespace: str, tasks: tuple[str, ...]) -> tuple[str, str]:
        """Return the ids of our pipeline and of its version with these tasks."""
        name = self.version_name(tasks)
        pipeline, version = self._pipelines.get(namespace), self._versions.get((namespace, name))
        if pipeline is not None and version is not None:
            return pipeline, version
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "pipeline.yaml"
            path.write_text(self.compiled(tasks))
            try:
                return await self._ensure_version(namespace, name, str(path))
            except KubeflowError:
                self.forget()  # the pipeline that another version was uploaded to may be gone
                raise

    async def _ensure_version(self, namespace: str, name: str, path: str) -> tuple[str, str]:
        pipeline = await self.pipeline(namespace)
        if pipeline is None:
            await self.client.upload_pipeline(path, self.settings.pipeline, namespace)
            pipeline = self._there(await self.pipeline(namespace), "pipeline")
        if (namespace, name) not in self._versions:
            found = await self.client.version_id(pipeline, name)
            if found is None:
                await self.client.upload_version(path, pipeline, name)
                found = self._there(await self.client.version_id(pipeline, name), "version")
            self._versions[namespace, name] = found
        return pipeline, self._versions[namespace, name]

    async def ensure_experiment(self, namespace: str) -> str:
        """Return the id of our experiment."""
        found = await self.experiment(namespace)
        if found is None:
            await self.client.create_experiment(self.settings.experiment, namespace)
            found = self._there(await self.experiment(namespace), "experiment")
        return found

    def forget(self) -> None:
        """Look again for everything: a person may have deleted some of it."""
        self._pipelines.clear()
        self._versions.clear()
        self._experiments.clear()

    def _there(self, found: str | None, what: str) -> str:
        if found is None:
            text = f"the {what} was made, or is there already, and yet is not found"
            raise KubeflowError(text, where=self.settings.url)
        return found
