"""A separate control plane with Kueue, since its webhooks would check other tests' pods too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cluster.building import binaries, chosen_minor
from cluster.control_plane import ControlPlane
from cluster.installing import install
from cluster.processes import stop_abandoned, this_process
from cluster_api import ClusterApi
from kubelet_stand_in import KubeletStandIn
from kueue.building import built
from kueue.controller import Kueue
from operator_site import Site, open_site
from queues import Queues


def pytest_runtestloop(session: pytest.Session) -> None:
    """Build before the first test, since a build takes longer than a test may."""
    wanted = any("kueue" in getattr(item, "fixturenames", ()) for item in session.items)
    if wanted and not session.config.option.collectonly:
        terminal = session.config.get_terminal_writer()
        built(binaries(chosen_minor()).kubectl, say=lambda text: terminal.line(text, flush=True))


@pytest.fixture(scope="session")
def kueue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kueue]:
    """Kueue, running."""
    found = built(binaries(chosen_minor()).kubectl)
    stop_abandoned()
    directory = tmp_path_factory.mktemp("control-plane")
    plane = ControlPlane(directory, binaries(chosen_minor()), owner=this_process())
    plane.start()
    try:
        install(plane)
        made = Kueue(plane, found)
        made.start()
        yield made
    finally:
        plane.stop()


@pytest.fixture
def site(kueue: Kueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A namespace of the test's own."""
    made = open_site(kueue.cluster, tmp_path)
    monkeypatch.setenv("STAND_IN_DIRECTORY", str(tmp_path / "signs"))  # pods get it too
    yield made
    made.close()
    kueue.cluster.kubectl("delete", "namespace", made.namespace, "--wait=false")


@pytest.fixture
def api(kueue: Kueue) -> ClusterApi:
    """The API, as an administrator."""
    return ClusterApi(kueue.cluster.admin_kubeconfig)


@pytest.fixture
def node(site: Site, api: ClusterApi, tmp_path: Path) -> Iterator[Callable[[str], KubeletStandIn]]:
    """Make nodes with one GPU each, by name."""
    made: list[KubeletStandIn] = []

    def new(name: str) -> KubeletStandIn:
        node = KubeletStandIn(api, f"{name}-{site.namespace}", tmp_path, {"nvidia.com/gpu": "1"})
        made.append(node.start())
        return node

    yield new
    for each in made:
        each.close()


@pytest.fixture
def queues(site: Site, api: ClusterApi) -> Iterator[Queues]:
    """The queues of the test's namespace."""
    made = Queues(api, site.namespace)
    yield made
    made.close()


@pytest.fixture
def urgent(api: ClusterApi) -> Iterator[None]:
    """A class of pods that others make room for."""
    path = "/apis/scheduling.k8s.io/v1/priorityclasses"
    body = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "value": 1000}
    api("POST", path, {**body, "metadata": {"name": "urgent"}})
    yield
    api("DELETE", f"{path}/urgent")
