"""The engine `job` on a real API server, Job controller and scheduler.

Nothing but the kubelet is played: see `kubelet_stand_in`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import stand_in
from cluster.control_plane import ControlPlane
from cluster_api import ClusterApi, RefusedError
from engine_suite import EngineSuite
from job_engines import IMAGE, ConnectingEngine, settings_for
from kubelet_stand_in import KubeletStandIn
from operators import START_TIMEOUT_S, Jobs, OperatorProcess, wait_until

from fulcrum_operator.engines.job.cluster import JobCluster
from fulcrum_operator.engines.job.engine import JobEngine
from fulcrum_operator.engines.job.rendering import Order, render
from fulcrum_operator.kubernetes.api import Kube
from fulcrum_operator.kubernetes.kubeconfig import from_kubeconfig
from fulcrum_operator.settings.pools import Pool
from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.storage.store import Store

BEHAVIOURS = ("succeed", "fail", "no-evidence", "early-end", "other-plan", "hang")
ELSEWHERE = "example.test/unused"
"""Manages the jobs that own the runs here: no operator looks after them."""


@pytest.fixture
def api(control_plane: ControlPlane) -> ClusterApi:
    """The API, as an administrator."""
    return ClusterApi(control_plane.admin_kubeconfig)


@pytest.fixture
def secured(namespace: str, api: ClusterApi) -> str:
    """A namespace in which only pods run that the profile `restricted` allows."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    api("PATCH", f"/api/v1/namespaces/{namespace}", {"metadata": {"labels": labels}})
    return namespace


@pytest.fixture
def kubelet(api: ClusterApi, secured: str, tmp_path: Path) -> Iterator[KubeletStandIn]:
    """A node of the test's own."""
    node = KubeletStandIn(api, f"node-{secured}", tmp_path, {"nvidia.com/gpu": "2"}).start()
    yield node
    node.close()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(f"file://{tmp_path}/store")


@pytest.fixture
def owners(control_plane: ControlPlane, secured: str) -> dict[str, str]:
    """CompressionJobs by name, that own the Jobs of runs: without them these are garbage."""
    jobs = Jobs(control_plane.kubectl, secured)
    for name in BEHAVIOURS:
        jobs.apply(name, engine="job", managedBy=ELSEWHERE)
    return {each["metadata"]["name"]: each["metadata"]["uid"] for each in jobs.items()}


