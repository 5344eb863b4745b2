"""Files come from every allowed scheme, once, and are kept by their content."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from cluster.certificates import SERVER, Authority
from fsspec.implementations.memory import MemoryFileSystem
from model_files import SIGNATURE, examples, write_bundle

from fulcrum_components.data import fingerprint, open_dataset
from fulcrum_components.models.loading import load_model
from fulcrum_components.sources.fetching import fetch, fetch_all
from fulcrum_pipelines.errors import FulcrumError, InfrastructureError, UserError
from fulcrum_pipelines.resources.compressionjob import DataSource

WHERE = "spec.model.uri"


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    filesystem = fsspec.filesystem("memory")
    yield filesystem
    filesystem.store.clear()
    filesystem.pseudo_dirs[:] = [""]


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, Any]]:
    moto = pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield {"endpoint_url": f"http://{host}:{port}", "key": "key", "secret": "secret"}
    server.stop()


def test_local_files_are_used_in_place(tmp_path: Path) -> None:
    path = tmp_path / "a file.txt"
    path.write_text("x")
    for uri in (str(path), f"file://{path}"):
        assert fetch(uri, cache_dir=tmp_path / "cache", where=WHERE) == path
    assert not (tmp_path / "cache").exists()


def test_remote_file_is_copied_once(memory: MemoryFileSystem, tmp_path: Path) -> None:
    memory.pipe("/d/a.bin", b"one")
    first = fetch("memory://d/a.bin", cache_dir=tmp_path, where=WHERE)
    inode = first.stat().st_ino
    assert first.read_bytes() == b"one"
    again = fetch("memory://d/a.bin", cache_dir=tmp_path, where=WHERE)
    assert again.stat().st_ino == inode
    memory.pipe("/d/a.bin", b"two")
    assert fetch("memory://d/a.bin", cache_dir=tmp_path, where=WHERE).read_bytes() == b"two"
    assert first.read_bytes() == b"one"


def test_remote_glob_in_order(memory: MemoryFileSystem, tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        memory.pipe(f"/g/{name}.csv", name.encode())
    found = fetch_all("memory://g/*.csv", cache_dir=tmp_path, where=WHERE)
    assert [each.path.name for each in found] == ["a.csv", "b.csv", "c.csv"]
    assert [each.address for each in found] == [f"memory:///g/{name}.csv" for name in "abc"]
    with pytest.raises(UserError, match=r"no file matches 'memory://g/\*\.npz'"):
        fetch_all("memory://g/*.npz", cache_dir=tmp_path, where=WHERE)


def test_names_that_a_glob_found_are_no_globs(memory: MemoryFileSystem, tmp_path: Path) -> None:
    for name in ("part [1].csv", "part 1.csv"):
        memory.pipe(f"/g/{name}", name.encode())
    found = fetch_all("memory://g/*.csv", cache_dir=tmp_path, where=WHERE)
    assert [each.path.read_text() for each in found] == ["part 1.csv", "part [1].csv"]


def test_remote_bundle_has_the_digest_of_the_local_one(
    memory: MemoryFileSystem, tmp_path: Path
) -> None:
    local = write_bundle(tmp_path / "b")
    memory.put(str(local), "/models/b", recursive=True)
    expected = load_model(str(local), cache_dir=tmp_path / "cache").digest
    for _ in range(2):
        model = load_model("memory://models/b", digest=expected, cache_dir=tmp_path / "cache")
        assert model.digest == expected


def test_s3(s3: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fsspec.config.conf, "s3", s3)
    np.savez(tmp_path / "d.npz", **examples())
    filesystem = fsspec.filesystem("s3")
    filesystem.mkdir("bucket")
    filesystem.put(str(tmp_path / "d.npz"), "bucket/d.npz")
    prints = {
        fingerprint(
            open_dataset(
                DataSource(uri=uri),
                SIGNATURE,
                "classification",
                where="",
                cache_dir=tmp_path / "cache",
            )
        )
        for uri in ("s3://bucket/d.npz", f"file://{tmp_path}/d.npz")
    }
    assert len(prints) == 1
    with pytest.raises(UserError, match="nothing is at 's3://bucket/none'"):
        fetch("s3://bucket/none", cache_dir=tmp_path / "cache", where=WHERE)


def test_server_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    options = {
        "endpoint_url": f"http://127.0.0.1:{port}",
        "key": "key",
        "secret": "secret",
        "config_kwargs": {"retries": {"max_attempts": 0}, "connect_timeout": 1},
    }
    monkeypatch.setitem(fsspec.config.conf, "s3", options)
    with pytest.raises(InfrastructureError, match="reading 's3://bucket/x' failed"):
        fetch("s3://bucket/x", cache_dir=tmp_path, where=WHERE)


def test_signature_of_an_address_is_not_repeated(tmp_path: Path) -> None:
    uri = "https://127.0.0.1:9/model.onnx?X-Amz-Signature=0123456789abcdef"
    with pytest.raises(FulcrumError, match=r"'https://127.0.0.1:9/model.onnx'") as caught:
        fetch(uri, cache_dir=tmp_path, where=WHERE)
    assert "0123456789abcdef" not in str(caught.value)


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of a web server whose files are there for those who sign, and which lists nothing."""

    class Files(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            signed = self.path == "/models/a.csv?signature=a*b"
            body = b"x,y\n" if signed else b"no"
            self.send_response(200 if signed else 403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    authority = Authority(tmp_path, "web")
    pair = authority.issue("localhost", "localhost", usages=(SERVER,))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Files)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.certificate, pair.key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    trusting = ssl.create_default_context(cafile=str(authority.pair.certificate))
    monkeypatch.setitem(fsspec.config.conf, "https", {"ssl": trusting})
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"https://localhost:{server.server_port}/models"
    server.shutdown()
    thread.join()
    server.server_close()


def test_signed_address_is_no_glob_and_its_file_keeps_its_name(web: str, tmp_path: Path) -> None:
    found = fetch(f"{web}/a.csv?signature=a*b", cache_dir=tmp_path / "cache", where=WHERE)
    assert (found.name, found.read_bytes()) == ("a.csv", b"x,y\n")
