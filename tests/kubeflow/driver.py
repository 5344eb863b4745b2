"""From a compiled pipeline and its parameters to each stage's pod, as Kubeflow's driver does it.

It does what the real one was seen to do (`gpu_step.json`), with its habits: what goes into a pod's
resources is read as a string, so that a number given for one is nothing; and selectors and
tolerations come from the inputs of the pipeline around the task.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

REFERENCE = re.compile(r"\{\{\$\.inputs\.parameters\['(?P<name>[^']+)'\]\}\}")


@dataclass(frozen=True)
class Placed:
    """Image, placement and resources of a stage's pod."""

    image: str
    node_selector: dict[str, str] = field(default_factory=dict)
    tolerations: list[dict[str, Any]] = field(default_factory=list)
    limits: dict[str, str] = field(default_factory=dict)
    requests: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Pipeline:
    """A compiled pipeline, as its two documents are."""

    spec: Mapping[str, Any]
    platform: Mapping[str, Any]

    def pods(self, parameters: Mapping[str, Any]) -> dict[str, Placed]:
        """Return the pods of a run with these parameters, by the name of the task."""
        declared = self.spec["root"]["inputDefinitions"]["parameters"]
        assert set(parameters) == set(declared), set(parameters) ^ set(declared)
        return {
            name: self._pod(task, parameters)
            for name, task in self.spec["root"]["dag"]["tasks"].items()
        }

    def _pod(self, task: Mapping[str, Any], scope: Mapping[str, Any]) -> Placed:
        given = task.get("inputs", {}).get("parameters", {})
        inputs = {name: _resolve(each, scope) for name, each in given.items()}
        label = self.spec["components"][task["componentRef"]["name"]]["executorLabel"]
        container = self.spec["deploymentSpec"]["executors"][label]["container"]
        executors = self.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
        return place(container, executors.get(label, {}), inputs, scope)


def place(
    container: Mapping[str, Any],
    kubernetes: Mapping[str, Any],
    inputs: Mapping[str, Any],
    scope: Mapping[str, Any],
) -> Placed:
    """Return the pod of one task.

    Args:
        container: Of its executor.
        kubernetes: The platform's part of its executor.
        inputs: Of the task.
        scope: Inputs of the pipeline around it.
    """
    resources = container.get("resources", {})
    limits = {
        "cpu": _text(resources.get("resourceCpuLimit", ""), inputs),
        "memory": _text(resources.get("resourceMemoryLimit", ""), inputs),
    }
    accelerator = resources.get("accelerator", {})
    if kind := _text(accelerator.get("resourceType", ""), inputs):
        limits[kind] = _text(accelerator.get("resourceCount", ""), inputs)
    requests = {
        "cpu": _text(resources.get("resourceCpuRequest", ""), inputs),
        "memory": _text(resources.get("resourceMemoryRequest", ""), inputs),
    }
    selector = kubernetes.get("nodeSelector", {})
    return Placed(
        image=_text(container["image"], inputs),
        node_selector=dict(
            _resolve(selector["nodeSelectorJson"], scope)
            if "nodeSelectorJson" in selector
            else selector.get("labels", {})
        ),
        tolerations=list(_tolerations(kubernetes.get("tolerations", ()), scope)),
        limits={name: value for name, value in limits.items() if value},
        requests={name: value for name, value in requests.items() if value},
    )


def _tolerations(given: Any, scope: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for each in given:
        if "tolerationJson" in each:
            found = _resolve(each["tolerationJson"], scope)
            yield from found if isinstance(found, list) else [found]
        else:
            seconds = each.get("tolerationSeconds")
            yield {**each, **({} if seconds is None else {"tolerationSeconds": int(seconds)})}


def _resolve(given: Mapping[str, Any], scope: Mapping[str, Any]) -> Any:
    if "componentInputParameter" in given:
        return scope[given["componentInputParameter"]]
    return given["runtimeValue"]["constant"]


def _text(value: str, inputs: Mapping[str, Any]) -> str:
    found = REFERENCE.fullmatch(value)
    if found is None:
        return value
    given = inputs[found["name"]]
    return given if isinstance(given, str) else ""
