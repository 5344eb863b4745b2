"""Operators beside the control plane that all tests share, each for the test's namespace only."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster.control_plane import ControlPlane
from cluster.kubectl import Kubectl
from operators import Jobs, OperatorProcess


@pytest.fixture
def new_operator(
    control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> Iterator[Callable[..., OperatorProcess]]:
    """Make operators that look after the test's namespace; they share store and work directory."""
    made: list[OperatorProcess] = []
    lease = f"fulcrum-{namespace}"
    _allow_lease(control_plane.kubectl, lease)

    def make(name: str = "one", kubeconfig: Path | None = None, **changes: Any) -> OperatorProcess:
        directory = tmp_path / f"operator-{name}"
        directory.mkdir()
        token = control_plane.token_kubeconfig("fulcrum-system", "fulcrum-operator")
        settings = {
            "identity": name,
            "namespaces": [namespace],
            "kubeconfig": str(kubeconfig or token),
            "store": f"file://{tmp_path / 'store'}",
            "source_root": "file:///sources",
            "log_format": "text",
            "http": {"port": 0},
            "process": {"work_root": str(tmp_path / "work"), "max_running": 4},
            "election": {
                "lease_name": lease,
                "lease_duration_s": 4.0,
                "renew_every_s": 1.0,
                "margin_s": 1.0,
            },
            "reconcile": {"poll_s": 0.2, "sweep_every_s": 1.0, "first_backoff_s": 0.2},
        }
        config = directory / "settings.yaml"
        config.write_text(yaml.safe_dump(_merged(settings, changes)))
        made.append(OperatorProcess(directory, config))
        return made[-1]

    yield make
    for operator in made:
        operator.stop(signal.SIGKILL)


def _allow_lease(kubectl: Kubectl, lease: str) -> None:
    """Its role names the one Lease of a cluster's operator; here each test has one of its own."""
    here = ("-n", "fulcrum-system")
    account = "--serviceaccount=fulcrum-system:fulcrum-operator"
    kubectl("create", "role", lease, "--verb=*", "--resource=leases.coordination.k8s.io", *here)
    kubectl("create", "rolebinding", lease, f"--role={lease}", account, *here)


def _merged(settings: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {
        **settings,
        **{
            name: {**settings.get(name, {}), **value} if isinstance(value, dict) else value
            for name, value in changes.items()
        },
    }


@pytest.fixture
def jobs(kubectl: Kubectl, namespace: str) -> Jobs:
    """The jobs of the test's namespace."""
    return Jobs(kubectl, namespace)


@pytest.fixture
def starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Count the runs that the stand-in was started for."""
    directory = tmp_path / "starts"
    directory.mkdir()
    monkeypatch.setenv("STAND_IN_DIRECTORY", str(directory))
    return lambda: len(list(directory.glob("started-*")))
