"""The store on a real S3 server: what is kept, what is refused and in which words, and when."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from builders.evidence import make_stage
from s3.accounts import Keys
from s3.server import Server

from fulcrum_pipelines.contract import digest_of
from fulcrum_pipelines.errors import CorruptError, InfrastructureError
from fulcrum_pipelines.storage import s3
from fulcrum_pipelines.storage.remote import UnreachableError
from fulcrum_pipelines.storage.s3 import ATTEMPTS, PART_BYTES, BoundedS3
from fulcrum_pipelines.storage.store import Store, cache_path, object_path, stage_path

Become = Callable[..., None]
LARGE_BYTES = 2 * PART_BYTES + 12_345
UPLOAD = """
import sys
from pathlib import Path
from fulcrum_pipelines.storage.store import Store
Store(sys.argv[1]).put(Path(sys.argv[2]), "large", "x/y")
"""


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file that is uploaded in parts."""
    path = tmp_path / "large.bin"
    path.write_bytes(os.urandom(LARGE_BYTES))
    return path


def put(store: Store, tmp_path: Path, content: bytes = b"weights") -> str:
    source = tmp_path / "source.bin"
    source.write_bytes(content)
    return store.put(source, "model.onnx", "application/vnd.onnx").digest


def test_artifact_comes_back_by_its_digest(store: Store, tmp_path: Path) -> None:
    digest = put(store, tmp_path)
    assert store.verify(digest) == 7
    assert store.get(digest, tmp_path / "back" / "b.bin").read_bytes() == b"weights"


def test_large_artifact_goes_in_parts(
    server: Server, store: Store, large: Path, tmp_path: Path
) -> None:
    artifact = store.put(large, "large", "x/y")
    address = store.locate(object_path(artifact.digest))
    bucket, _, key = address.removeprefix("s3://").partition("/")
    assert server.client().head_object(Bucket=bucket, Key=key)["ETag"].endswith('-3"')
    assert store.verify(artifact.digest) == LARGE_BYTES
    assert store.get(artifact.digest, tmp_path / "back").read_bytes() == large.read_bytes()


def test_records_and_listings_are_never_old(store: Store, bucket: str) -> None:
    other = Store(f"{bucket}/store")
    evidence = make_stage("evaluate")
    assert store.names("runs/run-1/stages") == ()
    assert store.stage_evidence("run-1", "evaluate") is None
    other.write_record(stage_path("run-1", "evaluate"), evidence)
    assert store.stage_evidence("run-1", "evaluate") == evidence
    assert store.names("runs/run-1/stages") == ("evaluate.json",)
    other.write("runs/run-1/stages/prune.json", b"{}")
    assert store.names("runs/run-1/stages") == ("evaluate.json", "prune.json")
    store.delete("runs/run-1")
    assert other.names("runs/run-1/stages") == ()
    store.delete("runs/run-1")


def test_long_listing_is_whole(server: Server, store: Store) -> None:
    expected = tuple(sorted(f"{number}.json" for number in range(1100)))  # a page has 1000
    store.write(f"many/{expected[0]}", b"x")
    for name in expected[1:]:
        server.file(store.locate(f"many/{name}")).write_bytes(b"x")
    assert store.names("many") == expected


def test_writers_of_the_same_artifact_do_not_disturb_each_other(
    store: Store, large: Path, bucket: str
) -> None:
    stores = [Store(f"{bucket}/store") for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda each: each.put(large, "large", "x/y"), stores))
    assert len({artifact.digest for artifact in found}) == 1
    assert store.verify(found[0].digest) == LARGE_BYTES


