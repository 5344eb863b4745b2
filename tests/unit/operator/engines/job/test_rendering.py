"""Render the Job of a plan: its node, its inputs, and the rights of its pod."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from builders.plans import make_plan

from fulcrum_operator.engines.job.rendering import THREAD_VARIABLES, Order, render, threads
from fulcrum_operator.settings import JobEngineSettings
from fulcrum_operator.settings.pools import Pool, Toleration
from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.runner.exit_codes import EXIT_CODES, NO_EVIDENCE

DIGEST = "sha256:" + "0" * 64
SETTINGS = JobEngineSettings(enabled=True, image="registry.example/components:1")
PLAN = make_plan().model_copy(update={"namespace": "team-a", "uid": "3f9c2a71-b0de-4c1f"})
ORDER = Order(PLAN, DIGEST, "all", Pool(), "s3://models/fulcrum", "fulcrum-system.fulcrum-operator")


def job_of(pool: Pool | None = None, *, plan: Plan = PLAN, **settings: Any) -> dict[str, Any]:
    order = replace(ORDER, plan=plan, pool=pool or Pool())
    return render(order, SETTINGS.model_copy(update=settings))


def pod_of(pool: Pool | None = None, **settings: Any) -> dict[str, Any]:
    pod: dict[str, Any] = job_of(pool, **settings)["spec"]["template"]["spec"]
    return pod


def container_of(pool: Pool | None = None, **settings: Any) -> dict[str, Any]:
    (container,) = pod_of(pool, **settings)["containers"]
    found: dict[str, Any] = container
    return found


@pytest.mark.parametrize(
    ("pool", "field", "expected"),
    [
        pytest.param(
            Pool(node_selector={"pool": "gpu-a"}), "nodeSelector", {"pool": "gpu-a"}, id="labels"
        ),
        pytest.param(
            Pool(tolerations=(Toleration(key="gpu", operator="Exists", effect="NoSchedule"),)),
            "tolerations",
            [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
            id="taints",
        ),
        pytest.param(Pool(priority_class="low"), "priorityClassName", "low", id="priority"),
    ],
)
def test_pool_decides_where_the_pod_runs(pool: Pool, field: str, expected: object) -> None:
    assert pod_of(pool)[field] == expected
    assert field not in pod_of(Pool())


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        pytest.param(Pool(), {"cpu": "2", "memory": "8Gi"}, id="plain"),
        pytest.param(
            Pool(accelerator="amd.com/gpu", accelerator_count=2, cpu="8", memory="64Gi"),
            {"cpu": "8", "memory": "64Gi", "amd.com/gpu": "2"},
            id="accelerators",
        ),
        pytest.param(
            Pool(ephemeral_storage="40Gi"),
            {"cpu": "2", "memory": "8Gi", "ephemeral-storage": "40Gi"},
            id="local disk",
        ),
    ],
)
def test_what_is_reserved_is_also_the_most(pool: Pool, expected: dict[str, str]) -> None:
    assert container_of(pool)["resources"] == {"requests": expected, "limits": expected}


@pytest.mark.parametrize(
    ("cpu", "count"), [("2", 2), ("1500m", 1), ("500m", 1), ("7.9", 7), ("16", 16)]
)
def test_libraries_take_as_many_threads_as_there_are_whole_cpus(cpu: str, count: int) -> None:
    assert threads(cpu) == count
    variables = {each["name"]: each["value"] for each in container_of(Pool(cpu=cpu))["env"]}
    assert {variables[name] for name in THREAD_VARIABLES} == {str(count)}


def test_pod_may_do_nothing_but_its_work() -> None:
    pod, container = pod_of(), container_of()
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"} & set(pod)


def test_all_that_can_be_written_has_a_limit() -> None:
    pod = pod_of(scratch_size="5Gi", tmp_size="1Mi")
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    (container,) = pod["containers"]
    mounted = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
    assert {path: volume["emptyDir"]["sizeLimit"] for path, volume in mounted.items()} == {
        "/scratch": "5Gi",
        "/tmp": "1Mi",
    }


def test_plan_is_named_by_digest_and_not_carried_along() -> None:
    container = container_of()
    assert container["args"][:2] == ["--plan", DIGEST]
    variables = {each["name"]: each["value"] for each in container["env"]}
    assert variables["FULCRUM_STORE"] == "s3://models/fulcrum"
    assert PLAN.spec.model.uri not in str(job_of())


@pytest.mark.parametrize(
    ("settings", "field", "expected"),
    [
        ({"store_secret": "s3"}, "envFrom", [{"secretRef": {"name": "s3"}}]),
        ({"image_pull_policy": "Never"}, "imagePullPolicy", "Never"),
    ],
)
def test_optional_fields_of_the_container(
    settings: dict[str, Any], field: str, expected: object
) -> None:
    assert container_of(**settings)[field] == expected
    assert field not in container_of()


@pytest.mark.parametrize(
    ("settings", "field", "expected"),
    [
        ({"service_account": "runner"}, "serviceAccountName", "runner"),
        ({"image_pull_secrets": ("a", "b")}, "imagePullSecrets", [{"name": "a"}, {"name": "b"}]),
    ],
)
def test_optional_fields_of_the_pod(settings: dict[str, Any], field: str, expected: object) -> None:
    assert pod_of(**settings)[field] == expected
    assert field not in pod_of()


def test_image_of_the_pool_goes_before_the_engines() -> None:
    assert container_of()["image"] == SETTINGS.image
    assert container_of(Pool(image="arm:1"))["image"] == "arm:1"


def test_job_belongs_to_its_compression_job() -> None:
    metadata = job_of()["metadata"]
    assert metadata["namespace"] == "team-a"
    (owner,) = metadata["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("CompressionJob", PLAN.name, PLAN.uid)
    assert metadata["labels"]["app.kubernetes.io/managed-by"] == "fulcrum"
    assert metadata["labels"]["fulcrum.dev/job"] == PLAN.name


def test_pods_have_the_labels_of_their_job() -> None:
    job = job_of(Pool(queue="gpu"))
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert labels.items() <= job["metadata"]["labels"].items()
    assert labels["fulcrum.dev/key"] == job_of()["metadata"]["labels"]["fulcrum.dev/key"]


def test_kueue_gets_the_job_suspended_and_only_where_the_pool_has_a_queue() -> None:
    queued, plain = job_of(Pool(queue="gpu")), job_of()
    assert queued["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpu"
    assert queued["spec"]["suspend"] is True
    assert "kueue.x-k8s.io/queue-name" not in plain["metadata"]["labels"]
    assert plain["spec"]["suspend"] is False


def test_kubernetes_retries_nothing_and_exit_codes_distinguish_classes() -> None:
    spec = job_of()["spec"]
    assert spec["backoffLimit"] == 0
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    disruption, *codes = spec["podFailurePolicy"]["rules"]
    assert disruption["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    listed = [value for rule in codes for value in rule["onExitCodes"]["values"]]
    assert listed == sorted({*EXIT_CODES.values(), NO_EVIDENCE} - {EXIT_CODES["infrastructure"]})
    assert {rule["action"] for rule in spec["podFailurePolicy"]["rules"]} == {"FailJob"}


@pytest.mark.parametrize("limit_s", [None, 600])
def test_deadline_of_the_job_is_kept_by_kubernetes_too(limit_s: int | None) -> None:
    spec = PLAN.spec.model_copy(update={"active_deadline_seconds": limit_s})
    job = job_of(plan=PLAN.model_copy(update={"spec": spec}))
    assert job["spec"].get("activeDeadlineSeconds") == limit_s
