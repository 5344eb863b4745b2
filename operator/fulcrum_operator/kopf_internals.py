"""Everything that we rely on in kopf although its documentation does not promise it.

Nothing else in the operator depends on kopf's internals. `operator/pyproject.toml` caps kopf's
version, and `tests/unit/operator/test_kopf_internals.py` has one test a detail, against the real
kopf; a failure there after an upgrade says what to mend here. Beside the names below, the details
are about requests, which `kubernetes.watching` shapes:

- kopf lists a collection page by page before it watches it, through the session's middlewares.
- It retries a list or a watch after `aiohttp.ClientConnectionError`, without end and without
  a new login; after any other refusal of a watch it ends.
- It waits as long as the header `Retry-After` of a 429 asks for.
- It begins with the list again after an `ERROR` event of code 410, which no handler sees.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Protocol

WATCH_TASK = "watcher for "
"""Prefix of the names of kopf's watch tasks, which outlive their owner if one of them fails."""
LONGEST_LINE = 500
_GONE = {"kind": "Status", "status": "Failure", "code": 410, "message": "begin with the list"}
_GONE_EVENT = json.dumps({"type": "ERROR", "object": _GONE}).encode() + b"\n"
_ERROR_EVENT = re.compile(rb'^\{"type":\s*"ERROR"')

log = logging.getLogger(__name__)


class Chunks(Protocol):
    """The only method of a watch's content that kopf calls."""

    def iter_chunked(self, n: int) -> AsyncIterator[bytes]:
        """Yield what comes, at most `n` bytes at a time."""


class Response(Protocol):
    """The parts of a watch's response that kopf reads and that we can replace."""

    status: int
    content: Any


def watch_tasks() -> list[asyncio.Task[Any]]:
    """Return kopf's watch tasks in the running loop."""
    return [task for task in asyncio.all_tasks() if task.get_name().startswith(WATCH_TASK)]


def object_of(record: logging.LogRecord) -> Mapping[str, object]:
    """Return name, namespace and uid of the object that kopf attached to a log record, if any."""
    reference: Mapping[str, object] = getattr(record, "k8s_ref", None) or {}
    return reference


def listen(response: Response, heard: Callable[[], None]) -> None:
    """Call `heard` for each chunk of a watch, and let kopf recover from an error within it."""
    response.content = HeardStream(response.content, heard)


def answer_gone(response: Response) -> None:
    """Let kopf read a refused watch as one whose version is too old."""
    response.status, response.content = 200, _GoneStream()


class HeardStream:
    """The content of a watch's response, which reports each chunk that comes.

    Errors within it are passed on as that of an old version: all of them are mended by the list.
    """

    def __init__(self, content: Chunks, heard: Callable[[], None]) -> None:
        self._content = content
        self._heard = heard

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    async def iter_chunked(self, n: int) -> AsyncIterator[bytes]:
        """Yield whole lines; what a lost connection cut off comes again."""
        rest = b""
        async for chunk in self._content.iter_chunked(n):
            self._heard()
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if _ERROR_EVENT.match(line):
                    log.info("a watch begins again: %s", line[:LONGEST_LINE].decode())
                    yield _GONE_EVENT
                    return
                yield line + b"\n"


class _GoneStream:
    """The message of a server within a watch whose version is too old."""

    async def iter_chunked(self, n: int) -> AsyncIterator[bytes]:
        yield _GONE_EVENT
