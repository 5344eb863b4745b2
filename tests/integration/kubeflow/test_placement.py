"""Every stage's pod is where its job's manifest asked for, by what Kubeflow's driver does.

The driver here is a model of the real one, which is held to the pods that were recorded.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import kubeflow.driver
import pytest
import yaml
from kubeflow.driver import Pipeline, Placed, place
from kubeflow.engines import IMAGE, make_engine
from kubeflow.server import Server
from stand_in import stand_in_plan

from fulcrum_operator.engines.kubeflow.parameters import parameters
from fulcrum_operator.engines.kubeflow.uploading import shipped
from fulcrum_operator.engines.placement import Placement
from fulcrum_operator.settings.pools import Pool, Toleration
from fulcrum_pipelines.compiled import Fuse, tasks_of
from fulcrum_pipelines.contract import STAGES, Plan
from fulcrum_pipelines.definition import ALL_TASKS
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.resources.compressionjob import (
    CompressionJobSpec,
    Model,
    Recipe,
)
from fulcrum_pipelines.storage.store import Store

RECORDED = json.loads(Path(kubeflow.driver.__file__).with_name("gpu_step.json").read_text())
KUBERNETES_OWN = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")

GPU = Pool(
    node_selector={"pool": "gpu-a", "zone": "1"},
    tolerations=(
        Toleration(key="nvidia.com/gpu", operator="Exists", effect="NoSchedule"),
        Toleration(key="dedicated", value="ml", effect="NoExecute", toleration_seconds=60),
    ),
    accelerator_count=2,
    cpu="4",
    memory="16Gi",
)
EDGE = Pool(node_selector={"pool": "edge"}, cpu="500m", memory="1Gi", accelerator="amd.com/gpu")
COMPUTE = Placed(
    image=IMAGE,
    node_selector={"pool": "gpu-a", "zone": "1"},
    tolerations=[
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
        {
            "key": "dedicated",
            "operator": "Equal",
            "value": "ml",
            "effect": "NoExecute",
            "tolerationSeconds": 60,
        },
    ],
    limits={"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "2"},
)
MEASURE = Placed(
    image=IMAGE,
    node_selector={"pool": "edge"},
    limits={"cpu": "500m", "memory": "1Gi", "amd.com/gpu": "0"},
)


def pipeline_with(*tasks: str) -> Pipeline:
    """Return the pipeline that is uploaded for these tasks."""
    return Pipeline(*yaml.safe_load_all(shipped(tasks)))


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    """The pipeline with all tasks."""
    return pipeline_with(*ALL_TASKS)


def plan_with(stages: tuple[str, ...]) -> Plan:
    """Return a plan that has these optional stages."""
    parts: dict[str, Any] = {
        "prune": {"unstructured": {"sparsity": 0.5}},
        "finetune": {"epochs": 1},
        "quantize": {"method": "dynamic"},
    }
    plan = stand_in_plan("succeed")
    changes: dict[str, Any] = {
        "recipe": Recipe.model_validate({name: parts[name] for name in stages if name in parts}),
        "candidate": Model(uri="s3://bucket/new.onnx") if "convert" in stages else None,
    }
    return plan.model_copy(update={"spec": plan.spec.model_copy(update=changes)})


def arguments(plan: Plan, placement: Placement) -> dict[str, Any]:
    return parameters(
        plan, placement, store="s3://bucket/x", plan_digest="sha256:" + "a" * 64, image=IMAGE
    )


def test_model_of_the_driver_does_what_the_real_one_did() -> None:
    container = {"image": RECORDED["image"], "resources": RECORDED["resources"]}
    placed = place(container, RECORDED["kubernetes"], {}, {})
    (pod,) = [each for each in RECORDED["pods"] if ".consume(0).executor" in each["node"]]
    own = [each for each in pod["tolerations"] if each["key"] not in KUBERNETES_OWN]
    # Kubernetes asks for as much of an extended resource as its limit says.
    requests = {**placed.requests, "nvidia.com/gpu": placed.limits["nvidia.com/gpu"]}
    assert (placed.image, placed.node_selector) == (pod["image"], pod["nodeSelector"])
    assert placed.tolerations == own
    assert {"limits": placed.limits, "requests": requests} == pod["resources"]


def test_drivers_pods_are_placed_nowhere() -> None:
    drivers = [each for each in RECORDED["pods"] if each["role"] == "driver"]
    assert len(drivers) == 3
    for pod in drivers:
        assert pod["nodeSelector"] is None
        assert all(each["key"] in KUBERNETES_OWN for each in pod["tolerations"])
        assert "nvidia.com/gpu" not in pod["resources"]["limits"]


@pytest.mark.parametrize(
    "optional",
    [("prune", "finetune", "quantize"), ("prune",), ("finetune",), ("quantize",), ("convert",), ()],
    ids="-".join,
)
def test_each_stage_is_where_the_manifest_asked_for(optional: tuple[str, ...]) -> None:
    plan = plan_with(optional)
    pods = pipeline_with(*plan.stages).pods(arguments(plan, Placement(GPU, EDGE)))
    wanted = {stage: MEASURE if stage == "validate" else COMPUTE for stage in STAGES}
    assert pods == {stage: wanted[stage] for stage in plan.stages}
    assert set(pods) == {"evaluate", *optional, "validate"}


@pytest.mark.parametrize(
    ("fuse", "expected"),
    [("Compute", {"compute": COMPUTE, "validate": MEASURE}), ("All", {"whole": COMPUTE})],
)
def test_pod_of_several_stages_is_where_they_belong(
    fuse: Fuse, expected: dict[str, Placed]
) -> None:
    plan = plan_with(("prune", "quantize"))
    pipeline = pipeline_with(*tasks_of(plan.stages, fuse))
    assert pipeline.pods(arguments(plan, Placement(GPU, EDGE))) == expected


def test_image_of_a_pool_goes_before_that_of_the_engine(pipeline: Pipeline) -> None:
    own = Pool(image="components:cuda")
    pods = pipeline.pods(arguments(plan_with(("prune",)), Placement(own, own)))
    assert {pod.image for pod in pods.values()} == {"components:cuda"}


def tasks(pipeline: Pipeline) -> dict[str, dict[str, Any]]:
    """Return every task."""
    found: dict[str, dict[str, Any]] = pipeline.spec["root"]["dag"]["tasks"]
    assert set(found) == set(ALL_TASKS)
    return found


def test_no_task_is_retried_by_kubeflow(pipeline: Pipeline) -> None:
    """Each task has a policy without retries; otherwise the cluster's defaults would retry."""
    for name, task in tasks(pipeline).items():
        assert "retryPolicy" in task, name
        assert task["retryPolicy"].get("maxRetryCount", 0) == 0, name


