"""Stores as a model's code reaches them: its own run's part, and nothing beside it."""

from __future__ import annotations

import hashlib
import io
import os
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from builders.plans import make_plan
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem

from fulcrum_components.sources import fetching
from fulcrum_components.stages import broker as broker_module
from fulcrum_components.stages.access import access_of
from fulcrum_components.stages.broker import BROKER, Broker
from fulcrum_components.stages.brokered import BrokeredFileSystem, brokered
from fulcrum_pipelines.contract import STAGES, Plan
from fulcrum_pipelines.errors import CorruptError, InfrastructureError, UserError
from fulcrum_pipelines.storage.store import cache_path, checkpoint_path, object_path

STORE = "bucket/fulcrum"
CONTENT = b"weights"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
OTHER = "0" * 64


def plan_of_team_a() -> Plan:
    data = {
        "task": "classification",
        "train": {"uri": "s3://data/train/*.npz"},
        "calibration": {
            "uri": "file:///data.py",
            "format": "python",
            "function": "read",
            "arguments": {"source": "s3://data/sensors"},
        },
        "validation": {"uri": "file:///data/validation.npz"},
        "test": {"uri": "s3://data/test.npz"},
    }
    models = {"model": {"uri": "s3://models/mine"}, "candidate": {"uri": "s3://models/theirs"}}
    plan = make_plan(**models, data=data)
    return plan.model_copy(update={"namespace": "team-a"})


PLAN = plan_of_team_a()


@dataclass(frozen=True)
class Site:
    """A bucket on disk and the worker's view of it."""

    directory: Path
    worker: BrokeredFileSystem

    def put(self, path: str, content: bytes = CONTENT) -> None:
        """Put an object there, as a user with credentials."""
        target = self.directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    def open_(url: str) -> tuple[Any, str]:
        disk = LocalFileSystem(auto_mkdir=True)
        return DirFileSystem(path=str(tmp_path / "s3"), fs=disk), url.partition("://")[2]

    with closing(Broker(PLAN, "prune", f"s3://{STORE}", open_)) as broker:
        monkeypatch.setenv(BROKER, str(broker.fd))
        yield Site(tmp_path / "s3", brokered("s3")())


@dataclass(frozen=True)
class Place:
    """A path in the bucket, and whether the stage prune of a run may use it."""

    name: str
    path: str
    read: bool = False
    write: bool = False


OWN = f"{STORE}/runs/{PLAN.run}"
PATHS = (
    Place("its evidence, which the supervisor writes", f"{OWN}/stages/prune.json", read=True),
    Place("its state", f"{OWN}/state/prune.json", read=True, write=True),
    Place("an earlier stage's evidence", f"{OWN}/stages/evaluate.json", read=True),
    Place("a later stage's evidence", f"{OWN}/stages/validate.json", read=True),
    Place("the run's evidence", f"{OWN}/evidence.json", read=True),
    Place("its log, which the supervisor keeps", f"{OWN}/logs/prune.log", read=True),
    Place("an artifact", f"{STORE}/{object_path(DIGEST)}", read=True, write=True),
    Place("its cache", f"{STORE}/{cache_path('prune', OTHER, 'team-a')}", read=True),
    Place("another stage's cache", f"{STORE}/{cache_path('validate', OTHER, 'team-a')}"),
    Place("another namespace's cache", f"{STORE}/{cache_path('prune', OTHER, 'team-b')}"),
    Place(
        "its checkpoint",
        f"{STORE}/{checkpoint_path(OTHER, 'team-a')}/state.json",
        read=True,
        write=True,
    ),
    Place("another's checkpoint", f"{STORE}/{checkpoint_path(OTHER, 'team-b')}/state.json"),
    Place("another run's evidence", f"{STORE}/runs/other-1/evidence.json"),
    Place("a run whose name goes on", f"{OWN}0/evidence.json"),
    Place("up and down again", f"{OWN}/../other-1/evidence.json"),
    Place("nothing between slashes", f"{OWN}//evidence.json"),
    Place("no artifact but beside them", f"{STORE}/objects/sha256/{DIGEST}"),
    Place("the whole store", STORE),
    Place("all runs", f"{STORE}/runs"),
    Place("beside the store", "bucket/fulcrum-secrets/key"),
    Place("its model", "models/mine/fulcrum.yaml", read=True),
    Place("a candidate", "models/theirs/fulcrum.yaml", read=True),
    Place("a model whose name goes on", "models/mine2/fulcrum.yaml"),
    Place("its test data", "data/test.npz", read=True),
    Place("its train data, by glob", "data/train/1.npz", read=True),
    Place("an argument of a function that reads", "data/sensors/1.csv", read=True),
    Place("others' data", "data/other.npz"),
)


