"""One real S3 server for all tests of this folder, and clients that have nothing but its keys."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator

import pytest
from cluster.processes import stop_abandoned, this_process
from s3.accounts import Keys
from s3.building import server_binary
from s3.server import Server

from fulcrum_pipelines.storage.s3 import BoundedS3
from fulcrum_pipelines.storage.store import PATIENCE, Store


def pytest_runtestloop(session: pytest.Session) -> None:
    """Build before the first test, since a build takes longer than a test may."""
    wanted = any("server" in getattr(item, "fixturenames", ()) for item in session.items)
    if wanted and not session.config.option.collectonly:
        terminal = session.config.get_terminal_writer()
        server_binary(say=lambda message: terminal.line(message, flush=True))


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server, which tests do not use directly."""
    stop_abandoned()
    made = Server(tmp_path_factory.mktemp("s3"), server_binary(), owner=this_process())
    made.start()
    yield made
    made.stop()


@pytest.fixture
def server(shared: Server) -> Iterator[Server]:
    """The server; a test may stop it."""
    yield shared
    if not shared.is_up():
        shared.start()


@pytest.fixture
def bucket(server: Server) -> str:
    """The URL of a bucket of the test's own."""
    return server.make_bucket(f"test-{secrets.token_hex(4)}")


@pytest.fixture
def be(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Become the client with the given keys, or with what a test sets instead."""

    def become(keys: Keys | None = None, **changes: str | None) -> None:
        for name in os.environ:
            if name.startswith(("AWS_", "FSSPEC_")):
                monkeypatch.delenv(name)
        monkeypatch.setenv(PATIENCE, "0")
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        for name, value in {**server.environment(keys), **changes}.items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)
        BoundedS3.clear_instance_cache()  # file systems keep the credentials that they started with

    become()
    yield become
    BoundedS3.clear_instance_cache()


@pytest.fixture
def store(bucket: str, be: Callable[..., None]) -> Store:
    """A store in the test's bucket, as its owner."""
    return Store(f"{bucket}/store")
