"""A real cluster with nodes, which all tests of this folder share; `make e2e` runs them as root."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

import pytest
from cluster.kubectl import Kubectl
from cluster.processes import this_process
from node.commands import missing
from node.local import IMAGES, build
from node.real_cluster import Build, RealCluster, clear, launch

RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"


def pytest_runtestloop(session: pytest.Session) -> None:
    """Build before the first test, since a build takes longer than a test may."""
    wanted = any("built" in getattr(item, "fixturenames", ()) for item in session.items)
    if wanted and not missing() and not session.config.option.collectonly:
        build()


@pytest.fixture(scope="session")
def built() -> Build:
    """All binaries; tests that need them are skipped where there can be no nodes."""
    lacking = missing()
    if lacking:
        pytest.skip(f"nodes need {', '.join(lacking)}")
    return build()


@pytest.fixture(scope="session")
def node(built: Build, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    """The cluster: nodes `plain` and `gpu-a`, the latter with a taint and one `nvidia.com/gpu`."""
    directory = tmp_path_factory.mktemp("cluster")
    cluster = launch(directory, built, owner=this_process())
    try:
        yield cluster
    finally:
        clear(directory)


@pytest.fixture(scope="session")
def image(node: RealCluster) -> Callable[..., str]:
    """Give a built image to nodes, all by default; return its name, or skip if it was not built."""
    given: set[str] = set()

    def give(name: str, *nodes: str) -> str:
        archive = IMAGES / f"{name}.tar"
        if not archive.exists():
            pytest.skip(f"no image {archive}; see docs/images.md")
        for target in nodes or node.nodes:
            if (key := f"{name} on {target}") not in given:
                node.import_image(archive, [target])
                given.add(key)
        return f"localhost/fulcrum-{name}:dev"

    return give


@pytest.fixture
def kubectl(node: RealCluster) -> Kubectl:
    """Run kubectl as an administrator: returns what it printed, raises with what it complained."""
    return node.kubectl


@pytest.fixture
def namespace(kubectl: Kubectl) -> Iterator[str]:
    """A namespace for one test that admits only restricted pods."""
    name = f"test-{secrets.token_hex(4)}"
    kubectl("create", "namespace", name)
    kubectl("label", "namespace", name, RESTRICTED)
    kubectl("wait", "--for=create", "serviceaccount/default", f"--namespace={name}")
    yield name
    kubectl("delete", "namespace", name, "--wait=false")
