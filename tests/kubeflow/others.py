"""Actions of people and other programs on a server and its cluster that the engine never takes."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fulcrum_operator.engines.kubeflow.client import KubeflowClient
from fulcrum_operator.engines.kubeflow.pods import EXECUTOR, NODE_NAME
from fulcrum_operator.kubernetes.api import Kube
from fulcrum_operator.resources.names import Kind

INDEX = re.compile(r"\(\d+\)$")


class OthersClient(KubeflowClient):
    """A client that also deletes pipelines and experiments, and reads the details of runs."""

    async def delete_pipeline(self, name: str, namespace: str) -> None:
        """Delete the pipeline of that name with its versions, if it is there."""
        if (found := await self.pipeline_id(name, namespace)) is not None:
            function = self._pipelines.pipeline_service_delete_pipeline
            # A client's `True` would be sent as Python spells it.
            await self._find("delete pipeline", function, found, cascade="true")

    async def delete_experiment(self, name: str, namespace: str) -> None:
        """Delete the experiment of that name, if it is there; its runs stay."""
        if (found := await self.experiment_id(name, namespace)) is not None:
            function = self._experiments.experiment_service_delete_experiment
            await self._find("delete experiment", function, found)

    async def pod_nodes(self, run_id: str) -> tuple[list[str], list[str]]:
        """Return the names of the nodes of a run that are pods: of drivers, and of stages."""
        found = await self._find("get run", self._runs.run_service_get_run, run_id)
        tasks = [] if found is None or found.run_details is None else found.run_details.task_details
        states = [(each.display_name, each.state or "") for each in tasks or ()]
        return pods_of(states)


def pods_of(nodes: Iterable[tuple[str, str]]) -> tuple[list[str], list[str]]:
    """Return which nodes of a run are pods, of drivers and of stages, by their names and states.

    The API lists a node that may be repeated beside its tries, which have an index; without
    repeats the node itself is the pod. One that was skipped, or has no state, never was one.
    """
    tries: dict[str, list[str]] = defaultdict(list)
    for name, state in nodes:
        if state not in ("", "SKIPPED"):
            tries[INDEX.sub("", name)].append(name)
    found: tuple[list[str], list[str]] = ([], [])
    for base, names in tries.items():
        if base.endswith("-driver") or base == "executor":
            indexed = [name for name in names if INDEX.search(name)]
            found[base == "executor"].extend(indexed or names)
    return found


@dataclass(frozen=True)
class StagePod:
    """The pod of a stage, or of several.

    Attributes:
        name: Its own.
        task: Of the pipeline.
        runs: Whether it does.
    """

    name: str
    task: str
    runs: bool


def stage_pods(pods: Iterable[dict[str, Any]] | None) -> list[StagePod]:
    """Return the pods of stages, without Kubeflow's own and those that are being deleted."""
    found = []
    for pod in pods or ():
        metadata = pod["metadata"]
        task = EXECUTOR.search((metadata.get("annotations") or {}).get(NODE_NAME, ""))
        if task is not None and "deletionTimestamp" not in metadata:
            runs = (pod.get("status") or {}).get("phase") == "Running"
            found.append(StagePod(metadata["name"], task[1], runs))
    return found


async def evict(kube: Kube, name: str, namespace: str) -> None:
    """Evict a pod, as draining its node would."""
    eviction = Kind("", "v1", f"pods/{name}/eviction", "Eviction")
    metadata = {"name": name, "namespace": namespace}
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
    await kube.create(eviction, body)
