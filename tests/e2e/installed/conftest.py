"""Fulcrum installed once, for all tests of this folder, by the commands of the README."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cluster.processes import this_process
from helm.building import helm_binary
from installation import BUCKET, Installation
from installation_sources import put_sources
from node.commands import missing
from node.real_cluster import RealCluster
from s3.building import server_binary
from s3.server import Server

FIRST, LAST = "test_install", "test_removal"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Look at what was installed before nodes are drained, and remove it after all else."""
    here = Path(__file__).parent
    places = [number for number, item in enumerate(items) if item.path.parent == here]
    own = sorted((items[number] for number in places), key=_turn)
    for number, item in zip(places, own, strict=True):
        items[number] = item


def _turn(item: pytest.Item) -> int:
    return (item.path.stem == LAST) - (item.path.stem == FIRST)


def pytest_runtestloop(session: pytest.Session) -> None:
    """Build before the first test, since a build takes longer than a test may."""
    wanted = any("fulcrum" in getattr(item, "fixturenames", ()) for item in session.items)
    if wanted and not missing() and not session.config.option.collectonly:
        helm_binary()
        server_binary()


@pytest.fixture(scope="session")
def store(node: RealCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An S3 server that the pods reach, with a bucket and what jobs are made of in it."""
    directory = tmp_path_factory.mktemp("s3")
    server = Server(directory, server_binary(), address=node.slot.host, owner=this_process())
    server.start()
    try:
        server.make_bucket(BUCKET)
        put_sources(server.client(), directory / "bundles", BUCKET, "sources")
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def fulcrum(
    node: RealCluster,
    store: Server,
    image: Callable[..., str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Installation:
    """The installation; a separate test removes it."""
    image("operator", "plain")
    image("components", "gpu-a")
    directory = tmp_path_factory.mktemp("reader")
    made = Installation(node, store, directory, helm_binary())
    made.install()
    return made


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A name for the test's job that no other has."""
    words = request.node.originalname.removeprefix("test_").replace("_", "-")[:30].strip("-")
    return f"{words}-{secrets.token_hex(2)}"


@pytest.fixture(autouse=True)
def _free_pool(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leave no job behind that holds the only accelerator."""
    yield
    if "fulcrum" in request.fixturenames:
        made: Installation = request.getfixturevalue("fulcrum")
        for job in made.unfinished():
            made.jobs.delete(job)
            made.jobs.gone(job)
