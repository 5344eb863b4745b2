"""A store, a stand-in server, and the engine over both."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from kubeflow.engines import execute, make_engine
from kubeflow.server import Server

from fulcrum_operator.engines.kubeflow.engine import KubeflowEngine
from fulcrum_pipelines.storage.store import Store


@pytest.fixture(autouse=True)
def own_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test unique keys, since a server keeps what earlier tests left."""
    monkeypatch.setattr("stand_in.UID", uuid.uuid4().hex)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(str(tmp_path / "store"))


@pytest.fixture
def server() -> Iterator[Server]:
    """A stand-in whose runs do their work."""
    with Server(execute=execute).running() as running:
        yield running


@pytest.fixture
def engine(server: Server, store: Store) -> KubeflowEngine:
    """The engine, without a cluster to look at."""
    return make_engine(server, store)
