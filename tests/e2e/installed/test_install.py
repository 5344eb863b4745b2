"""A job on the pool that it asked for, from `helm install` to the channel that serving reads."""

from __future__ import annotations

import re
from typing import Any

from helm.running import NAMESPACE as SYSTEM
from installation import BUCKET, FIRST_JOB, JOB_S, SAY_S, STORE, TEAM, Installation
from node.real_cluster import GPU, GPU_A
from operators import wait_until


def test_readmes_first_job_runs_where_it_was_asked_to(fulcrum: Installation) -> None:
    status = fulcrum.jobs.ended(FIRST_JOB, JOB_S)
    assert (status["phase"], status["attempt"]) == ("Succeeded", 1), status
    assert {each["state"] for each in status["stages"]} == {"Succeeded"}
    (pod,) = fulcrum.pods(FIRST_JOB)
    spec: dict[str, Any] = pod["spec"]
    (container,) = spec["containers"]
    assert spec["nodeName"] == GPU_A.name
    assert spec["nodeSelector"] == {"pool": "gpu-a"}
    assert {"key": GPU, "operator": "Exists", "effect": "NoSchedule"} in spec["tolerations"]
    assert container["resources"]["limits"][GPU] == "1"
    assert not any(each["name"].startswith("kube-api-access") for each in spec["volumes"])


def test_job_for_a_full_pool_waits_with_its_reason_and_then_runs(
    fulcrum: Installation, name: str
) -> None:
    first = fulcrum.apply(f"{name}-1", {"wait": "20"})
    fulcrum.pod_works(first)
    channel = f"{name}-channel"
    fulcrum.jobs.create("ModelChannel", channel, {"description": "production"})
    second = fulcrum.apply(f"{name}-2", promotion={"channel": channel, "mode": "Automatic"})
    status = fulcrum.jobs.says(second, f"Insufficient {GPU}", SAY_S)
    assert status["attempt"] == 1
    assert status["phase"] in ("Pending", "Running")
    assert fulcrum.jobs.ended(first, JOB_S)["phase"] == "Succeeded"
    status = fulcrum.jobs.ended(second, JOB_S)
    assert (status["phase"], status["attempt"]) == ("Succeeded", 1), status
    held = fulcrum.jobs.status(channel, "ModelChannel")["current"]
    assert held["digest"] == status["candidate"]["digest"]
    assert held["uri"].startswith(f"s3://{BUCKET}/{STORE}/")
    check_traces(fulcrum, second, status)


def check_traces(fulcrum: Installation, job: str, status: dict[str, Any]) -> None:
    """Artifacts, evidence, Events, logs and metrics of a job are where people look for them."""
    kept = fulcrum.objects(STORE)
    for uri in (status["evidence"]["uri"], status["candidate"]["uri"]):
        assert uri.removeprefix(f"s3://{BUCKET}/") in kept
    assert {"Submitted", "Evaluated", "Succeeded"} <= set(fulcrum.jobs.reasons(job))
    (pod,) = fulcrum.pods(job)
    assert "validate" in fulcrum.cluster.logs(pod["metadata"]["name"], TEAM)
    metrics = fulcrum.metrics()
    assert "\nfulcrum_leader 1.0\n" in metrics
    assert re.search(r'fulcrum_job_outcomes_total\{.*phase="Succeeded".*\} [1-9]', metrics), metrics


def test_upgrade_and_rollback_leave_a_running_job_alone(fulcrum: Installation, name: str) -> None:
    fulcrum.apply(name, {"wait": "30"})
    fulcrum.pod_works(name)
    release = f"fulcrum charts/fulcrum --namespace={SYSTEM} --wait"
    fulcrum.run(
        f"helm upgrade {release} --values=values.yaml --set-string=podLabels.changed=yes\n"
        f"kubectl get pods --namespace={SYSTEM} --selector=changed=yes --output=name | grep pod/\n"
        f"helm rollback fulcrum 1 --namespace={SYSTEM} --wait"
    )
    status = fulcrum.jobs.ended(name, JOB_S)
    assert (status["phase"], status["attempt"]) == ("Succeeded", 1), status
    assert len(fulcrum.pods(name)) == 1


def test_standby_takes_over(fulcrum: Installation, name: str) -> None:
    before = fulcrum.holder()
    words = ("delete", "pod", fulcrum.leader(), f"-n={SYSTEM}", "--grace-period=0", "--force")
    fulcrum.cluster.kubectl(*words)
    wait_until(lambda: fulcrum.holder() not in ("", before), 60)
    fulcrum.apply(name)
    assert fulcrum.jobs.ended(name, JOB_S)["phase"] == "Succeeded"
