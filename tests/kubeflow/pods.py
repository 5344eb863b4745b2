"""The pods of a run, as a cluster has them and as the API shows them.

A run of the stand-in does all its work in one pod. Names, roles and nodes of Workflows are those of
a real server's, and so is the second DAG node that a stage gets whose pod was deleted.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from fulcrum_operator.engines.kubeflow.pods import NODE_NAME

ROLE = "pipelines.kubeflow.org/runtime-role"
TASK = "compute"
REPEATS = 2
"""How often a stage is run again whose pod was deleted: the limit in Kubeflow's own ConfigMap."""
STATES = {"Pending": "PENDING", "Running": "RUNNING", "Succeeded": "SUCCEEDED", "Failed": "FAILED"}
NO_NODE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.",
}


@dataclass
class Pod:
    """A pod.

    Attributes:
        run_id: Of its run.
        name: Its own.
        path: Of its node in the Workflow.
        role: `driver` or `launcher`.
        phase: Its phase.
        gone: Whether it was deleted.
    """

    run_id: str
    name: str
    path: str
    role: str
    phase: str = "Running"
    gone: bool = False
    uid: str = field(default_factory=lambda: str(uuid.uuid4()))

    def to_json(self) -> dict[str, Any]:
        """Return it as a Kubernetes API server does."""
        return {
            "metadata": {
                "name": self.name,
                "uid": self.uid,
                "labels": {"pipeline/runid": self.run_id},
                "annotations": {NODE_NAME: self.path, ROLE: self.role},
            },
            "status": {
                "phase": self.phase,
                **({"conditions": [NO_NODE]} if self.phase == "Pending" else {}),
            },
        }


def drivers(run_id: str, workflow: str) -> list[Pod]:
    """Return the pods that Kubeflow runs before the one that does the work."""
    paths = {
        f"{workflow}-system-dag-driver-1": f"{workflow}(0).root-driver(0)",
        f"{workflow}-system-container-driver-2": f"{workflow}(0).root(0).{TASK}-driver(0)",
    }
    return [Pod(run_id, name, path, "driver", "Succeeded") for name, path in paths.items()]


def executor(run_id: str, workflow: str, number: int) -> Pod:
    """Return the pod that does the work for the `number`th time, from 0."""
    path = f"{workflow}(0).root(0).{TASK}({number}).executor(0)"
    return Pod(run_id, f"{workflow}-system-container-impl-{number + 3}", path, "launcher")


def task_details(pods: Sequence[Pod]) -> list[dict[str, Any]]:
    """Return the API's details of a run: its nodes, without any order, and no artifacts."""
    return [
        {"run_id": each.run_id, "task_id": str(uuid.uuid4()), "display_name": name, "state": state}
        for each in pods
        for name, state in _nodes(each)
    ]


def _nodes(pod: Pod) -> Iterator[tuple[str, str]]:
    """Yield the node of a pod, and the one that repeats it, which has no pod."""
    name = pod.path.rpartition(".")[2]
    state = "FAILED" if pod.gone else STATES[pod.phase]
    yield name, state
    yield name.partition("(")[0], state
