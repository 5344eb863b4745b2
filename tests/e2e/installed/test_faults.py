"""Faults of nodes and of the store: each ends in one class and at most one result."""

from __future__ import annotations

import time
from typing import Any

import pytest
from installation import BUCKET, JOB_S, SAY_S, STORE, TEAM, Installation
from node.real_cluster import GPU_A
from operators import wait_until

KUBELET_AWAY_S = 120.0
STORE_AWAY_S = 60.0


def check_second_attempt(fulcrum: Installation, name: str, reason: str) -> None:
    """The first attempt failed by no fault of the job's, and the second had the only result."""
    status = fulcrum.jobs.ended(name, JOB_S)
    assert (status["phase"], status["attempt"]) == ("Succeeded", 2), status
    assert status["failures"] == {"infrastructure": 1}
    (why,) = [text for kind, text in fulcrum.jobs.events(name) if kind == "Retrying"]
    assert reason in why
    runs = {key.split("/")[2] for key in fulcrum.objects(f"{STORE}/runs") if name in key}
    assert len(runs) == 2
    uri = status["evidence"]["uri"].removeprefix(f"s3://{BUCKET}/")
    assert uri.split("/")[2] == max(runs)


def test_pod_deleted_in_a_stage(fulcrum: Installation, name: str) -> None:
    fulcrum.apply(name, {"wait": "20"})
    pod = fulcrum.pod_works(name)
    fulcrum.cluster.kubectl("delete", "pod", pod, f"-n={TEAM}")
    check_second_attempt(fulcrum, name, "asked to stop")


def test_node_drained_in_a_stage(fulcrum: Installation, name: str) -> None:
    fulcrum.apply(name, {"wait": "20"})
    fulcrum.pod_works(name)
    try:
        fulcrum.cluster.drain(GPU_A.name)
        fulcrum.jobs.says(name, "unschedulable", SAY_S)
    finally:
        fulcrum.cluster.kubectl("uncordon", GPU_A.name)
    check_second_attempt(fulcrum, name, "drained")


def test_kubelet_away_for_two_minutes(fulcrum: Installation, name: str) -> None:
    """The pod goes on meanwhile, and its end is seen when the kubelet is back."""
    fulcrum.apply(name, {"wait": "20"})
    fulcrum.pod_works(name)
    with fulcrum.cluster.kubelet_stopped(GPU_A.name):
        time.sleep(KUBELET_AWAY_S)
        assert fulcrum.jobs.status(name)["phase"] == "Running"
    status = fulcrum.jobs.ended(name, JOB_S)
    assert (status["phase"], status["attempt"]) == ("Succeeded", 1), status


def test_store_away_for_a_minute(fulcrum: Installation, name: str) -> None:
    fulcrum.apply(name, {"wait": "10"}, backoffLimit=5)
    fulcrum.pod_works(name)
    with fulcrum.store_away(STORE_AWAY_S):
        time.sleep(STORE_AWAY_S / 2)
        assert fulcrum.jobs.status(name)["phase"] not in ("Succeeded", "Rejected", "Inconclusive")
    status = fulcrum.jobs.ended(name, JOB_S)
    assert status["phase"] == "Succeeded", status
    assert set(status.get("failures") or {}) <= {"infrastructure"}


def test_damaged_model_is_never_promoted(fulcrum: Installation, name: str) -> None:
    fulcrum.jobs.create("ModelChannel", name, {"description": "production"})
    fulcrum.apply(name, promotion={"channel": name, "mode": "Manual"})
    status = fulcrum.jobs.reaches(name, "AwaitingApproval", timeout_s=JOB_S)
    path = fulcrum.store.file(status["candidate"]["uri"])
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    promotion = promotion_of(fulcrum, name, status)
    fulcrum.jobs.create("ModelPromotion", name, promotion)
    wait_until(
        lambda: fulcrum.jobs.status(name, "ModelPromotion").get("phase") == "Refused",
        60,
        lambda: str(fulcrum.jobs.status(name, "ModelPromotion")),
    )
    assert "is corrupt" in fulcrum.jobs.status(name, "ModelPromotion")["message"]
    assert "current" not in fulcrum.jobs.status(name, "ModelChannel")


def promotion_of(fulcrum: Installation, name: str, status: dict[str, Any]) -> dict[str, Any]:
    """Return the specification of a promotion of a job's model, as `fulcrum promote` makes it."""
    whoami = ("auth", "whoami", "--output=jsonpath={.status.userInfo.username}")
    uid = fulcrum.jobs.get(name)["metadata"]["uid"]
    run = status["evidence"]["uri"].split("/runs/")[1].split("/")[0]
    return {
        "channel": name,
        "from": "",
        "to": {"digest": status["candidate"]["digest"], "uri": status["candidate"]["uri"]},
        "job": {"name": name, "uid": uid},
        "evidence": {"run": run, "digest": status["evidence"]["digest"]},
        "requestedBy": fulcrum.cluster.kubectl(*whoami),
    }


@pytest.mark.parametrize(
    ("pool", "words"),
    [("little-memory", "memory"), ("no-image", "image")],
)
def test_pool_that_cannot_run_it(fulcrum: Installation, name: str, pool: str, words: str) -> None:
    fulcrum.apply(name, placement={"compute": pool}, backoffLimit=0)
    status = fulcrum.jobs.ended(name, JOB_S)
    assert status["phase"] == "Failed"
    assert status["failures"] == {"infrastructure": 1}
    assert words in status["message"]


def test_missing_secret(fulcrum: Installation, name: str) -> None:
    kubectl, here = fulcrum.cluster.kubectl, f"-n={TEAM}"
    kept = kubectl("get", "secret", "fulcrum-store", here, "--output=yaml")
    kubectl("delete", "secret", "fulcrum-store", here)
    try:
        fulcrum.apply(name)
        fulcrum.jobs.says(name, 'secret "fulcrum-store" not found', SAY_S)
    finally:
        kubectl("create", "-f", "-", here, stdin=kept)
    status = fulcrum.jobs.ended(name, JOB_S)  # it was there in time
    assert (status["phase"], status["attempt"]) == ("Succeeded", 1), status


def test_out_of_scratch_space(fulcrum: Installation, name: str) -> None:
    fulcrum.apply(name, {"fill_mb": "400", "wait": "60"}, backoffLimit=0)
    status = fulcrum.jobs.ended(name, JOB_S)
    assert status["phase"] == "Failed"
    assert status["failures"] == {"infrastructure": 1}
    assert "exceeds the limit" in status["message"]


def test_stage_over_its_deadline(fulcrum: Installation, name: str) -> None:
    fulcrum.apply(name, {"wait": "3600"}, stageDeadlineSeconds={"evaluate": 20})
    status = fulcrum.jobs.ended(name, JOB_S)
    assert status["phase"] == "Failed"
    assert status["failures"] == {"deadline": 1}
    assert "evaluate" in status["message"]
    assert status["attempt"] == 1
