"""A bundle that tries everything, on a real node, with the chart's NetworkPolicies enforced."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.bundles import hostile
from helm.running import NAMESPACE as SYSTEM
from installation import BUCKET, STORE, TEAM, Installation
from node.policies import enforced

JOB_S = 420.0
METRICS_PORT = 8080


@pytest.fixture
def policies(fulcrum: Installation) -> Iterator[None]:
    """Without them the nodes' plain bridge lets everything through."""
    with enforced(fulcrum.cluster):
        yield


def targets(fulcrum: Installation, victim: str) -> dict[str, str]:
    """Return what there is to try: the API server, the operator, another team's finished run."""
    status = fulcrum.jobs.status(victim)
    prefix = f"s3://{BUCKET}/{STORE}/"
    plane = fulcrum.cluster.plane
    port = plane.server.rpartition(":")[2]
    services = fulcrum.cluster.slot.services
    words = ("get", "pods", f"-n={SYSTEM}", "--output=json")
    pod = json.loads(fulcrum.cluster.kubectl(*words))["items"][0]
    return hostile.targets(
        prefix.rstrip("/"),
        other_run=status["evidence"]["uri"].removeprefix(prefix),
        artifact=status["candidate"]["uri"].removeprefix(prefix),
        api_server=f"{fulcrum.cluster.slot.host}:{port},{services[1]}:443",
        other_pod=f"{pod['status']['podIP']}:{METRICS_PORT}",
    )


@pytest.mark.usefixtures("policies")
def test_a_hostile_bundle_gets_nowhere(fulcrum: Installation, name: str, tmp_path: Path) -> None:
    victim = fulcrum.apply(f"{name}-victim")
    assert fulcrum.jobs.ended(victim, JOB_S)["phase"] == "Succeeded"
    what = targets(fulcrum, victim)
    kept = {key: (fulcrum.store.file(f"{what['store']}/{what[key]}")).read_bytes()
            for key in ("other_run", "artifact")}  # fmt: skip
    client = fulcrum.store.client()
    for file in hostile.write_hostile_bundle(tmp_path / "hostile", what).iterdir():
        key = f"sources/{name}/model/{file.name}"
        client.put_object(Bucket=BUCKET, Key=key, Body=file.read_bytes())
    recipe = {"finetune": {"epochs": 1}, "quantize": {"method": "dynamic"}}
    fulcrum.apply(name, model={"uri": f"{name}/model"}, recipe=recipe)
    status = fulcrum.jobs.ended(name, JOB_S)
    (pod,) = fulcrum.pods(name)
    log = fulcrum.cluster.logs(pod["metadata"]["name"], TEAM)
    assert hostile.got(log, times=2) == {}
    assert (status["phase"], status["attempt"]) == ("Succeeded", 1), status
    for key, content in kept.items():
        assert fulcrum.store.file(f"{what['store']}/{what[key]}").read_bytes() == content
