"""S3 with an end to every request: s3fs limits the silence of an answer, but not that of an upload.

A server that takes a connection and then reads nothing blocks s3fs without end, since s3fs does
not wait for bytes while it still has some to send. Loaded only if a URL is on S3.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

from fsspec.asyn import sync_wrapper
from s3fs import S3FileSystem

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 15.0
"""Of silence; an answer may take as long as bytes come."""
ATTEMPTS = 3
REQUEST_LIMIT_S = 50.0
"""For one request with all its attempts: three times silence, and the pauses between."""
SLOWEST_BYTES_PER_S = 256 << 10
"""Assumed minimum speed of uploads, which get time in proportion to their size."""
PART_BYTES = 16 << 20
PARALLEL_PARTS = 4
"""Each is in memory; s3fs itself takes ten of 50 MiB, which is a small pod's whole memory."""
MOST_PARTS = 10_000

for _name in ("aiobotocore", "botocore", "s3fs"):  # their detailed logs contain session tokens
    logging.getLogger(_name).setLevel(logging.WARNING)


class BoundedS3(S3FileSystem):  # type: ignore[misc]  # s3fs has no types
    """S3 as s3fs has it, whose every request ends, and whose listings are never remembered."""

    retries = 1  # on top of botocore's own, which multiply

    def __init__(self, **options: Any) -> None:
        limits = {
            "connect_timeout": CONNECT_TIMEOUT_S,
            "read_timeout": READ_TIMEOUT_S,
            "retries": {"mode": "standard", "total_max_attempts": ATTEMPTS},
        }
        options["config_kwargs"] = {**limits, **options.get("config_kwargs", {})}
        # One request a record: with more than one at once s3fs asks for its size first.
        super().__init__(**{"max_concurrency": 1, "use_listings_cache": False, **options})

    async def _call_s3(self, method: str, *akwarglist: Any, **kwargs: Any) -> Any:
        limit_s = REQUEST_LIMIT_S + len(kwargs.get("Body") or b"") / SLOWEST_BYTES_PER_S
        return await asyncio.wait_for(super()._call_s3(method, *akwarglist, **kwargs), limit_s)

    async def _put_file(self, lpath: str, rpath: str, **kwargs: Any) -> None:
        await super()._put_file(lpath, rpath, **{**_parts(_size(lpath)), **kwargs})

    async def _get_file(self, rpath: str, lpath: str, **kwargs: Any) -> None:
        await super()._get_file(rpath, lpath, **{**_parts(0), **kwargs})

    async def _replace_file(self, path: str, data: bytes, expected: bytes) -> bool:
        """Write `data` to `path` if it holds `expected`; return whether it did.

        Raises:
            Exception: As s3fs does; also where another write came in between (status 412).
        """
        bucket, key, _ = self.split_path(path)
        answer = await self._call_s3("get_object", Bucket=bucket, Key=key)
        async with answer["Body"] as body:
            held = await body.read()
        if held == expected:
            await self._call_s3(
                "put_object", Bucket=bucket, Key=key, Body=data, IfMatch=answer["ETag"]
            )
        return bool(held == expected)

    replace_file = sync_wrapper(_replace_file)


def _parts(size_bytes: int) -> dict[str, int]:
    part_bytes = max(PART_BYTES, -(-size_bytes // MOST_PARTS))
    return {"chunksize": part_bytes, "max_concurrency": PARALLEL_PARTS}


def _size(path: str) -> int:
    return Path(path).stat().st_size