def test_upload_that_is_killed_leaves_nothing(
    server: Server, store: Store, bucket: str, large: Path
) -> None:
    with server.hanging():  # so that it cannot be faster than the kill
        child = subprocess.Popen([sys.executable, "-c", UPLOAD, f"{bucket}/store", str(large)])
        time.sleep(2.0)
        child.kill()
        child.wait()
    digest = digest_of(large.read_bytes())
    with pytest.raises(CorruptError, match=f"artifact {digest} is missing"):
        store.verify(digest)
    store.put(large, "large", "x/y")
    assert store.verify(digest) == LARGE_BYTES


def test_parts_without_an_end_are_no_artifact(
    server: Server, store: Store, large: Path, bucket: str
) -> None:
    content = large.read_bytes()
    key = f"store/{object_path(digest_of(content))}"
    of = {"Bucket": bucket.removeprefix("s3://"), "Key": key}
    client = server.client()
    upload = client.create_multipart_upload(**of)["UploadId"]
    client.upload_part(**of, UploadId=upload, PartNumber=1, Body=content[:PART_BYTES])
    assert not store.is_intact(digest_of(content))
    store.put(large, "large", "x/y")
    assert store.is_intact(digest_of(content))


@pytest.mark.parametrize("content", [b"wrights", b"weigh", b""], ids=["changed", "cut", "empty"])
def test_damaged_artifact_is_refused_and_stored_again(
    server: Server, store: Store, tmp_path: Path, content: bytes
) -> None:
    digest = put(store, tmp_path)
    file = server.file(store.locate(object_path(digest)))
    file.write_bytes(content)
    with pytest.raises(CorruptError, match=f"artifact {digest} is corrupt") as caught:
        store.verify(digest)
    assert caught.value.failure_class == "infrastructure"
    with pytest.raises(CorruptError, match=f"artifact {digest} is corrupt"):
        store.get(digest, tmp_path / "back.bin")
    assert not (tmp_path / "back.bin").exists()
    put(store, tmp_path)
    assert store.verify(digest) == 7


def test_stage_with_a_damaged_artifact_is_not_taken_from_the_cache(
    server: Server, store: Store, tmp_path: Path
) -> None:
    source = tmp_path / "model.onnx"
    source.write_bytes(b"model")
    artifact = store.put(source, "model.onnx", "application/vnd.onnx")
    evidence = make_stage("evaluate").model_copy(update={"outputs": (artifact,)})
    store.write_record(cache_path("evaluate", evidence.inputs_digest), evidence)
    assert store.cached("evaluate", evidence.inputs_digest) == evidence
    server.file(store.locate(object_path(artifact.digest))).write_bytes(b"modem")
    assert store.cached("evaluate", evidence.inputs_digest) is None


@dataclass(frozen=True)
class Trouble:
    """A client with wrong settings, and the error that it gets.

    Attributes:
        name: Of the case.
        words: Parts of each error, besides the place.
        reason: The server's own words, which an answer to HEAD cannot have.
        changes: Of the client's environment; None removes a variable.
        bucket: That is asked for, instead of the test's own.
        reads: Whether reading works.
    """

    name: str
    words: tuple[str, ...]
    reason: str = ""
    changes: dict[str, str | None] = field(default_factory=dict)
    bucket: str = ""
    reads: bool = False


