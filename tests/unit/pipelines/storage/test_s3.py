"""The details of s3fs that `BoundedS3` relies on; pipelines/pyproject.toml caps its version.

No server: what s3fs would send is recorded where `BoundedS3` bounds it.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from s3fs import S3FileSystem

from fulcrum_pipelines.storage import s3
from fulcrum_pipelines.storage.s3 import PARALLEL_PARTS, PART_BYTES, BoundedS3

Sent = list[tuple[str, int]]
"""Method and bytes of each request."""


@pytest.fixture
def filesystem() -> BoundedS3:
    return BoundedS3(anon=True, skip_instance_cache=True)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    """Record each request instead of sending it, and how many run at a time."""
    found: Sent = []

    async def record(self: Any, method: str, *_: Any, **fields: Any) -> dict[str, Any]:
        found.append((method, len(fields.get("Body") or b"")))
        return {"ETag": "x", "UploadId": "u", "VersionId": None}

    monkeypatch.setattr(S3FileSystem, "_call_s3", record)
    return found


def sparse(path: Path, size: int) -> str:
    with path.open("wb") as file:
        file.truncate(size)
    return str(path)


def test_small_file_is_one_request_that_is_bounded(
    filesystem: BoundedS3, sent: Sent, tmp_path: Path
) -> None:
    filesystem.put_file(sparse(tmp_path / "small", 10), "bucket/key")
    assert sent == [("put_object", 10)]


def test_large_file_is_sent_in_bounded_parts_of_our_size(
    filesystem: BoundedS3, sent: Sent, tmp_path: Path
) -> None:
    filesystem.put_file(sparse(tmp_path / "large", 2 * PART_BYTES + 1), "bucket/key")
    assert sent[0][0] == "create_multipart_upload"
    assert sorted(size for name, size in sent if name == "upload_part") == [
        1,
        PART_BYTES,
        PART_BYTES,
    ]
    assert sent[-1][0] == "complete_multipart_upload"


def test_parts_in_memory_are_limited(
    filesystem: BoundedS3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    running, most = 0, 0

    async def slow(self: Any, method: str, *_: Any, **fields: Any) -> dict[str, Any]:
        nonlocal running, most
        running += method == "upload_part"
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= method == "upload_part"
        return {"ETag": "x", "UploadId": "u"}

    monkeypatch.setattr(S3FileSystem, "_call_s3", slow)
    monkeypatch.setattr(s3, "PART_BYTES", 1 << 10)
    filesystem.put_file(sparse(tmp_path / "large", 20 << 10), "bucket/key")
    assert most == PARALLEL_PARTS


def test_failed_request_is_tried_by_botocore_alone(
    filesystem: BoundedS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    class Client:
        async def head_object(self, **fields: Any) -> None:
            tried.append(fields["Key"])
            raise ClientError({"Error": {"Code": "SlowDown", "Message": "busy"}}, "HeadObject")

    async def client(self: Any, bucket: Any = None) -> Client:
        return Client()

    monkeypatch.setattr(S3FileSystem, "set_session", client)
    monkeypatch.setattr(S3FileSystem, "get_s3", client)
    monkeypatch.setattr(S3FileSystem, "_get_s3_method_kwargs", lambda *_, **fields: fields)
    with pytest.raises(OSError, match="busy"):
        filesystem.call_s3("head_object", Key="key")
    assert tried == ["key"]


def test_request_that_hangs_ends(filesystem: BoundedS3, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(self: Any, *_: Any, **__: Any) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(S3FileSystem, "_call_s3", hang)
    monkeypatch.setattr(s3, "REQUEST_LIMIT_S", 0.05)
    with pytest.raises(TimeoutError):
        filesystem.put_file(__file__, "bucket/key")