@pytest.mark.parametrize("case", PATHS, ids=lambda case: case.name)
def test_what_may_be_read(case: Place, site: Site, tmp_path: Path) -> None:
    site.put(os.path.normpath(case.path) if not case.path.endswith(STORE) else f"{STORE}/x")
    uses: dict[str, Callable[[], object]] = {
        "info": lambda: site.worker.info(case.path),
        "list": lambda: site.worker.ls(case.path),
        "get": lambda: site.worker.get_file(case.path, str(tmp_path / "copy")),
    }
    if case.read:
        uses["info"]()
        uses["get"]()
        assert (tmp_path / "copy").read_bytes() == CONTENT
        return
    for use in uses.values():
        with pytest.raises(PermissionError, match="must not be read"):
            use()


@pytest.mark.parametrize("case", PATHS, ids=lambda case: case.name)
def test_what_may_be_written(case: Place, site: Site) -> None:
    target = site.directory / os.path.normpath(case.path)
    if case.write:
        with site.worker.open(case.path, "wb") as file:
            file.write(CONTENT)
        assert target.read_bytes() == CONTENT
        return
    with pytest.raises(PermissionError, match="must not be written"):
        site.worker.open(case.path, "wb").close()
    with pytest.raises(PermissionError, match="must not be written"):
        site.worker.rm(case.path, recursive=True)
    assert not target.exists()


@pytest.mark.parametrize("path", ["evidence.json", *(f"stages/{each}.json" for each in STAGES)])
def test_no_stage_puts_evidence_on_record_itself(path: str) -> None:
    rights = {stage: access_of(PLAN, stage, STORE, ()) for stage in PLAN.stages}
    assert not [name for name, it in rights.items() if it.may_write(f"{OWN}/{path}")]


def test_an_artifact_has_the_content_of_its_name_or_is_not_written(site: Site) -> None:
    path = f"{STORE}/{object_path(DIGEST)}"
    with (
        pytest.raises(PermissionError, match="has the digest"),
        site.worker.open(path, "wb") as file,
    ):
        file.write(b"others")
    assert not (site.directory / path).exists()


def test_an_artifact_is_never_removed(site: Site) -> None:
    path = f"{STORE}/{object_path(DIGEST)}"
    site.put(path)
    with pytest.raises(PermissionError, match="no stage removes"):
        site.worker.rm(path)
    assert (site.directory / path).exists()