KEY, SECRET, ADDRESS = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL_S3"
FOREIGN = "an-invalid-secret"
TROUBLES = (
    Trouble("missing-bucket", ("there is no bucket 'nowhere-at-all' at http://127.0.0.1:",
                               "make it, or correct the URL"), bucket="nowhere-at-all"),
    Trouble("unknown-key", ("access was denied at http://127.0.0.1:", "give credentials with this"),
            "does not exist in our records", {KEY: "unknown", SECRET: FOREIGN}),
    Trouble("wrong-secret", ("access was denied",), "signature", {SECRET: FOREIGN}),
    Trouble("read-only", ("access was denied",), "Access Denied", reads=True),
    Trouble("no-credentials", ("there are no credentials", "set AWS_ACCESS_KEY_ID"),
            changes={KEY: None, SECRET: None}),
    Trouble("half-of-the-credentials", ("there are no credentials", f"missing: {SECRET}"),
            changes={SECRET: None}),
    Trouble("no-listener", ("no answer at http://127.0.0.1:9 ", f"up, and {ADDRESS} right?"),
            changes={ADDRESS: "http://127.0.0.1:9"}),
    Trouble("no-such-host", ("no answer at http://s3.invalid",),
            changes={ADDRESS: "http://s3.invalid"}),
    Trouble("no-address", ("Invalid endpoint: nonsense",), changes={ADDRESS: "nonsense"}),
)  # fmt: skip


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda each: each.name)
def test_trouble_is_reported(
    server: Server,
    bucket: str,
    be: Become,
    trouble: Trouble,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(s3, "ATTEMPTS", 1)
    reader = server.accounts.reader
    be(reader if trouble.reads else None, **trouble.changes)
    url = f"s3://{trouble.bucket}/store" if trouble.bucket else f"{bucket}/store"
    store, source, digest = Store(url), tmp_path / "a.bin", digest_of(b"weights")
    source.write_bytes(b"weights")
    asked: dict[str, Callable[[], object]] = {
        "cannot write a/b.json": lambda: store.write("a/b.json", b"{}"),
        "cannot write objects/": lambda: store.upload(source, object_path(digest)),
        "cannot read a/b.json": lambda: store.read("a/b.json"),
        "cannot list a": lambda: store.names("a"),
        "cannot read objects/": lambda: store.verify(digest),
    }
    for what, ask in asked.items():
        if trouble.reads and not what.startswith("cannot write"):
            continue
        with pytest.raises(InfrastructureError) as caught:
            ask()
        text = str(caught.value)
        assert not isinstance(caught.value, CorruptError), text
        assert text.startswith(f"{url}: {what}"), text
        by_head = what == "cannot read objects/"
        for part in (*trouble.words, "" if by_head else trouble.reason):
            assert part in text
        for secret in (server.accounts.owner.secret, reader.secret, FOREIGN):
            assert secret not in text
    if trouble.reads:
        assert store.read("a/b.json") is None


def test_missing_file_is_distinguished_from_a_missing_bucket(store: Store, tmp_path: Path) -> None:
    digest = digest_of(b"never stored")
    assert store.read("runs/none/plan.json") is None
    assert store.names("runs/none") == ()
    with pytest.raises(CorruptError, match=f"artifact {digest} is missing"):
        store.verify(digest)
    with pytest.raises(InfrastructureError, match=f"cannot read {object_path(digest)}: it is not"):
        store.get(digest, tmp_path / "b.bin")


def test_buckets_are_never_made(server: Server, be: Become) -> None:
    with pytest.raises(InfrastructureError, match="there is no bucket 'mistyped'"):
        Store("s3://mistyped/store").write("a/b.json", b"{}")
    assert "mistyped" not in {each["Name"] for each in server.client().list_buckets()["Buckets"]}


@dataclass(frozen=True)
class Refused:
    """A store's URL that is refused before any request, and the error about it."""

    url: str
    words: str


@pytest.mark.parametrize(
    "refused",
    [
        Refused("s3://", "the URL has no bucket; expected s3://<bucket>/<path>"),
        Refused("s3:///path", "the URL has no bucket"),
        Refused("s3://KEY:VERY-SECRET@bucket/path", "the URL has credentials"),
    ],
    ids=lambda each: each.url,
)
def test_url_is_refused(refused: Refused) -> None:
    with pytest.raises(InfrastructureError) as caught:
        Store(refused.url)
    assert refused.words in str(caught.value)
    assert "VERY-SECRET" not in str(caught.value)


def test_call_to_a_silent_server_ends(
    server: Server, bucket: str, be: Become, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "READ_TIMEOUT_S", 0.3)
    monkeypatch.setattr(s3, "REQUEST_LIMIT_S", 2.0)
    monkeypatch.setattr(s3, "SLOWEST_BYTES_PER_S", LARGE_BYTES)
    BoundedS3.clear_instance_cache()
    store = Store(f"{bucket}/silent")
    store.write("a.json", b"{}")
    with server.hanging():
        for ask in (
            lambda: store.read("a.json"),
            lambda: store.write("a.json", b"[]"),
            lambda: store.upload(large, "large"),
            lambda: store.names("a"),
        ):
            start_s = time.monotonic()
            with pytest.raises(UnreachableError, match=f"no answer at {server.url}"):
                ask()
            assert time.monotonic() - start_s < 15
    assert store.read("a.json") in (b"{}", b"[]")


def test_server_that_is_down_is_asked_a_few_times(
    server: Server, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write("a.json", b"{}")
    server.stop()
    start_s = time.monotonic()
    with pytest.raises(UnreachableError, match="no answer"):
        store.read("a.json")
    assert time.monotonic() - start_s < 5 * ATTEMPTS
    server.start()
    assert store.read("a.json") == b"{}"


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_patient_store_outlasts_a_restart(
    server: Server, bucket: str, be: Become, end: str
) -> None:
    store = Store(f"{bucket}/patient", patience_s=60)
    store.write("a.json", b"{}")
    getattr(server, end)()
    with ThreadPoolExecutor(2) as threads:
        read = threads.submit(store.read, "a.json")
        written = threads.submit(store.write, "b.json", b"[]")
        time.sleep(3)
        assert not read.done()
        assert not written.done()
        server.start()
        assert read.result(60) == b"{}"
        written.result(60)
    assert store.read("b.json") == b"[]"


def test_patience_ends(server: Server, bucket: str, be: Become) -> None:
    store = Store(f"{bucket}/patient", patience_s=3)
    server.stop()
    with pytest.raises(UnreachableError, match="no answer"):
        store.read("a.json")


def test_patience_is_not_for_what_waiting_cannot_mend(bucket: str, be: Become) -> None:
    be(Keys("unknown", "an-invalid-secret"))
    start_s = time.monotonic()
    with pytest.raises(InfrastructureError, match="access was denied"):
        Store(f"{bucket}/patient", patience_s=60).read("a.json")
    assert time.monotonic() - start_s < 20


def test_one_of_many_creates_a_record(store: Store) -> None:
    content = [str(number).encode() for number in range(8)]
    with ThreadPoolExecutor(len(content)) as pool:
        created = list(pool.map(lambda data: store.create("runs/x/a.json", data), content))
    assert created.count(True) == 1
    kept = content[created.index(True)]
    assert store.read("runs/x/a.json") == kept
    assert store.create("runs/x/a.json", kept)
    assert not store.create("runs/x/a.json", b"another")


def test_every_replacement_starts_from_what_is_there(store: Store, bucket: str) -> None:
    """Each writer adds its number to a list, and none of them is lost."""
    path, numbers = "channels/a.json", range(8)

    def add(number: int) -> None:
        mine = Store(f"{bucket}/store")
        while True:
            found = mine.read(path)
            known = json.loads(found) if found else []
            if mine.replace(path, json.dumps([*known, number]).encode(), found):
                return

    with ThreadPoolExecutor(len(numbers)) as pool:
        list(pool.map(add, numbers))
    assert sorted(json.loads(store.read(path) or b"")) == list(numbers)


def test_replacement_of_what_is_no_longer_there_is_refused(store: Store) -> None:
    path = "channels/a.json"
    assert not store.replace(path, b"new", b"old")
    assert store.read(path) is None
    assert store.replace(path, b"old", None)
    assert not store.replace(path, b"new", None)
    assert store.replace(path, b"new", b"old")
    assert store.replace(path, b"new", b"old")  # again, since the answer was lost
    assert not store.replace(path, b"newer", b"old")
    assert store.read(path) == b"new"
