"""Read from pods what the API does not show: why a run waits, and what killed a stage.

Their placement and their ends are read from the pods of a run, by its label. An operator that may
not see pods goes without: a run is then only "running".
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from fulcrum_operator.engines.protocol import Trouble
from fulcrum_pipelines.compiled import FUSED, Part, stages_of_task
from fulcrum_pipelines.contract import Plan

RUN_LABEL = "pipeline/runid"
NODE_NAME = "workflows.argoproj.io/node-name"
EXECUTOR = re.compile(r"\.(?P<task>[a-z0-9-]+)(?:\(\d+\))?\.executor(?:\(\d+\))?$")
"""In the name of the Workflow's node of a pod that runs stages; driver pods have none.

Only nodes that Argo may repeat have an index, so most lack one in a cluster whose Argo has no
defaults for templates.
"""
NO_START = frozenset(
    {
        "ImagePullBackOff",
        "ErrImagePull",
        "InvalidImageName",
        "ErrImageNeverPull",
        "CreateContainerConfigError",
        "CreateContainerError",
        "CrashLoopBackOff",
        "RunContainerError",
    }
)
"""Reasons for which a container waits and that do not pass by themselves soon."""
FUSED_STAGES: dict[Part, str] = {"all": "all stages", "compute": "all stages but validate"}
LOST = frozenset({"OOMKilled", "ContainerCannotRun", "StartError"})
"""Reasons of a container's end that are none of its program's."""


def waiting(pods: Iterable[Mapping[str, Any]]) -> Trouble | None:
    """Return why a run waits, if a pod of it does; those of stages come first."""
    found = [trouble for pod in _by_role(pods) if (trouble := _waits(pod)) is not None]
    return found[0] if found else None


def ended(pods: Iterable[Mapping[str, Any]]) -> Trouble | None:
    """Return what ended a run from outside: memory, eviction, a node that went."""
    found = [trouble for pod in _by_role(pods) if (trouble := _died(pod)) is not None]
    return found[0] if found else None


def launcher_failure(
    pods: Iterable[Mapping[str, Any]], plan: Plan, succeeded: Collection[str]
) -> Trouble | None:
    """Return what failed after all work of a pod was done: Kubeflow's launcher.

    It is the pod's first process, stores the artifacts of the UI when the stages' own process has
    ended, and fails the pod if it cannot.

    Args:
        pods: Of the run.
        plan: Of the run.
        succeeded: Its stages that have a result.
    """
    for pod in pods:
        stages = stages_of_task(plan, _task(pod) or "")
        failed = (pod.get("status") or {}).get("phase") == "Failed"
        if failed and stages and set(stages) <= set(succeeded):
            subject = f"stage{'s' if len(stages) > 1 else ''} {', '.join(stages)} succeeded"
            message = f"{subject}, Kubeflow's launcher failed: {_words(pod)}"
            return Trouble("LauncherFailed", message)
    return None


def _words(pod: Mapping[str, Any]) -> str:
    """Return what a failed pod says of its end."""
    status = pod["status"]
    ends = [(each.get("state") or {}).get("terminated") or {} for each in _containers(status)]
    failed = [end for end in ends if end.get("exitCode")]
    texts = [str(text) for text in (*(end.get("message") for end in failed), status.get("message"))]
    codes = [f"exit code {end['exitCode']}" for end in failed]
    name = pod["metadata"]["name"]
    words = next((" ".join(text.split()) for text in texts if text != "None"), "")
    return words or f"{codes[0] if codes else 'no reason given'}; see the log of pod {name}"


def _by_role(pods: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(pods, key=lambda pod: _task(pod) is None)


def _task(pod: Mapping[str, Any]) -> str | None:
    name = (pod["metadata"].get("annotations") or {}).get(NODE_NAME, "")
    found = EXECUTOR.search(name)
    return found["task"] if found else None


def _who(pod: Mapping[str, Any]) -> str:
    task = _task(pod)
    if task in FUSED:
        return f"the pod of {FUSED_STAGES[FUSED[task]]}"
    if task is not None:
        return f"stage {task}"
    # Drivers carry no placement, so they need a node that asks for none.
    return f"Kubeflow's driver pod {pod['metadata']['name']}, which runs outside of pools,"


def _waits(pod: Mapping[str, Any]) -> Trouble | None:
    status = pod.get("status") or {}
    if status.get("phase") not in ("Pending", "Running", None):
        return None
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            reason = condition.get("reason") or "Unschedulable"
            return Trouble(reason, f"{_who(pod)} waits: {condition.get('message') or reason}")
    for container in _containers(status):
        state = (container.get("state") or {}).get("waiting") or {}
        if (reason := state.get("reason")) in NO_START:
            why = state.get("message") or reason
            return Trouble(reason, f"{_who(pod)} does not start: {reason}: {why}")
    return None


def _died(pod: Mapping[str, Any]) -> Trouble | None:
    status = pod.get("status") or {}
    if status.get("phase") == "Failed" and (reason := status.get("reason")):
        return Trouble(reason, f"{_who(pod)} was ended: {status.get('message') or reason}")
    for condition in status.get("conditions") or ():
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            reason = condition.get("reason") or "DisruptionTarget"
            return Trouble(reason, f"{_who(pod)} was ended: {condition.get('message') or reason}")
    for container in _containers(status):
        state = (container.get("state") or {}).get("terminated") or {}
        if (reason := state.get("reason")) in LOST:
            limit = " (its pool's memory)" if reason == "OOMKilled" else ""
            return Trouble(reason, f"{_who(pod)} was ended: {reason}{limit}")
    return None


def _containers(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
