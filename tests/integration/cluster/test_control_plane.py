"""The control plane itself: it starts, refuses, forgets nothing, and leaves nothing behind."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from cluster.building import Binaries
from cluster.certificates import Pair
from cluster.control_plane import ControlPlane
from cluster.errors import ClusterError
from cluster.kubectl import Kubectl, KubectlError
from cluster.ports import free_ports
from cluster.probing import answers
from cluster.processes import Processes, stop_abandoned, this_process
from cluster.programs import APISERVER, HOST, NAMES, SCHEDULER

HACK = Path(__file__).resolve().parents[3] / "hack"
# Seen on Kubernetes 1.37: 4.4, 4.6 and 5.2 s, with nine processes waiting for each of two cores.
START_CPU_S = 10.0
START_AND_KILL = """
import os, signal, sys
from pathlib import Path
from cluster.building import Binaries
from cluster.control_plane import ControlPlane
from cluster.processes import this_process
directory, *binaries = map(Path, sys.argv[1:])
ControlPlane(directory, Binaries(*binaries), owner=this_process()).start()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def second(built: Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane that tests may disturb."""
    plane = ControlPlane(tmp_path_factory.mktemp("second"), built, owner=this_process())
    plane.start()
    yield plane
    plane.stop()


def ids(processes: Processes) -> set[int]:
    """Return the ids of all programs, each of which must run."""
    running = [processes.running(name) for name in NAMES]
    assert all(running)
    return {process.pid for process in running if process}


def running(pids: set[int]) -> set[int]:
    """Return those of `pids` that run."""
    return {
        pid
        for pid in pids
        if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    }


def eventually(read: Callable[[], str]) -> str:
    """Return what `read` returns once it is allowed: the API server learns of roles by a watch."""
    deadline_s = time.monotonic() + 10
    while True:
        try:
            return read()
        except KubectlError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.1)


def start_and_be_killed(directory: Path, built: Binaries) -> set[int]:
    """Let another process start a control plane and kill itself; return what it left running."""
    paths = [str(directory), *(str(path) for path in dataclasses.astuple(built))]
    environment = {**os.environ, "PYTHONPATH": str(HACK)}
    starter = subprocess.run(
        [sys.executable, "-c", START_AND_KILL, *paths], env=environment, check=False
    )
    assert starter.returncode == -signal.SIGKILL
    return ids(Processes(directory))


def test_answers_in_the_version_that_was_built(control_plane: ControlPlane) -> None:
    assert control_plane.is_ready()
    minor = os.environ.get("K8S", "1.37")
    assert f'"gitVersion": "v{minor}.' in control_plane.kubectl("get", "--raw", "/version")
    assert f"Client Version: v{minor}." in control_plane.kubectl("version", "--client")


def test_fulcrums_schema_is_served(kubectl: Kubectl, namespace: str) -> None:
    assert "No resources found" not in kubectl("explain", "compressionjobs.spec.recipe")
    with pytest.raises(KubectlError, match="spec: Required value"):
        kubectl(
            *("create", f"--namespace={namespace}", "-f", "-"),
            stdin='{"apiVersion": "fulcrum.dev/v1alpha1", "kind": "CompressionJob",'
            ' "metadata": {"name": "empty"}}',
        )


def test_plain_user_may_do_what_roles_say_and_no_more(
    control_plane: ControlPlane, kubectl: Kubectl, namespace: str
) -> None:
    kubeconfig = control_plane.kubeconfig_for(f"alice-{namespace}", ["team:a"])
    alice = Kubectl(control_plane.binaries.kubectl, kubeconfig)
    with pytest.raises(KubectlError, match=f'Forbidden.*"alice-{namespace}" cannot list'):
        alice("get", "pods", f"--namespace={namespace}")
    kubectl(
        *("create", "rolebinding", "readers", "--clusterrole=view", "--group=team:a"),
        f"--namespace={namespace}",
    )
    assert eventually(lambda: alice("get", "pods", f"--namespace={namespace}")) == ""
    with pytest.raises(KubectlError, match="Forbidden"):
        alice("get", "pods", "--namespace=default")


def test_users_of_one_name_and_other_groups_are_others(control_plane: ControlPlane) -> None:
    first = control_plane.kubeconfig_for("bob", ["a"])
    assert first.read_text() != control_plane.kubeconfig_for("bob", ["b"]).read_text()
    assert first.stat().st_mode & 0o077 == 0
    who = Kubectl(control_plane.binaries.kubectl, first)("auth", "whoami", "-o", "json")
    assert '"username": "bob"' in who
    assert '"a"' in who


def test_token_is_of_the_service_account(control_plane: ControlPlane, namespace: str) -> None:
    kubeconfig = control_plane.token_kubeconfig(namespace, "default")
    assert "client-certificate" not in kubeconfig.read_text()
    who = Kubectl(control_plane.binaries.kubectl, kubeconfig)("auth", "whoami")
    assert f"system:serviceaccount:{namespace}:default" in who


def test_two_run_side_by_side(control_plane: ControlPlane, second: ControlPlane) -> None:
    ports = dataclasses.astuple(control_plane.ports)
    assert not set(ports) & set(dataclasses.astuple(second.ports))
    second.kubectl("create", "namespace", "only-in-second")
    with pytest.raises(KubectlError, match='"only-in-second" not found'):
        control_plane.kubectl("get", "namespace", "only-in-second")


def test_database_is_closed_to_users_of_the_api(second: ControlPlane) -> None:
    """A user who could read etcd would read every secret, despite roles."""
    pki = second.directory / "pki"
    health = f"https://{HOST}:{second.ports.etcd}/health"
    assert answers(health, pki / "etcd-ca.crt", Pair.at(pki, "etcd"))
    assert not answers(health, pki / "etcd-ca.crt", Pair.at(pki, "admin"))


def test_restarted_api_server_keeps_data_and_port(second: ControlPlane) -> None:
    second.kubectl("create", "configmap", "kept", "--from-literal=key=value")
    server = second.server
    second.stop_process(APISERVER)
    with pytest.raises(KubectlError, match="refused"):
        second.kubectl("get", "configmap", "kept")
    assert not second.is_ready()
    second.start_process(APISERVER)
    assert second.server == server
    assert second.kubectl("get", "configmap", "kept", "-o", "jsonpath={.data.key}") == "value"


def test_whole_control_plane_starts_again_with_its_data(second: ControlPlane) -> None:
    second.kubectl("create", "configmap", "old", "--from-literal=key=value")
    second.stop()
    second.start()
    assert second.kubectl("get", "configmap", "old", "-o", "jsonpath={.data.key}") == "value"


def test_taken_port_is_tried_again_with_others(built: Binaries, tmp_path: Path) -> None:
    with socket.socket() as occupant:
        occupant.bind((HOST, 0))
        occupant.listen()
        taken = dataclasses.replace(free_ports(), apiserver=occupant.getsockname()[1])
        choices = iter([taken, free_ports()])
        plane = ControlPlane(tmp_path, built, lambda: next(choices), owner=this_process())
        plane.start()
        try:
            assert plane.ports.apiserver != taken.apiserver
        finally:
            plane.stop()


def test_error_shows_the_log_of_what_ended(built: Binaries, tmp_path: Path) -> None:
    scheduler = tmp_path / "scheduler"
    scheduler.write_text("#!/bin/sh\necho the plan is lost\nexit 3\n")
    scheduler.chmod(0o755)
    broken = dataclasses.replace(built, scheduler=scheduler)
    plane = ControlPlane(tmp_path / "plane", broken, owner=this_process())
    with pytest.raises(ClusterError, match=f"{SCHEDULER} ended(.*\n)+the plan is lost"):
        plane.start()
    assert plane.processes.names() == []


def test_start_costs_little(built: Binaries, tmp_path: Path) -> None:
    """Bounds the processor time of a start, since wall time depends on who else is at work."""
    plane = ControlPlane(tmp_path, built, owner=this_process())
    plane.start()
    try:
        programs = [psutil.Process(pid).cpu_times() for pid in ids(plane.processes)]
        assert sum(times.user + times.system for times in programs) < START_CPU_S
    finally:
        plane.stop()


def test_stop_leaves_no_process(built: Binaries, tmp_path: Path) -> None:
    plane = ControlPlane(tmp_path, built, owner=this_process())
    plane.start()
    started = ids(plane.processes)
    assert len(started) == len(NAMES)
    plane.stop()
    assert not running(started)
    assert plane.processes.names() == []
    plane.stop()


def test_folder_is_enough_to_stop_what_a_killed_starter_left(
    built: Binaries, tmp_path: Path
) -> None:
    left = start_and_be_killed(tmp_path, built)
    ControlPlane(tmp_path, built).stop()
    assert not running(left)


def test_abandoned_processes_are_found_without_their_records(
    built: Binaries, tmp_path: Path, second: ControlPlane
) -> None:
    left = start_and_be_killed(tmp_path, built)
    for record in tmp_path.glob("run/*.json"):
        record.unlink()
    assert Processes(tmp_path).names() == sorted(NAMES)
    stop_abandoned()
    assert not running(left)
    assert second.is_ready(), "its owner lives"


def test_another_process_with_the_same_id_is_left_alone(tmp_path: Path) -> None:
    """Ids are used again; the start time shows that this one was not started here."""
    with subprocess.Popen(["sleep", "60"]) as bystander:
        try:
            (tmp_path / "run").mkdir()
            record = f"[{bystander.pid}, {time.time() - 3600}, 0]"
            (tmp_path / "run" / "etcd.json").write_text(record)
            Processes(tmp_path).stop(["etcd"], grace_s=0)
            assert bystander.poll() is None
        finally:
            bystander.kill()
