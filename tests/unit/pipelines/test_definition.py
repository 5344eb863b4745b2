"""The compiled pipeline is what its definition says, and every placement is a parameter."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from fulcrum_pipelines import definition
from fulcrum_pipelines.compiled import IR_PATH
from fulcrum_pipelines.definition import ALL_TASKS


@pytest.fixture(scope="module")
def compiled() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(IR_PATH.read_text()))


def test_shipped_pipeline_is_not_stale() -> None:
    assert definition.compile_ir() == IR_PATH.read_text(), "run make ir"


def test_every_task_is_a_component(compiled: list[dict[str, Any]]) -> None:
    executors = compiled[0]["deploymentSpec"]["executors"]
    assert set(executors) == {f"exec-{task}" for task in ALL_TASKS}


@pytest.mark.parametrize("task", ALL_TASKS)
def test_image_and_resources_are_parameters(task: str, compiled: list[dict[str, Any]]) -> None:
    container = compiled[0]["deploymentSpec"]["executors"][f"exec-{task}"]["container"]
    resources = container["resources"]
    values = [
        container["image"],
        resources["resourceCpuLimit"],
        resources["resourceMemoryLimit"],
        resources["accelerator"]["resourceType"],
        resources["accelerator"]["resourceCount"],
    ]
    assert all("$.inputs.parameters" in value for value in values), values


@pytest.mark.parametrize("task", ALL_TASKS)
def test_node_selector_and_tolerations_are_parameters(
    task: str, compiled: list[dict[str, Any]]
) -> None:
    executors = compiled[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    placed = executors[f"exec-{task}"]
    prefix = "measure_" if task == "validate" else ""
    selector = placed["nodeSelector"]["nodeSelectorJson"]["componentInputParameter"]
    toleration = placed["tolerations"][0]["tolerationJson"]["componentInputParameter"]
    assert selector.endswith(f"{prefix}node_selector")
    assert toleration.endswith(f"{prefix}tolerations")


@pytest.mark.parametrize("task", ALL_TASKS)
def test_stage_does_not_run_as_root(task: str, compiled: list[dict[str, Any]]) -> None:
    executors = compiled[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert executors[f"exec-{task}"]["securityContext"] == {"runAsNonRoot": True}


def test_no_task_is_inside_another_pipeline(compiled: list[dict[str, Any]]) -> None:
    """Each such pipeline costs a driver pod, a condition in it another one."""
    assert all("executorLabel" in each for each in compiled[0]["components"].values())
    tasks = compiled[0]["root"]["dag"]["tasks"].values()
    assert all("triggerPolicy" not in task for task in tasks)


def test_nothing_is_cached_or_retried_by_the_engine(compiled: list[dict[str, Any]]) -> None:
    tasks = compiled[0]["root"]["dag"]["tasks"]
    assert set(tasks) == set(ALL_TASKS)
    assert all(not task["cachingOptions"] for task in tasks.values())
    assert all(task["retryPolicy"].get("maxRetryCount", 0) == 0 for task in tasks.values())
