"""The compiled pipeline, shipped as data, and the part of it that a run is made from.

Tasks of a run are stages, a pod each, or several stages in one pod. A pod costs Kubeflow seconds
before it does anything, and one more pod for the driver that starts it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml

from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.evidence import StageName

IR_PATH = Path(__file__).parent / "ir" / "fulcrum.yaml"
"""All tasks, one after the other."""

MEASURED: StageName = "validate"
Part = Literal["all", "compute", "measure"]
"""The part of a plan that is run at once: all of it, or the computing and the measuring stages
separately, each on its own hardware. The parts exchange data only through the store."""

FUSED: dict[str, Part] = {"compute": "compute", "whole": "all"}
"""Tasks that run several stages in one pod."""

Fuse = Literal["None", "Compute", "All"]
"""Which stages share a pod: none, all but validate, or all."""


def stages_of(plan: Plan, part: Part) -> tuple[StageName, ...]:
    """Return the stages of `part` of `plan`, in order."""
    measured = {"all": (True, False), "measure": (True,), "compute": (False,)}[part]
    return tuple(stage for stage in plan.stages if (stage == MEASURED) in measured)


def stages_of_task(plan: Plan, task: str) -> tuple[StageName, ...]:
    """Return the stages of `plan` that `task` of the pipeline runs, in order."""
    if task in FUSED:
        return stages_of(plan, FUSED[task])
    return tuple(stage for stage in plan.stages if stage == task)


def tasks_of(stages: tuple[StageName, ...], fuse: Fuse) -> tuple[str, ...]:
    """Return the tasks of a run that has `stages`, in order."""
    match fuse:
        case "None":
            return stages
        case "Compute":
            return ("compute", MEASURED)
        case "All":
            return ("whole",)


def pipeline_of(compiled: str, tasks: Sequence[str]) -> str:
    """Return the compiled pipeline with these tasks alone, one after the other.

    It is what kfp would compile for them, which needs no kfp here.

    Args:
        compiled: The pipeline with all tasks.
        tasks: Names of tasks, in order.
    """
    pipeline, platform = yaml.safe_load_all(compiled)
    dag = pipeline["root"]["dag"]
    dag["tasks"] = _chained(dag["tasks"], tasks)
    names = {task["componentRef"]["name"] for task in dag["tasks"].values()}
    pipeline["components"] = _only(pipeline["components"], names)
    labels = {each["executorLabel"] for each in pipeline["components"].values()}
    for deployment in (
        pipeline["deploymentSpec"],
        platform["platforms"]["kubernetes"]["deploymentSpec"],
    ):
        deployment["executors"] = _only(deployment["executors"], labels)
    text: str = yaml.safe_dump_all([pipeline, platform])
    return text


def _chained(tasks: dict[str, Any], kept: Sequence[str]) -> dict[str, Any]:
    found = {}
    for at, name in enumerate(kept):
        task = {key: value for key, value in tasks[name].items() if key != "dependentTasks"}
        found[name] = task | ({"dependentTasks": [kept[at - 1]]} if at else {})
    return found


def _only(found: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name in names}
