"""The nodes themselves: they run pods as a cluster's nodes do, and leave nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cluster.installing import ROOT
from cluster.kubectl import Kubectl, KubectlError
from cluster.processes import this_process
from node.archives import NON_ROOT, PROBE_IMAGE
from node.real_cluster import GPU, GPU_A, PLAIN, Build, RealCluster, clear, clear_abandoned, launch
from node.slots import claimed_by
from node.traces import identities, on_this_machine, remaining
from node.worker import KERNEL_SETTINGS, Spec

WITHIN = "--timeout=60s"
TOLERATION = {"key": GPU, "operator": "Exists"}
START_AND_KILL = """
import os, signal, sys
from pathlib import Path
from cluster.processes import this_process
from node.local import build
from node.real_cluster import PLAIN, launch
launch(Path(sys.argv[1]), build(), [PLAIN], owner=this_process())
os.kill(os.getpid(), signal.SIGKILL)
"""


@dataclass(frozen=True)
class Pod:
    """A pod of the probe's image that the `restricted` standard lets in."""

    name: str
    arguments: list[str]
    pool: str = PLAIN.name
    gpus: int = 0
    tolerations: tuple[dict[str, str], ...] = ()

    def manifest(self) -> dict[str, Any]:
        """Return it as kubectl takes it."""
        limits = {"memory": "32Mi", "cpu": "100m"} | ({GPU: str(self.gpus)} if self.gpus else {})
        container = {
            "name": "probe",
            "image": PROBE_IMAGE,
            "args": self.arguments,
            "resources": {"limits": limits},
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
        }
        spec = {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": False,
            "nodeSelector": {"pool": self.pool},
            "tolerations": list(self.tolerations),
            "containers": [container],
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": NON_ROOT,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        }
        metadata = {"name": self.name}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


@dataclass(frozen=True)
class Pods:
    """The pods of one namespace."""

    kubectl: Kubectl
    namespace: str

    def create(self, pod: Pod) -> None:
        """Create it, and do not wait."""
        self("create", "-f", "-", stdin=json.dumps(pod.manifest()))

    def delete(self, name: str) -> None:
        """Delete it, and wait until it is gone."""
        self("delete", "pod", name, WITHIN)

    def wait_for_phase(self, name: str, phase: str) -> None:
        """Wait until the pod is in `phase`."""
        self("wait", f"--for=jsonpath={{.status.phase}}={phase}", f"pod/{name}", WITHIN)

    def why_pending(self, name: str) -> str:
        """Return the scheduler's reason, once it gives one."""
        self("wait", "--for=condition=PodScheduled=false", f"pod/{name}", WITHIN)
        return self.read(name, '{.status.conditions[?(@.type=="PodScheduled")].message}')

    def read(self, name: str, path: str) -> str:
        """Return one field of a pod."""
        return self("get", "pod", name, f"--output=jsonpath={path}")

    def __call__(self, *words: str, stdin: str | None = None) -> str:
        return self.kubectl(f"--namespace={self.namespace}", *words, stdin=stdin)


@pytest.fixture
def pods(kubectl: Kubectl, namespace: str) -> Pods:
    """The pods of the test's namespace."""
    return Pods(kubectl, namespace)


def test_nodes_are_what_they_were_asked_to_be(node: RealCluster) -> None:
    listed = json.loads(node.kubectl("get", "nodes", "--output=json"))["items"]
    found = {item["metadata"]["name"]: item for item in listed}
    assert set(found) == {PLAIN.name, GPU_A.name}
    for name, item in found.items():
        assert item["metadata"]["labels"]["pool"] == name
        assert item["status"]["nodeInfo"]["containerRuntimeVersion"].startswith("containerd://")
    assert GPU not in found[PLAIN.name]["status"]["allocatable"]
    assert found[GPU_A.name]["status"]["allocatable"][GPU] == "1"
    assert [taint["key"] for taint in found[GPU_A.name]["spec"]["taints"]] == [GPU]


def test_restricted_pod_runs_to_its_end_and_its_log_is_read(node: RealCluster, pods: Pods) -> None:
    pods.create(Pod("hello", ["say", "good", "morning"]))
    pods.wait_for_phase("hello", "Succeeded")
    assert node.logs("hello", pods.namespace) == "good morning\n"


def test_exit_code_and_out_of_memory_are_distinguished(pods: Pods) -> None:
    pods.create(Pod("wrong", ["exit", "7"]))
    pods.create(Pod("greedy", ["hold", "64"]))
    state = "{.status.containerStatuses[0].state.terminated['reason','exitCode']}"
    for name, expected in (("wrong", "Error 7"), ("greedy", "OOMKilled 137")):
        pods.wait_for_phase(name, "Failed")
        assert pods.read(name, state) == expected


def test_pod_that_is_not_restricted_is_refused(pods: Pods) -> None:
    with pytest.raises(KubectlError, match='violates PodSecurity "restricted:latest"'):
        pods("run", "loose", f"--image={PROBE_IMAGE}")


def test_command_is_run_in_a_pod(pods: Pods) -> None:
    pods.create(Pod("held", ["pause"]))
    pods.wait_for_phase("held", "Running")
    assert pods("exec", "held", "--", "/probe", "say", "inside") == "inside\n"


@pytest.mark.parametrize("pool", [PLAIN, GPU_A], ids=lambda spec: spec.name)
def test_pod_reaches_services_and_nothing_beyond_the_machine(
    node: RealCluster, pods: Pods, pool: Spec
) -> None:
    api = f"{node.slot.services[1]}:443"
    beyond = ["192.0.2.1:80", "169.254.169.254:80"]
    pods.create(Pod("caller", ["dial", api, *beyond], pool.name, tolerations=(TOLERATION,)))
    pods.wait_for_phase("caller", "Succeeded")
    said = node.logs("caller", pods.namespace).splitlines()
    assert said[0] == f"{api} reachable"
    assert [line.rpartition(": ")[2] for line in said[1:]] == ["network is unreachable"] * 2


def test_pod_resolves_services_by_their_short_and_long_names(node: RealCluster, pods: Pods) -> None:
    names = ["kubernetes.default", "kubernetes.default.svc.cluster.local", "elsewhere.example"]
    pods.create(Pod("caller", ["resolve", *names]))
    pods.wait_for_phase("caller", "Succeeded")
    said = node.logs("caller", pods.namespace).splitlines()
    api = str(node.slot.services[1])
    assert said[:2] == [f"{name} {api}" for name in names[:2]]
    assert api not in said[2]


def test_gpu_goes_to_one_pod_after_the_other(pods: Pods) -> None:
    pods.create(Pod("first", ["pause"], GPU_A.name, gpus=1, tolerations=(TOLERATION,)))
    pods.wait_for_phase("first", "Running")
    assert pods.read("first", "{.spec.nodeName}") == GPU_A.name
    pods.create(Pod("second", ["say", "mine"], GPU_A.name, gpus=1, tolerations=(TOLERATION,)))
    assert f"1 Insufficient {GPU}" in pods.why_pending("second")
    pods.delete("first")
    pods.wait_for_phase("second", "Succeeded")
    assert pods.read("second", "{.spec.nodeName}") == GPU_A.name


def test_pod_without_toleration_stays_off_the_gpus_for_a_reason(pods: Pods) -> None:
    pods.create(Pod("stranger", ["say", "never"], GPU_A.name, gpus=1))
    assert "had untolerated taint" in pods.why_pending("stranger")


def test_pods_of_a_stopped_kubelet_go_on_and_new_ones_wait(node: RealCluster, pods: Pods) -> None:
    pods.create(Pod("held", ["pause"], GPU_A.name, gpus=1, tolerations=(TOLERATION,)))
    pods.wait_for_phase("held", "Running")
    with node.kubelet_stopped(GPU_A.name):
        pods.create(Pod("late", ["say", "at last"], GPU_A.name, tolerations=(TOLERATION,)))
        pods("wait", "--for=condition=PodScheduled", "pod/late", WITHIN)
        time.sleep(3)  # a kubelet that runs starts it within one
        assert pods.read("late", "{.status.containerStatuses}") == ""
    pods.wait_for_phase("late", "Succeeded")
    assert pods.read("held", "{.status.containerStatuses[0]['restartCount','ready']}") == "0 true"
    allocatable = "--output=jsonpath={.status.allocatable.nvidia\\.com/gpu}"
    assert node.kubectl("get", "node", GPU_A.name, allocatable) == "1"


def test_cordoned_node_takes_no_pods(node: RealCluster, pods: Pods) -> None:
    with node.cordoned(PLAIN.name):
        pods.create(Pod("late", ["say", "at last"]))
        assert "were unschedulable" in pods.why_pending("late")
    pods.wait_for_phase("late", "Succeeded")


def test_drained_node_loses_its_pods(node: RealCluster, pods: Pods) -> None:
    pods.create(Pod("held", ["pause"]))
    pods.wait_for_phase("held", "Running")
    try:
        node.drain(PLAIN.name)
        with pytest.raises(KubectlError, match="NotFound"):
            pods.read("held", "{.status.phase}")
    finally:
        node.kubectl("uncordon", PLAIN.name)


def test_end_leaves_nothing(built: Build, tmp_path: Path) -> None:
    settings = kernel_settings()
    cluster = launch(tmp_path, built, [PLAIN], owner=this_process())
    try:
        found = with_a_pod(cluster)
    finally:
        ended_s = time.time()
        clear(tmp_path)
    assert_nothing_remains(cluster, found, ended_s)
    assert kernel_settings() == settings


def test_starter_that_is_killed_leaves_nothing_for_long(built: Build, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "hack")}
    command = [sys.executable, "-c", START_AND_KILL, str(tmp_path)]
    starter = subprocess.run(command, env=environment, check=False)
    assert starter.returncode == -signal.SIGKILL
    slot = claimed_by(tmp_path)
    assert slot
    cluster = RealCluster(tmp_path, slot, built, [PLAIN])
    try:
        found = with_a_pod(cluster)
    finally:
        ended_s = time.time()
        clear_abandoned()
    assert_nothing_remains(cluster, found, ended_s)


def with_a_pod(cluster: RealCluster) -> set[str]:
    """Run a pod on `cluster`; return what runs where, which must all be seen."""
    pods = Pods(cluster.kubectl, "default")
    pods.create(Pod("held", ["pause"]))
    pods.wait_for_phase("held", "Running")
    found = identities(cluster)
    assert remaining(found) == found
    there = on_this_machine(cluster.slot, cluster.plane.directory)
    assert [kind for kind, members in there.items() if members] == [
        "programs",
        "links",
        "control groups",
        "folders",
    ]
    return found


def assert_nothing_remains(cluster: RealCluster, found: set[str], ended_s: float) -> None:
    """Fail if anything does; a process that was killed may take a moment to be gone."""
    deadline_s = time.monotonic() + 5
    while (left := remaining(found, ended_s)) and time.monotonic() < deadline_s:
        time.sleep(0.1)
    assert left == set()
    there = on_this_machine(cluster.slot, cluster.plane.directory)
    assert {kind: members for kind, members in there.items() if members} == {}


def kernel_settings() -> dict[str, str]:
    """Return what kubelets like to change for the whole machine."""
    return {name: Path("/proc/sys", name).read_text() for name in KERNEL_SETTINGS}
