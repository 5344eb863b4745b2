"""A node without a machine: what a kubelet would report, over programs that really run here.

The API server, the Job controller and the scheduler are real; only this says that a container runs,
by running `pod_stand_in.py` with the arguments and variables of the pod. A test may let it report
instead what a kubelet reports of nodes and images that are in trouble.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from cluster_api import ClusterApi, RefusedError

LOOK_S = 0.1
HEARTBEAT_S = 5.0
PROGRAM = Path(__file__).with_name("pod_stand_in.py")
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
Object = dict[str, Any]


def now() -> str:
    """Return the time as the API server writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Container:
    """A program that runs in the place of a pod's container."""

    process: subprocess.Popen[bytes]
    last_message: Path
    stopped_s: float | None = None
    reason: str = "Error"

    def kill(self) -> None:
        """End it with all that it started, as the end of a container's first process does."""
        with contextlib.suppress(psutil.NoSuchProcess):
            first = psutil.Process(self.process.pid)
            first.suspend()  # so that it starts nothing in between
            for each in (*first.children(recursive=True), first):
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()


@dataclass
class KubeletStandIn:
    """One node, until `close`.

    Attributes:
        api: As an administrator.
        name: Of the node.
        directory: For the programs' files.
        resources: What the node has, beside some CPU and memory.
        labels: Of the node, beside its name's.
        report: Given a pod before it starts; what it returns is the pod's status instead.
        silent: Whether it does nothing, as a machine that was cut off.
        linger_s: How long pods that are to go stay after their programs have ended.
    """

    api: ClusterApi
    name: str
    directory: Path
    resources: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    report: Callable[[Object], Object | None] = lambda pod: None
    silent: bool = False
    linger_s: float = 0.0
    _containers: dict[str, Container] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _errors: list[BaseException] = field(default_factory=list)

    def start(self) -> KubeletStandIn:
        """Register the node and look after its pods."""
        taint = {"key": "fulcrum-test", "value": self.name, "effect": "NoSchedule"}
        labels = {"fulcrum-test": self.name, **self.labels}
        self.api("POST", "/api/v1/nodes", {
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": self.name, "labels": labels}, "spec": {"taints": [taint]},
        })  # fmt: skip
        spec = {"holderIdentity": self.name, "leaseDurationSeconds": 40}
        self.api("POST", LEASES, {
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": self.name}, "spec": spec,
        })  # fmt: skip
        self._beat()
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()
        return self

    def close(self) -> None:
        """End its programs and take the node away."""
        self._stop.set()
        self._thread.join()
        for container in self._containers.values():
            container.kill()
            container.process.wait()
        self.api("DELETE", f"/api/v1/nodes/{self.name}")
        self.api("DELETE", f"{LEASES}/{self.name}")
        if self._errors:
            raise self._errors[0]

    def pool(self, **fields: Any) -> Object:
        """Return a pool of the operator's settings that is this node."""
        return {
            "node_selector": {"fulcrum-test": self.name},
            "tolerations": [{"key": "fulcrum-test", "value": self.name, "effect": "NoSchedule"}],
            "cpu": "1",
            "memory": "1Gi",
            **fields,
        }

    def pods(self) -> list[Object]:
        """Return the pods that the scheduler gave to it."""
        path = f"/api/v1/pods?fieldSelector=spec.nodeName%3D{self.name}"
        found: list[Object] = self.api("GET", path)["items"]
        return found

    def kill_for_memory(self) -> None:
        """Kill all its programs, as the kernel does where they are over their limit."""
        for container in self._containers.values():
            container.reason = "OOMKilled"
            container.kill()

    # --- the loop

    def _run(self) -> None:
        beaten_s = time.monotonic()
        while not self._stop.wait(LOOK_S):
            if self.silent:
                continue
            try:
                for pod in self.pods():
                    self._look_after(pod)
                if time.monotonic() - beaten_s > HEARTBEAT_S:
                    self._beat()
                    beaten_s = time.monotonic()
            except RefusedError as error:
                if error.code not in (404, 409):
                    self._errors.append(error)
                    return

    def _beat(self) -> None:
        amounts = {"cpu": "16", "memory": "64Gi", "pods": "110", **self.resources}
        conditions = [{**_condition("Ready", "True"), "lastHeartbeatTime": now()}]
        status = {"capacity": amounts, "allocatable": amounts, "conditions": conditions}
        self.api("PATCH", f"/api/v1/nodes/{self.name}/status", {"status": status})
        moment = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        self.api("PATCH", f"{LEASES}/{self.name}", {"spec": {"renewTime": moment}})

    def _look_after(self, pod: Object) -> None:
        container = self._containers.get(pod["metadata"]["uid"])
        leaving = "deletionTimestamp" in pod["metadata"]
        if container is None:
            self._new(pod, leaving)
        elif container.process.poll() is not None:
            self._ended(pod, container, leaving)
        elif leaving and container.stopped_s is None:
            container.stopped_s = time.monotonic()
            container.process.send_signal(signal.SIGTERM)

    def _new(self, pod: Object, leaving: bool) -> None:
        if leaving:
            self._let_go(pod)
        elif pod["status"].get("phase") == "Pending":
            reported = self.report(pod)
            if reported is not None:
                if any(pod["status"].get(name) != value for name, value in reported.items()):
                    self._patch(pod, reported)
                return
            self._patch(pod, _running(pod))
            self._containers[pod["metadata"]["uid"]] = self._launch(pod)

    def _launch(self, pod: Object) -> Container:
        (spec,) = pod["spec"]["containers"]
        assert spec["command"][-1] == "fulcrum_pipelines.runner.pod"
        scratch = Path(tempfile.mkdtemp(prefix="pod-", dir=self.directory))
        variables = {each["name"]: each["value"] for each in spec["env"]}
        arguments = [str(scratch) if each == "/scratch" else each for each in spec["args"]]
        last_message = scratch / "termination-log"
        with (scratch / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, str(PROGRAM), str(last_message), *arguments],
                env={**os.environ, **variables, "HOME": str(scratch), "TMPDIR": str(scratch)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return Container(process, last_message)

    def _ended(self, pod: Object, container: Container, leaving: bool) -> None:
        if pod["status"].get("phase") not in ("Succeeded", "Failed"):
            code = container.process.returncode
            code = code if code >= 0 else 128 - code
            message = ""
            if container.last_message.exists():
                message = container.last_message.read_text()
            reason = container.reason if code else "Completed"
            self._patch(pod, _terminated(pod, code, reason, message))
        if leaving and time.monotonic() - (container.stopped_s or 0.0) >= self.linger_s:
            self._let_go(pod)

    def _let_go(self, pod: Object) -> None:
        metadata = pod["metadata"]
        self.api("DELETE", _path(pod), {
            "apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0,
            "preconditions": {"uid": metadata["uid"]},
        })  # fmt: skip

    def _patch(self, pod: Object, status: Object) -> None:
        self.api("PATCH", f"{_path(pod)}/status", {"status": status})


def _path(pod: Object) -> str:
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"


def _condition(kind: str, status: str) -> Object:
    return {"type": kind, "status": status, "lastTransitionTime": now()}


def _running(pod: Object) -> Object:
    state = {"running": {"startedAt": now()}}
    return _status(pod, "Running", state, ready=True)


def _terminated(pod: Object, code: int, reason: str, message: str) -> Object:
    times = {"startedAt": now(), "finishedAt": now()}
    state = {"terminated": {"exitCode": code, "reason": reason, "message": message, **times}}
    return _status(pod, "Failed" if code else "Succeeded", state, ready=False)


def _status(pod: Object, phase: str, state: Object, *, ready: bool) -> Object:
    """A merge replaces lists as a whole, so all conditions are there."""
    (spec,) = pod["spec"]["containers"]
    before = [each for each in pod["status"].get("conditions", ()) if each["type"] != "Ready"]
    container = {
        "name": spec["name"],
        "image": spec["image"],
        "imageID": "",
        "ready": ready,
        "started": ready,
        "restartCount": 0,
        "state": state,
    }
    return {
        "phase": phase,
        "conditions": [*before, _condition("Ready", "True" if ready else "False")],
        "containerStatuses": [container],
    }
