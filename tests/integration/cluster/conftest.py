"""One real control plane for all tests of this folder, with Fulcrum's schemas and roles applied."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest
from cluster.building import Binaries, binaries, chosen_minor
from cluster.control_plane import ControlPlane
from cluster.installing import install
from cluster.kubectl import Kubectl
from cluster.processes import stop_abandoned, this_process


def pytest_runtestloop(session: pytest.Session) -> None:
    """Build before the first test, since a build takes longer than a test may."""
    wanted = any("built" in getattr(item, "fixturenames", ()) for item in session.items)
    if wanted and not session.config.option.collectonly:
        terminal = session.config.get_terminal_writer()
        binaries(chosen_minor(), say=lambda message: terminal.line(message, flush=True))


@pytest.fixture(scope="session")
def built() -> Binaries:
    """The binaries of the version that the variable K8S names."""
    return binaries(chosen_minor())


@pytest.fixture(scope="session")
def control_plane(
    built: Binaries, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ControlPlane]:
    """A control plane that all tests share; each keeps to its own namespace and names."""
    stop_abandoned()
    directory = tmp_path_factory.mktemp("control-plane")
    shared = ControlPlane(directory, built, owner=this_process())
    shared.start()
    try:
        install(shared)
        yield shared
    finally:
        shared.stop()


@pytest.fixture
def kubectl(control_plane: ControlPlane) -> Kubectl:
    """Run kubectl as an administrator: returns what it printed, raises with what it complained."""
    return control_plane.kubectl


@pytest.fixture
def namespace(kubectl: Kubectl) -> Iterator[str]:
    """A namespace of the test's own, with its default service account."""
    name = f"test-{secrets.token_hex(4)}"
    kubectl("create", "namespace", name)
    kubectl("wait", "--for=create", "serviceaccount/default", f"--namespace={name}")
    yield name
    kubectl("delete", "namespace", name, "--wait=false")
