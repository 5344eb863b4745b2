"""The cluster of a checkout: what `make cluster` and `make cluster-down` do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from cluster import local
from cluster.building import Binaries
from cluster.control_plane import ControlPlane
from cluster.errors import ClusterError
from cluster.kubectl import Kubectl, KubectlError
from cluster.operating import OPERATOR, start_operator
from cluster.processes import Processes
from cluster.programs import NAMES, SCHEDULER

from fulcrum_operator.settings import load_settings

STAND_IN = "#!/bin/sh\n[ $1 = --config ] || exit 2\nsleep 600 &\necho $! > child\nwait\n"


@pytest.fixture(scope="module")
def directory(built: Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The state of a cluster that is up; of the binaries that `up` finds itself."""
    directory = tmp_path_factory.mktemp("checkout") / "cluster"
    local.up(directory)
    yield directory
    local.down(directory)


def test_up_again_changes_nothing_and_prints_how_to_use_it(
    directory: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert Processes(directory).running(OPERATOR)
    before = [Processes(directory).running(name) for name in NAMES]
    local.up(directory)
    assert [Processes(directory).running(name) for name in NAMES] == before
    lines = capfd.readouterr().out.splitlines()
    assert lines == [
        f"export KUBECONFIG={directory}/kubeconfigs/admin.yaml",
        f"export PATH={directory}/bin:$PATH",
    ]
    for command in ("kubectl", "fulcrum"):
        assert (directory / "bin" / command).resolve().is_file()


def test_credentials_of_a_user_start_without_rights(
    directory: Path, built: Binaries, capfd: pytest.CaptureFixture[str]
) -> None:
    local.user("ann", directory)
    line = capfd.readouterr().out.strip()
    kubectl = Kubectl(built.kubectl, Path(line.removeprefix("export KUBECONFIG=")))
    assert "ann" in kubectl("auth", "whoami")
    with pytest.raises(KubectlError, match='User "ann" cannot list'):
        kubectl("get", "compressionjobs")
    with pytest.raises(ClusterError, match="NAME=ann"):
        local.user("", directory)


def test_up_refuses_to_replace_another_version(
    directory: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, built: Binaries
) -> None:
    for path in (built.etcd, built.apiserver, built.controller_manager, built.scheduler):
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "kubectl").write_text("of another version")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    with pytest.raises(ClusterError, match="make cluster-down"):
        local.up(directory)


def test_operator_runs_as_its_service_account_and_ends_with_the_cluster(
    built: Binaries, directory: Path, tmp_path: Path
) -> None:
    cluster = ControlPlane(directory, built)
    stand_in = tmp_path / "fulcrum"
    stand_in.write_text(STAND_IN.replace("child", str(tmp_path / "child")))
    stand_in.chmod(0o755)
    start_operator(cluster, [str(stand_in)])
    settings = load_settings(directory / "operator.yaml")
    assert settings.kubeconfig
    assert "client-certificate" not in settings.kubeconfig.read_text()
    child = psutil.Process(int(eventually_read(tmp_path / "child")))
    cluster.processes.stop([OPERATOR], grace_s=5)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    assert not cluster.processes.running(OPERATOR)


def test_status_names_what_does_not_run(
    built: Binaries, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert local.status(directory)
    cluster = ControlPlane(directory, built)
    cluster.stop_process(SCHEDULER)
    assert not local.status(directory)
    assert f"{SCHEDULER:<25} not running" in capsys.readouterr().out
    cluster.start_process(SCHEDULER)


def test_down_after_a_half_done_up_and_down_again(tmp_path: Path) -> None:
    directory = tmp_path / "cluster"
    half = Processes(directory)
    half.start("etcd", ["/bin/sleep", "600"], {})
    process = half.running("etcd")
    local.down(directory)
    assert process
    assert not process.is_running()
    assert not directory.exists()
    local.down(directory)


def eventually_read(path: Path) -> str:
    """Return what is in `path` once it is there."""
    deadline_s = time.monotonic() + 10
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    return path.read_text()
