"""The connections of kopf's watches, with our credentials, and what can be heard on them.

kopf hides bookmarks from handlers, so a quiet cluster and a dead watch look the same from there.
Here every byte of a watch is a sign of life.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import aiohttp
import kopf

from fulcrum_operator.kubernetes.credentials import Credentials, TokenSource, ssl_context
from fulcrum_operator.kubernetes.transport import OnCall, tell_nobody


class Watches:
    """When each watch last gave a sign of life.

    Args:
        resources: Plurals of the kinds that are watched.
        clock: Seconds, monotonic.
    """

    def __init__(
        self, resources: tuple[str, ...], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._heard = dict.fromkeys(resources, clock())
        self._open: set[str] = set()

    def heard(self, resource: str) -> None:
        """Note a sign of life of the watch on `resource`."""
        if resource in self._heard:
            self._heard[resource] = self._clock()
            self._open.add(resource)

    def ages_s(self) -> Mapping[str, float]:
        """Return the seconds since each watch was last heard of, or since the start."""
        now = self._clock()
        return {resource: now - heard for resource, heard in self._heard.items()}

    def is_open(self, resource: str) -> bool:
        """Return whether the watch on `resource` was heard of at least once."""
        return resource in self._open


class _HeardStream:
    """The content of a watch's answer, which tells of each chunk that comes."""

    def __init__(self, content: aiohttp.StreamReader, heard: Callable[[], None]) -> None:
        self._content = content
        self._heard = heard

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        async for chunk in self._content.iter_chunked(size):
            self._heard()
            yield chunk


def open_watch_session(
    credentials: Credentials, watches: Watches, on_call: OnCall = tell_nobody
) -> kopf.AiohttpSession:
    """Return a session for kopf; it closes it itself, and asks for another after a 401."""
    tokens = TokenSource(credentials)

    async def listen(
        request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        if token := tokens.token():
            request.headers["Authorization"] = f"Bearer {token}"
        started_s, code = time.monotonic(), "unreachable"
        resource = request.url.path.rsplit("/", 1)[-1]
        watch = request.url.query.get("watch") == "true"
        try:
            response = await send(request)
            code = str(response.status)
        finally:
            verb = "watch" if watch else "list"
            on_call(verb, resource, code, time.monotonic() - started_s)
        watches.heard(resource)
        if watch:
            stream: Any = _HeardStream(response.content, lambda: watches.heard(resource))
            response.content = stream
        return response

    secure = credentials.server.startswith("https:")
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=ssl_context(credentials) if secure else True),
        middlewares=(listen,),
    )
    return kopf.AiohttpSession(server=credentials.server, aiohttp_session=session)
