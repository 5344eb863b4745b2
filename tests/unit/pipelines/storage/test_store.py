"""The store keeps its objects, detects corrupt ones, and never shows half a file."""

from __future__ import annotations

import errno
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from builders.evidence import make_stage

from fulcrum_pipelines.contract import digest_of
from fulcrum_pipelines.errors import CorruptError, InfrastructureError
from fulcrum_pipelines.storage.store import (
    CHUNK_BYTES,
    StageState,
    Store,
    cache_path,
    object_path,
    stage_path,
)


@pytest.fixture(params=["directory", "file URL", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A store of each kind that needs no server."""
    urls = {
        "directory": str(tmp_path / "store"),
        "file URL": f"file://{tmp_path}/store",
        "memory": f"memory://{tmp_path.name}",
    }
    return Store(urls[request.param])


def test_artifact_comes_back_by_its_digest(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "a.bin"
    source.write_bytes(b"weights")
    artifact = store.put(source, "model.onnx", "application/vnd.onnx")
    assert artifact.digest == digest_of(b"weights")
    assert artifact.size_bytes == 7
    assert store.get(artifact.digest, tmp_path / "back" / "b.bin").read_bytes() == b"weights"


def test_corrupt_artifact_is_refused_and_not_left_behind(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "a.bin"
    source.write_bytes(b"weights")
    digest = store.put(source, "model", "x/y").digest
    store.write(object_path(digest), b"changed")
    with pytest.raises(InfrastructureError, match="is corrupt: its content has the digest"):
        store.get(digest, tmp_path / "b.bin")
    assert not (tmp_path / "b.bin").exists()


def test_missing_artifact_is_named(store: Store, tmp_path: Path) -> None:
    digest = digest_of(b"never stored")
    with pytest.raises(InfrastructureError, match=f"cannot read {object_path(digest)}"):
        store.get(digest, tmp_path / "b.bin")


def test_whole_artifact_is_verified(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "large.bin"
    source.write_bytes(b"w" * (CHUNK_BYTES + 1))
    digest = store.put(source, "model", "x/y").digest
    assert store.verify(digest) == CHUNK_BYTES + 1
    store.write(object_path(digest), b"w" * CHUNK_BYTES + b"v")
    with pytest.raises(CorruptError, match="is corrupt: its content has the digest"):
        store.verify(digest)


def test_missing_artifact_fails_verification(store: Store) -> None:
    digest = digest_of(b"never stored")
    with pytest.raises(CorruptError, match=f"artifact {digest} is missing"):
        store.verify(digest)


def test_unreachable_store_says_nothing_of_an_artifact(tmp_path: Path) -> None:
    store, digest = Store(str(tmp_path)), digest_of(b"weights")
    (tmp_path / object_path(digest)).mkdir(parents=True)  # opening a directory fails, also for root
    with pytest.raises(InfrastructureError, match="cannot read") as caught:
        store.verify(digest)
    assert not isinstance(caught.value, CorruptError)


def test_records_come_back_equal(store: Store) -> None:
    evidence = make_stage("evaluate")
    store.write_record(stage_path("run-1", "evaluate"), evidence)
    assert store.stage_evidence("run-1", "evaluate") == evidence
    assert store.stage_evidence("run-1", "prune") is None


def test_garbage_evidence_names_file_and_field(store: Store) -> None:
    store.write(stage_path("run-1", "evaluate"), b'{"stage": "evaluate"}')
    with pytest.raises(InfrastructureError, match=r"evaluate\.json.*not valid evidence: \w+"):
        store.stage_evidence("run-1", "evaluate")


@pytest.mark.parametrize("content", [b"", b"\xff", b"{}", b"onnx"])
def test_artifact_that_is_no_plan_is_said_to_be_none(store: Store, content: bytes) -> None:
    digest = digest_of(content)
    store.write(object_path(digest), content)
    with pytest.raises(CorruptError, match=f"{digest[-8:]}.*not a valid plan: "):
        store.plan(digest)


def test_cache_forgets_evidence_whose_artifacts_are_gone(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "model.onnx"
    source.write_bytes(b"model")
    artifact = store.put(source, "model.onnx", "application/vnd.onnx")
    evidence = make_stage("evaluate").model_copy(update={"outputs": (artifact,)})
    store.write_record(cache_path("evaluate", evidence.inputs_digest), evidence)
    assert store.cached("evaluate", evidence.inputs_digest) == evidence
    store.delete(object_path(artifact.digest))
    assert store.cached("evaluate", evidence.inputs_digest) is None


def test_overwriting_leaves_no_partial_files(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    for attempt in range(3):
        state = StageState(stage="prune", state="Running", started_at="", message=str(attempt))
        store.write_record("runs/r/state/prune.json", state)
    assert [path.name for path in (tmp_path / "runs/r/state").iterdir()] == ["prune.json"]


def test_unknown_protocol_is_an_error_with_the_url() -> None:
    with pytest.raises(InfrastructureError, match="store nope://x"):
        Store("nope://x")


def test_every_replacement_starts_from_what_is_there(tmp_path: Path) -> None:
    """Each writer adds its number to a list, and none of them is lost."""
    path, numbers = "channels/a.json", range(32)

    def add(number: int) -> None:
        store = Store(str(tmp_path))
        while True:
            found = store.read(path)
            known = json.loads(found) if found else []
            if store.replace(path, json.dumps([*known, number]).encode(), found):
                return

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, numbers))
    assert sorted(json.loads(Store(str(tmp_path)).read(path) or b"")) == list(numbers)


def test_replacement_of_what_is_no_longer_there_is_refused(tmp_path: Path) -> None:
    store, path = Store(str(tmp_path)), "channels/a.json"
    assert not store.replace(path, b"new", b"old")
    assert store.read(path) is None
    assert store.replace(path, b"old", None)
    assert not store.replace(path, b"new", None)
    assert store.replace(path, b"new", b"old")
    assert store.replace(path, b"new", b"old")  # again, since the answer was lost
    assert not store.replace(path, b"newer", b"old")
    assert store.read(path) == b"new"


def test_file_system_without_locks_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(file: object, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    store = Store(str(tmp_path))
    with pytest.raises(InfrastructureError, match=r"No locks available.*use a file system with"):
        store.replace("channels/a.json", b"new", None)
    assert store.read("channels/a.json") is None