def test_no_task_is_cached_by_kubeflow(pipeline: Pipeline) -> None:
    for name, task in tasks(pipeline).items():
        assert not task.get("cachingOptions", {}).get("enableCache", False), name


def test_what_goes_into_a_pod_is_a_string(pipeline: Pipeline) -> None:
    """The driver takes a number for no value: a count of 2 would ask for no accelerator."""
    given = pipeline.spec["root"]["inputDefinitions"]["parameters"]
    for name in ("image", "cpu", "memory", "accelerator", "accelerator_count"):
        for prefix in ("", "measure_"):
            if prefix + name != "measure_image":
                assert given[prefix + name]["parameterType"] == "STRING", name


def test_credentials_of_the_bucket_are_a_secret_that_may_be_missing(pipeline: Pipeline) -> None:
    executors = pipeline.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert set(executors) == {f"exec-{task}" for task in ALL_TASKS}
    for executor in executors.values():
        (secret,) = executor["secretAsEnv"]
        assert secret["optional"] is True
        assert secret["secretName"] == "fulcrum-store"
        names = {each["envVar"] for each in secret["keyToEnv"]}
        assert {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"} <= names


def placed_spec(**placement: str) -> CompressionJobSpec:
    fields = stand_in_plan("hang").spec.model_dump(mode="json", by_alias=True, exclude_unset=True)
    given = {**fields, "engine": "kubeflow", "placement": placement}
    return type(stand_in_plan("hang").spec).model_validate(given)


STAGES_OF_IT = stand_in_plan("hang").stages


def uploaded_for(server: Server, reference: str) -> tuple[str, ...]:
    """Return the tasks of the pipeline that a run was made from."""
    chosen = server.world.runs[reference].body["pipeline_version_reference"]["pipeline_version_id"]
    return server.world.versions[chosen].tasks


@pytest.mark.parametrize(
    ("placement", "setting", "tasks"),
    [
        pytest.param({}, "Compute", ("compute", "validate"), id="default"),
        pytest.param({"fuse": "None"}, "Compute", STAGES_OF_IT, id="job over setting"),
        pytest.param({}, "None", STAGES_OF_IT, id="setting"),
        pytest.param({"fuse": "All"}, "Compute", ("whole",), id="all"),
        pytest.param({}, "All", ("whole",), id="all by setting"),
        pytest.param({"measure": "edge"}, "All", ("compute", "validate"), id="not on one pool"),
    ],
)
def test_stages_share_pods_as_job_or_settings_say(
    placement: dict[str, str],
    setting: Fuse,
    tasks: tuple[str, ...],
    server: Server,
    store: Store,
) -> None:
    plan = stand_in_plan("hang").model_copy(update={"spec": placed_spec(**placement)})
    engine = make_engine(server, store, pools={"gpu-a": GPU, "edge": EDGE}, fuse=setting)
    handle = asyncio.run(engine.submit(plan.run, plan))
    assert set(uploaded_for(server, handle.reference)) == set(tasks)


def test_jobs_with_the_same_tasks_share_a_version(server: Server, store: Store) -> None:
    engine = make_engine(server, store)

    async def submit(name: str, fuse: str) -> str:
        plan = stand_in_plan("hang").model_copy(
            update={"name": name, "spec": placed_spec(fuse=fuse)}
        )
        handle = await engine.submit(plan.run, plan)
        body = server.world.runs[handle.reference].body
        return str(body["pipeline_version_reference"]["pipeline_version_id"])

    async def scenario() -> list[str]:
        return [
            await submit(*each)
            for each in (("a", "All"), ("b", "None"), ("c", "All"), ("d", "None"))
        ]

    versions = asyncio.run(scenario())
    assert versions[0] == versions[2]
    assert versions[1] == versions[3]
    assert versions[0] != versions[1]


def test_pools_of_a_job_reach_the_server(server: Server, store: Store) -> None:
    spec = placed_spec(compute="gpu-a", measure="edge")
    plan = stand_in_plan("hang").model_copy(update={"spec": spec})
    engine = make_engine(server, store, pools={"gpu-a": GPU, "edge": EDGE})
    handle = asyncio.run(engine.submit(plan.run, plan))
    given = server.world.runs[handle.reference].body["runtime_config"]["parameters"]
    pods = pipeline_with(*uploaded_for(server, handle.reference)).pods(given)
    assert pods == {"compute": COMPUTE, "validate": MEASURE}


@pytest.mark.parametrize(
    ("pools", "message"),
    [
        pytest.param({}, "names pool gpu-a", id="pool that went since"),
        pytest.param({"gpu-a": Pool(priority_class="x")}, "priority_class", id="cannot be given"),
    ],
)
def test_changed_pool_is_reported_and_no_run_is_created(
    pools: dict[str, Pool], message: str, server: Server, store: Store
) -> None:
    plan = stand_in_plan("hang").model_copy(update={"spec": placed_spec(compute="gpu-a")})
    with pytest.raises(UserError, match=message):
        asyncio.run(make_engine(server, store, pools=pools).submit(plan.run, plan))
    assert server.world.runs == {}