@pytest.fixture
def plans(owners: dict[str, str], secured: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make plans of the stand-in that belong to existing jobs, in the suite too."""

    def owned(behaviour: str, **changes: object) -> Plan:
        plan = stand_in.stand_in_plan(behaviour, **changes)
        return plan.model_copy(update={"namespace": secured, "uid": owners[behaviour]})

    monkeypatch.setattr("engine_suite.stand_in_plan", owned)
    return owned


@pytest.fixture
def engine(
    control_plane: ControlPlane, store: Store, secured: str, kubelet: KubeletStandIn, plans: Any
) -> ConnectingEngine:
    """The engine with the rights of the operator and no more, whose pods run at once."""
    return make_engine(control_plane, store, kubelet, (secured,))


def make_engine(
    control_plane: ControlPlane,
    store: Store,
    kubelet: KubeletStandIn,
    namespaces: tuple[str, ...],
    operator: str = "fulcrum-system.fulcrum-operator",
) -> ConnectingEngine:
    token = control_plane.token_kubeconfig("fulcrum-system", "fulcrum-operator")
    cluster = JobCluster(cast("Kube", None), operator, namespaces)
    pools = {"default": Pool.model_validate(kubelet.pool())}
    made = JobEngine(store, settings_for(), pools, cluster)
    return ConnectingEngine(made, cluster, from_kubeconfig(token))


class TestJobEngine(EngineSuite):
    """The suite of all engines."""


# --- whole jobs


@pytest.fixture
def operator(
    new_operator: Callable[..., OperatorProcess], secured: str, kubelet: KubeletStandIn
) -> OperatorProcess:
    """An operator with the engine, not started; its pool `gpu` is the node."""
    job = {"enabled": True, "image": IMAGE, "termination_grace_s": 1}
    job |= {"start_limit_s": 2.0, "lost_after_s": 1.0}
    pools = {"gpu": kubelet.pool(accelerator_count=1), "cpu": kubelet.pool(cpu="500m")}
    return new_operator(job=job, pools=pools)


def apply(jobs: Jobs, name: str, **spec: Any) -> str:
    return jobs.apply(name, engine="job", placement={"compute": "gpu"}, **spec)


def pods_of(api: ClusterApi, namespace: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api("GET", f"/api/v1/namespaces/{namespace}/pods")["items"]
    return found


def jobs_of(api: ClusterApi, namespace: str) -> list[dict[str, Any]]:
    path = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    found: list[dict[str, Any]] = api("GET", path)["items"]
    return found


def test_job_runs_in_a_pod_on_its_pool(
    operator: OperatorProcess, jobs: Jobs, kubelet: KubeletStandIn, api: ClusterApi
) -> None:
    operator.start()
    apply(jobs, "succeed")
    status = jobs.ended("succeed")
    assert status["phase"] == "Succeeded"
    (job,) = jobs_of(api, jobs.namespace)
    assert status["run"]["reference"] == f"{jobs.namespace}/{job['metadata']['name']}"
    (owner,) = job["metadata"]["ownerReferences"]
    assert owner["uid"] == jobs.get("succeed")["metadata"]["uid"]
    (pod,) = pods_of(api, jobs.namespace)
    assert pod["spec"]["nodeName"] == kubelet.name
    assert pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_measuring_on_another_pool_is_a_second_job(
    operator: OperatorProcess, jobs: Jobs, api: ClusterApi
) -> None:
    operator.start()
    jobs.apply("succeed", engine="job", placement={"compute": "gpu", "measure": "cpu"})
    assert jobs.ended("succeed")["phase"] == "Succeeded"
    parts = {
        each["metadata"]["labels"]["fulcrum.dev/part"]: each
        for each in jobs_of(api, jobs.namespace)
    }
    assert sorted(parts) == ["compute", "measure"]
    ended, begun = parts["compute"]["status"], parts["measure"]["metadata"]
    assert ended["completionTime"] <= begun["creationTimestamp"]
    pods = {
        each["metadata"]["labels"]["fulcrum.dev/part"]: each["spec"]
        for each in pods_of(api, jobs.namespace)
    }
    limits = {part: each["containers"][0]["resources"]["limits"] for part, each in pods.items()}
    assert "nvidia.com/gpu" in limits["compute"]
    assert limits["measure"] == {"cpu": "500m", "memory": "1Gi"}


@pytest.mark.parametrize("effect", ["key-written", "submitted", "id-recorded"])
def test_operator_that_dies_makes_one_job(
    effect: str, operator: OperatorProcess, jobs: Jobs, api: ClusterApi
) -> None:
    operator.start("--kill-at", effect)
    apply(jobs, "succeed")
    operator.wait_for_kill()
    operator.start()
    assert jobs.ended("succeed")["attempt"] == 1
    assert len(jobs_of(api, jobs.namespace)) == 1


def test_deleted_job_takes_its_pod_along(
    operator: OperatorProcess, jobs: Jobs, api: ClusterApi
) -> None:
    operator.start()
    apply(jobs, "hang")
    jobs.reaches("hang", "Running")
    wait_until(lambda: pods_of(api, jobs.namespace) != [], START_TIMEOUT_S)
    jobs.delete("hang")
    jobs.gone("hang")
    assert jobs_of(api, jobs.namespace) == []
    assert pods_of(api, jobs.namespace) == []


def test_pod_for_which_there_is_no_room_says_so_and_starts_when_there_is(
    operator: OperatorProcess, jobs: Jobs
) -> None:
    operator.start()
    for name in ("hang.1", "hang.2"):
        apply(jobs, name)
        jobs.reaches(name, "Running")
    wait_until(lambda: "evaluate" in jobs.status("hang.2").get("message", ""), START_TIMEOUT_S)
    apply(jobs, "succeed")
    wait_until(
        lambda: "Insufficient nvidia.com/gpu" in jobs.status("succeed").get("message", ""),
        START_TIMEOUT_S,
    )
    jobs.delete("hang.1")
    assert jobs.ended("succeed")["phase"] == "Succeeded"


def test_evicted_pod_costs_an_attempt_and_no_more(
    operator: OperatorProcess, jobs: Jobs, api: ClusterApi, kubelet: KubeletStandIn
) -> None:
    kubelet.linger_s = START_TIMEOUT_S  # the operator sees the pod after its end
    start_hanging(operator, jobs)
    (pod,) = pods_of(api, jobs.namespace)
    metadata = {"name": pod["metadata"]["name"], "namespace": jobs.namespace}
    path = f"/api/v1/namespaces/{jobs.namespace}/pods/{metadata['name']}/eviction"
    api("POST", path, {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata})
    assert "it was evicted" in why_retried(jobs)
    assert jobs.status("hang")["failures"] == {"infrastructure": 1}


WAITING = {
    "image": {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "x"'},
    "secret": {"reason": "CreateContainerConfigError", "message": 'secret "s3" not found'},
}


@pytest.mark.parametrize(
    ("what", "reason", "says", "attempts"),
    [
        pytest.param("image", "BackoffLimitExceeded", "cannot be pulled", 2, id="image missing"),
        pytest.param("secret", "InvalidInput", 'secret "s3" not found', 1, id="secret missing"),
    ],
)
def test_pod_that_cannot_start_ends_with_its_class(
    what: str,
    reason: str,
    says: str,
    attempts: int,
    operator: OperatorProcess,
    jobs: Jobs,
    kubelet: KubeletStandIn,
) -> None:
    kubelet.report = lambda pod: waiting(pod, WAITING[what])
    operator.start()
    apply(jobs, "succeed", backoffLimit=1)
    wait_until(lambda: says in jobs.status("succeed").get("message", ""), START_TIMEOUT_S)
    assert jobs.status("succeed")["phase"] == "Running"
    status = jobs.ended("succeed")
    assert (status["phase"], status["outcome"]["reason"]) == ("Failed", reason)
    assert says in status["message"]
    assert status["attempt"] == attempts


def start_hanging(operator: OperatorProcess, jobs: Jobs) -> None:
    """Let a job `hang` get into its first stage."""
    operator.start()
    apply(jobs, "hang")
    wait_until(lambda: "evaluate" in jobs.status("hang").get("message", ""), START_TIMEOUT_S)


def why_retried(jobs: Jobs) -> str:
    """Wait until the job `hang` has a second attempt, and return what became of the first."""
    wait_until(lambda: jobs.status("hang")["attempt"] == 2, START_TIMEOUT_S)
    (retried,) = (message for reason, message in jobs.events("hang") if reason == "Retrying")
    return retried


def test_deleted_pod_costs_an_attempt(
    operator: OperatorProcess, jobs: Jobs, api: ClusterApi, kubelet: KubeletStandIn
) -> None:
    kubelet.linger_s = START_TIMEOUT_S  # the operator sees the pod after its end
    start_hanging(operator, jobs)
    (pod,) = pods_of(api, jobs.namespace)
    api("DELETE", f"/api/v1/namespaces/{jobs.namespace}/pods/{pod['metadata']['name']}")
    assert "asked to stop" in why_retried(jobs)


def test_pod_out_of_memory_is_tried_again(
    operator: OperatorProcess, jobs: Jobs, kubelet: KubeletStandIn
) -> None:
    start_hanging(operator, jobs)
    kubelet.kill_for_memory()
    assert "needs more memory than its pool gives" in why_retried(jobs)


def test_node_that_is_lost_does_not_keep_the_job(
    operator: OperatorProcess, jobs: Jobs, kubelet: KubeletStandIn, api: ClusterApi
) -> None:
    start_hanging(operator, jobs)
    kubelet.silent = True
    (pod,) = pods_of(api, jobs.namespace)
    name = pod["metadata"]["name"]
    api("DELETE", f"/api/v1/namespaces/{jobs.namespace}/pods/{name}")  # as the taint manager does
    assert f"its node {kubelet.name} does not answer" in why_retried(jobs)
    kubelet.silent = False
    jobs.reaches("hang", "Running")


def test_deleted_job_is_created_again_in_another_attempt(
    operator: OperatorProcess, jobs: Jobs, api: ClusterApi
) -> None:
    start_hanging(operator, jobs)
    (job,) = jobs_of(api, jobs.namespace)
    path = f"/apis/batch/v1/namespaces/{jobs.namespace}/jobs/{job['metadata']['name']}"
    api("DELETE", f"{path}?propagationPolicy=Background")
    assert "the Job was deleted" in why_retried(jobs)


def test_job_over_its_deadline_leaves_no_pod(
    operator: OperatorProcess, jobs: Jobs, api: ClusterApi
) -> None:
    operator.start()
    apply(jobs, "hang", activeDeadlineSeconds=3)
    status = jobs.ended("hang")
    assert (status["phase"], status["outcome"]["reason"]) == ("Failed", "DeadlineExceeded")
    wait_until(lambda: pods_of(api, jobs.namespace) == [], START_TIMEOUT_S)


def test_edited_deadline_reaches_the_job_that_is_going(
    operator: OperatorProcess, jobs: Jobs, api: ClusterApi
) -> None:
    operator.start()
    apply(jobs, "hang", activeDeadlineSeconds=600)
    jobs.reaches("hang", "Running")

    def limit() -> int | None:
        (job,) = jobs_of(api, jobs.namespace)
        found: int | None = job["spec"].get("activeDeadlineSeconds")
        return found

    assert limit() == 600
    for seconds in (1200, 300, None):
        jobs.patch("hang", {"activeDeadlineSeconds": seconds})
        wait_until(lambda: limit() == seconds, START_TIMEOUT_S)  # noqa: B023 -- called at once
    assert jobs.status("hang")["attempt"] == 1


def test_quota_that_forbids_the_pod_is_reported_and_waited_for(
    operator: OperatorProcess, jobs: Jobs, api: ClusterApi
) -> None:
    forbid(api, jobs.namespace, "requests.nvidia.com/gpu")
    operator.start()
    apply(jobs, "succeed")
    status = jobs.says("succeed", "has no pod", START_TIMEOUT_S)
    assert "exceeded quota: none" in status["message"]
    api("DELETE", f"{quotas_of(jobs.namespace)}/none")
    status = jobs.ended("succeed", 2 * START_TIMEOUT_S)  # Kubernetes tries again, later each time
    assert (status["phase"], status["attempt"]) == ("Succeeded", 1)


def quotas_of(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/resourcequotas"


def forbid(api: ClusterApi, namespace: str, what: str) -> None:
    """Let there be a quota `none` that allows none of `what`, and wait until it counts."""
    spec = {"hard": {what: "0"}}
    api("POST", quotas_of(namespace), {"metadata": {"name": "none"}, "spec": spec})
    wait_until(
        lambda: "hard" in api("GET", f"{quotas_of(namespace)}/none").get("status", {}),
        START_TIMEOUT_S,
    )


def test_quota_that_forbids_the_job_is_reported_and_waited_for(
    operator: OperatorProcess, jobs: Jobs, api: ClusterApi
) -> None:
    forbid(api, jobs.namespace, "count/jobs.batch")
    operator.start()
    apply(jobs, "succeed")
    status = jobs.says("succeed", "exceeded quota: none", START_TIMEOUT_S)
    assert "exceeded quota: none" in status["message"]
    (submitted,) = (each for each in status["conditions"] if each["type"] == "Submitted")
    assert (submitted["status"], submitted["reason"]) == ("False", "SubmissionFailed")
    assert "exceeded quota" in submitted["message"]
    api("DELETE", f"{quotas_of(jobs.namespace)}/none")
    status = jobs.ended("succeed")
    assert (status["phase"], status["attempt"]) == ("Succeeded", 1)


def test_suspended_job_has_no_pod_and_goes_on_in_another(
    operator: OperatorProcess, jobs: Jobs, api: ClusterApi
) -> None:
    start_hanging(operator, jobs)
    jobs.patch("hang", {"suspend": True})
    jobs.reaches("hang", "Suspended")
    assert pods_of(api, jobs.namespace) == []
    jobs.patch("hang", {"suspend": False})
    jobs.reaches("hang", "Running")
    assert jobs.status("hang")["attempt"] == 2


def waiting(pod: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
    (spec,) = pod["spec"]["containers"]
    container = {"name": spec["name"], "image": spec["image"], "imageID": "", "ready": False}
    return {"containerStatuses": [{**container, "restartCount": 0, "state": {"waiting": state}}]}


# --- between operators


def test_operators_leave_each_others_runs_alone(
    control_plane: ControlPlane, store: Store, secured: str, kubelet: KubeletStandIn, plans: Any
) -> None:
    def of(operator: str, *namespaces: str) -> ConnectingEngine:
        return make_engine(control_plane, store, kubelet, namespaces, operator)

    async def scenario() -> None:
        plan = plans("hang")
        handle = await of("one", secured).submit(plan.run, plan)
        assert await of("one", secured).runs() == (handle,)
        assert handle in await of("one").runs()
        assert await of("one", "default").runs() == ()
        assert await of("two", secured).runs() == ()
        assert await of("two", secured).find(plan.run) == (handle,)
        await of("one", secured).cancel(handle)

    asyncio.run(scenario())


def test_admission_takes_the_pod_under_the_profile_restricted(
    api: ClusterApi, secured: str, plans: Any
) -> None:
    plan = plans("succeed")
    pool = Pool(accelerator_count=1, priority_class="", cpu="500m", memory="64Mi")
    order = Order(plan, f"sha256:{'0' * 64}", "all", pool, "s3://bucket", "fulcrum")
    spec = render(order, settings_for(store_secret="s3", image_pull_secrets=("pull",)))
    pod = {"apiVersion": "v1", "kind": "Pod", **spec["spec"]["template"]}
    pod["metadata"] = {**pod["metadata"], "name": "fulcrum"}
    path = f"/api/v1/namespaces/{secured}/pods?dryRun=All"
    assert api("POST", path, pod)["spec"]["automountServiceAccountToken"] is False
    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    with pytest.raises(RefusedError, match='violates PodSecurity "restricted'):
        api("POST", path, pod)
