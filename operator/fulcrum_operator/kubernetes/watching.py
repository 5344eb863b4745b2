"""The connections of kopf's watches, with our credentials, and what can be heard on them.

kopf hides bookmarks from handlers, so a quiet cluster and a dead watch look the same from there.
Here every byte of a watch is a sign of life, and so is every attempt to begin one.

kopf also gives up if a watch is refused or has an error, and retries without end if a connection is
lost or a version is too old. An operator that outlives an API server's bad minutes needs the
latter, so refusals and errors reach kopf as one of these (`kopf_internals`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import aiohttp
import kopf

from fulcrum_operator import kopf_internals
from fulcrum_operator.kubernetes.credentials import Credentials, Identity
from fulcrum_operator.kubernetes.transport import OnCall, ignore_call
from fulcrum_pipelines.errors import FulcrumError

FROM_THE_LIST = frozenset({400, 410, 504})
"""Refusals of a watch that asking again for the same version cannot mend: it is too old or unknown,
or one that the server, restored from a backup, has not reached yet."""
UNAUTHORIZED = 401
BUSY = 429
"""kopf itself waits as long as the server asks for."""


class Listener(Protocol):
    """Follows what lists and watches are asked for, by the path of their URL."""

    def list_begins(self, path: str) -> None:
        """The first page is about to be asked for."""

    def page_came(self, path: str, body: bytes) -> None:
        """A page was answered."""

    def watch_begins(self, path: str) -> None:
        """A watch is about to be asked for; a list before it was complete."""


@dataclass
class _Signs:
    tried_s: float
    heard_s: float


DISCOVERY = "discovery"


class Watches:
    """When each watch last gave a sign of life.

    A kind is as old as the oldest of its watches, of which it has one a namespace.

    Args:
        resources: Plurals of the kinds that are watched.
        clock: Seconds, monotonic.
    """

    def __init__(
        self, resources: tuple[str, ...], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._start_s = clock()
        self._signs: dict[str, dict[str, _Signs]] = {resource: {} for resource in resources}
        self._open: set[str] = set()

    def __contains__(self, path: str) -> bool:
        """Whether `path` is of a kind that is watched."""
        return resource_of(path) in self._signs

    def tried(self, path: str) -> None:
        """Note that the watch at `path` is being begun, or that an attempt to do so ended."""
        if path in self:
            signs = self._signs[resource_of(path)].setdefault(path, _Signs(0.0, self._start_s))
            signs.tried_s = self._clock()

    def heard(self, path: str) -> None:
        """Note that the server said something for the watch at `path`."""
        self.tried(path)
        if path in self:
            self._signs[resource_of(path)][path].heard_s = self._clock()
            self._open.add(resource_of(path))

    def ages_s(self) -> Mapping[str, float]:
        """Return the seconds since the server last said something, or since the start."""
        return self._ages_s(lambda signs: signs.heard_s)

    def idle_s(self) -> Mapping[str, float]:
        """Return the seconds in which nothing was heard and nothing was tried.

        They grow where our own loop is dead, and not where the server is away.
        """
        return self._ages_s(lambda signs: signs.tried_s)

    def is_open(self, resource: str) -> bool:
        """Return whether the server answered the watch on `resource`, or its list, once."""
        return resource in self._open

    def _ages_s(self, when_s: Callable[[_Signs], float]) -> Mapping[str, float]:
        now_s = self._clock()
        return {
            resource: now_s - min(map(when_s, signs.values()), default=self._start_s)
            for resource, signs in self._signs.items()
        }


def resource_of(path: str) -> str:
    """Return the plural of the kind whose collection is at `path`."""
    return path.rsplit("/", 1)[-1]


def label_of(path: str) -> str:
    """Return what our own calls of that kind are called in metrics: plural and group.

    All other requests of kopf are discovery, which counts as one call for any number of groups.
    """
    parts = path.split("/")
    if parts[1:2] != ["apis"] or len(parts) < 5:
        return DISCOVERY
    return f"{resource_of(path)}.{parts[2]}"


@dataclass
class _WatchClient:
    """Wraps each request of kopf: lists, watches and discovery."""

    credentials: Credentials
    identity: Identity
    watches: Watches
    on_call: OnCall
    listener: Listener

    async def listen(
        self, request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        path = request.url.path
        if path not in self.watches:  # discovery, at the start
            return await self._send(request, send, "get")
        watch = request.url.query.get("watch") == "true"
        if watch:
            self.listener.watch_begins(path)
        elif "continue" not in request.url.query:
            self.listener.list_begins(path)
        self.watches.tried(path)
        try:
            response = await self._send(request, send, "watch" if watch else "list")
        finally:
            self.watches.tried(path)
        if response.status >= 400:
            return self._refused(response, watch)
        self.watches.heard(path)
        if watch:
            kopf_internals.listen(response, lambda: self.watches.heard(path))
        else:
            self.listener.page_came(path, await response.read())
        return response

    async def _send(
        self, request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType, verb: str
    ) -> aiohttp.ClientResponse:
        started_s, code = time.monotonic(), "unreachable"
        try:
            grant = await self.identity.prepare()
            if token := self.identity.token():
                request.headers["Authorization"] = f"Bearer {token}"
            request.server_hostname = self.credentials.tls_server_name or None
            response = await send(request)
            code = str(response.status)
            if response.status == UNAUTHORIZED:
                await self.identity.renew(grant)  # for the next try
        except FulcrumError as error:
            raise aiohttp.ClientConnectionError(str(error)) from error
        finally:
            seconds = time.monotonic() - started_s
            self.on_call(verb, label_of(request.url.path), code, seconds)
        return response

    def _refused(self, response: aiohttp.ClientResponse, watch: bool) -> aiohttp.ClientResponse:
        """Turn a refusal into an answer after which kopf restarts the watch.

        Raises:
            aiohttp.ClientConnectionError: It is to try again, a little later.
        """
        if response.status == BUSY:
            return response
        response.release()
        if watch and response.status in FROM_THE_LIST:
            kopf_internals.answer_gone(response)
            return response
        message = f"refused with {response.status} {response.reason}"
        raise aiohttp.ClientConnectionError(message)


def open_watch_session(
    credentials: Credentials,
    watches: Watches,
    listener: Listener,
    on_call: OnCall = ignore_call,
) -> kopf.AiohttpSession:
    """Return a session for kopf, which closes it itself."""
    identity = Identity(credentials)
    client = _WatchClient(credentials, identity, watches, on_call, listener)
    # A login may bring a certificate, which only connections that are opened after it have.
    closes = credentials.login is not None
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=identity.ssl, force_close=closes),
        middlewares=(client.listen,),
        proxy=credentials.proxy_url or None,
    )
    return kopf.AiohttpSession(server=credentials.server, aiohttp_session=session)