def test_what_changes_while_it_is_written_is_not_what_was_checked(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker can write to its own file between the check and the upload."""
    source, path = tmp_path / "own", f"{STORE}/{object_path(DIGEST)}"
    source.write_bytes(CONTENT)
    flush = io.BufferedRandom.flush

    class Copy(io.BufferedRandom):
        def flush(self) -> None:
            source.write_bytes(b"changed")
            flush(self)

    def temporary() -> Copy:
        fd = os.open(tmp_path, os.O_RDWR | os.O_TMPFILE)
        return Copy(io.FileIO(fd, "r+"))

    monkeypatch.setattr(broker_module.tempfile, "TemporaryFile", temporary)
    site.worker.put_file(str(source), path)
    assert source.read_bytes() == b"changed"
    assert (site.directory / path).read_bytes() == CONTENT


def test_a_pipe_in_place_of_a_file_stops_nothing(site: Site) -> None:
    reader, writer = os.pipe()
    refused = pytest.raises(PermissionError, match="regular file")
    with os.fdopen(reader, "rb") as file, os.fdopen(writer, "wb"), refused:
        site.worker._ask("put", f"{OWN}/state/prune.json", file)


MALFORMED = (b"{", b"[]", b"{}", b'{"do": "info"}', b'{"do": 1, "url": {}}', b"\xff" * 100)


@pytest.mark.parametrize("request_", MALFORMED, ids=repr)
def test_a_malformed_request_is_refused_and_the_next_answered(request_: bytes, site: Site) -> None:
    ours, theirs = socket.socketpair()
    with ours, socket.socket(fileno=os.dup(int(os.environ[BROKER]))) as wire:
        with theirs:
            socket.send_fds(wire, [request_], [theirs.fileno()])
        assert b'"error"' in ours.makefile("rb").read()
        wire.send(request_)  # with no socket for the answer
    assert site.worker.exists(f"{OWN}/stages/prune.json") is False


def test_other_schemes_are_not_the_brokers(site: Site) -> None:
    for scheme in ("file", "http", "memory", "github"):
        with pytest.raises(PermissionError, match="is not read here"):
            brokered(scheme)().info("etc/passwd")


def test_many_at_once_each_have_their_own_answer(site: Site) -> None:
    paths = [f"{OWN}/logs/{number}" for number in range(50)]
    for path in paths:
        site.put(path, path.encode())

    def read(path: str) -> bytes:
        with site.worker.open(path) as file:
            return bytes(file.read())

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read, paths)) == [path.encode() for path in paths]


def test_a_fault_of_the_store_is_one_for_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    def down(url: str) -> tuple[Any, str]:
        raise InfrastructureError("does not answer", where=url)

    with closing(Broker(PLAN, "prune", f"s3://{STORE}", down)) as broker:
        monkeypatch.setenv(BROKER, str(broker.fd))
        with pytest.raises(InfrastructureError, match="does not answer"):
            brokered("s3")().exists(f"{OWN}/evidence.json")


def test_an_artifact_that_the_server_finds_damaged_is_so_for_the_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def damaged(url: str) -> tuple[Any, str]:
        raise CorruptError("is not what was written", where=url)

    with closing(Broker(PLAN, "prune", f"s3://{STORE}", damaged)) as broker:
        monkeypatch.setenv(BROKER, str(broker.fd))
        with pytest.raises(CorruptError, match="not what was written"):
            brokered("s3")().info(f"{STORE}/{object_path(DIGEST)}")


@pytest.mark.parametrize(
    "field",
    ["spec.model.uri", "spec.data.train.uri", "spec.data.train.uris", "spec.data.test.uri"],
)
@pytest.mark.parametrize("inside", ["inputs/x.npz", "inputs", f"runs/{PLAN.run}x/x.npz"])
def test_input_inside_the_store_is_refused_for_that_reason(
    inside: str, field: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_(url: str) -> tuple[Any, str]:
        return DirFileSystem(path=str(tmp_path), fs=LocalFileSystem()), url.partition("://")[2]

    uri = f"s3://{STORE}/{inside}"
    _, part, name, *_ = field.split(".")
    spec = PLAN.spec.model_dump(mode="json", by_alias=True)
    named = {"uri": None, "uris": ["a.npz", uri]} if field.endswith("uris") else {"uri": uri}
    (spec[part][name] if part == "data" else spec[part]).update(named)
    plan = PLAN.model_copy(update={"spec": type(PLAN.spec).model_validate(spec)})
    monkeypatch.setattr(fetching, "open_url", lambda url: (brokered("s3")(), f"{STORE}/{inside}"))
    with closing(Broker(plan, "evaluate", f"s3://{STORE}", open_)) as broker:
        monkeypatch.setenv(BROKER, str(broker.fd))
        with pytest.raises(UserError) as refused:
            fetching.fetch(uri, cache_dir=tmp_path / "cache", where=field)
    assert str(refused.value) == (
        f"{field}: inputs may not be inside the store, as '{uri}' is; keep them beside s3://{STORE}"
    )


def test_other_refusals_do_not_ask_for_credentials(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = "data/other.npz"
    monkeypatch.setattr(fetching, "open_url", lambda url: (site.worker, path))
    with pytest.raises(UserError, match="neither its own nor in the manifest"):
        fetching.fetch(f"s3://{path}", cache_dir=tmp_path / "cache", where="spec.model.uri")


def test_globs_find_what_the_manifest_names(site: Site) -> None:
    for name in ("train/1.npz", "train/2.npz", "other.npz"):
        site.put(f"data/{name}")
    assert site.worker.glob("s3://data/train/*.npz") == ["data/train/1.npz", "data/train/2.npz"]
    with pytest.raises(PermissionError):
        site.worker.glob("s3://data/*.npz")
