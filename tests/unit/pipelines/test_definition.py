"""The compiled pipeline is what its definition says, and every placement is a parameter."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from fulcrum_pipelines import definition, local
from fulcrum_pipelines.contract import STAGES

PLACEMENT = ("image", "cpu", "memory", "accelerator", "accelerator_count")


@pytest.fixture(scope="module")
def compiled() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(definition.IR_PATH.read_text()))


def test_shipped_pipeline_is_not_stale() -> None:
    assert definition.compile_ir() == definition.IR_PATH.read_text(), "run make ir"


def test_definition_and_runner_mean_the_same_file() -> None:
    assert definition.IR_PATH == local.IR_PATH


def test_every_stage_is_a_component(compiled: list[dict[str, Any]]) -> None:
    executors = compiled[0]["deploymentSpec"]["executors"]
    assert set(executors) == {f"exec-{stage}" for stage in STAGES}


@pytest.mark.parametrize("stage", STAGES)
def test_image_and_resources_are_parameters(stage: str, compiled: list[dict[str, Any]]) -> None:
    container = compiled[0]["deploymentSpec"]["executors"][f"exec-{stage}"]["container"]
    resources = container["resources"]
    values = [
        container["image"],
        resources["resourceCpuLimit"],
        resources["resourceMemoryLimit"],
        resources["accelerator"]["resourceType"],
        resources["accelerator"]["resourceCount"],
    ]
    assert all("$.inputs.parameters" in value for value in values), values


@pytest.mark.parametrize("stage", STAGES)
def test_node_selector_and_tolerations_are_parameters(
    stage: str, compiled: list[dict[str, Any]]
) -> None:
    executors = compiled[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    placed = executors[f"exec-{stage}"]
    prefix = "measure_" if stage == "validate" else ""
    selector = placed["nodeSelector"]["nodeSelectorJson"]["componentInputParameter"]
    toleration = placed["tolerations"][0]["tolerationJson"]["componentInputParameter"]
    assert selector.endswith(f"{prefix}node_selector")
    assert toleration.endswith(f"{prefix}tolerations")


@pytest.mark.parametrize("stage", STAGES)
def test_stage_does_not_run_as_root(stage: str, compiled: list[dict[str, Any]]) -> None:
    executors = compiled[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert executors[f"exec-{stage}"]["securityContext"] == {"runAsNonRoot": True}


@pytest.mark.parametrize("stage", ["prune", "finetune", "quantize"])
def test_condition_hands_on_every_placement_parameter(
    stage: str, compiled: list[dict[str, Any]]
) -> None:
    """Otherwise kfp drops parameters that only resources use unless an argument mentions them."""
    components = compiled[0]["components"]
    wrapper = components[f"comp-optional-{stage}"]["dag"]["tasks"]
    (condition,) = wrapper.values()
    handed_on = components[condition["componentRef"]["name"]]["inputDefinitions"]["parameters"]
    for name in (*PLACEMENT, "node_selector", "tolerations"):
        assert f"pipelinechannel--{name}" in handed_on


def test_nothing_is_cached_or_retried_by_the_engine(compiled: list[dict[str, Any]]) -> None:
    components = compiled[0]["components"]
    dags = [component["dag"] for component in components.values() if "dag" in component]
    tasks = [task for dag in [*dags, compiled[0]["root"]["dag"]] for task in dag["tasks"].values()]
    stages = [task for task in tasks if task["taskInfo"]["name"] in STAGES]
    assert len(stages) == len(STAGES)
    assert all(not task["cachingOptions"] for task in stages)
    assert all(task["retryPolicy"].get("maxRetryCount", 0) == 0 for task in stages)
