"""One try of one call over HTTP; the answer is an object or a typed error."""

from __future__ import annotations

import contextlib
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import yarl

from fulcrum_operator.kubernetes.credentials import Credentials, Identity
from fulcrum_operator.kubernetes.errors import Unavailable, error_from
from fulcrum_operator.kubernetes.requests import Object, Request
from fulcrum_pipelines.errors import UserError

OnCall = Callable[[str, str, str, float], None]
"""Called after each try: verb, resource, code (a status, `timeout` or `unreachable`), seconds."""


def ignore_call(verb: str, resource: str, code: str, seconds: float) -> None:
    """No-op OnCall."""


@dataclass(frozen=True)
class Transport:
    """An open pool of connections to one API server."""

    session: aiohttp.ClientSession
    credentials: Credentials
    identity: Identity
    on_call: OnCall = ignore_call

    async def send(self, request: Request, timeout_s: float) -> Object:
        """Return the answer.

        Raises:
            ApiError: The server refused, or did not answer within `timeout_s`.
            UserError: Its certificate is not trusted, or the token file cannot be read.
        """
        started_s, code = time.monotonic(), "unreachable"
        try:
            status, retry_after, body = await self._exchange(request, timeout_s)
            code = str(status)
        except TimeoutError as error:
            code = "timeout"
            message = f"no answer from {self.credentials.server} in {timeout_s:.1f} s"
            raise Unavailable(message, where=str(request)) from error
        except aiohttp.ClientConnectorCertificateError as error:
            message = f"its certificate is not trusted: {error.certificate_error}"
            raise UserError(message, where=self.credentials.server) from error
        except (aiohttp.ClientError, ssl.SSLError, OSError) as error:
            message = f"no answer from {self.credentials.server}: {error or type(error).__name__}"
            raise Unavailable(message, where=str(request)) from error
        finally:
            seconds = time.monotonic() - started_s
            self.on_call(request.verb, request.resource, code, seconds)
        if status >= 400:
            raise error_from(status, body, call=str(request), retry_after=retry_after)
        return _object(body, request)

    async def _exchange(self, request: Request, timeout_s: float) -> tuple[int, str, bytes]:
        async with self.session.request(
            request.method,
            yarl.URL(self.credentials.server + request.path, encoded=True),
            params=self._query(request, timeout_s),
            data=request.data,
            headers=self._headers(request),
            timeout=aiohttp.ClientTimeout(total=timeout_s),
            proxy=self.credentials.proxy_url or None,
            server_hostname=self.credentials.tls_server_name or None,
            allow_redirects=False,
        ) as response:
            body = await response.read()
            return response.status, response.headers.get("Retry-After", ""), body

    def _query(self, request: Request, timeout_s: float) -> dict[str, str]:
        """Return the query; a write also has a server-side limit, so that none waits in a queue."""
        limit = {"timeout": f"{max(1, int(timeout_s * 1000))}ms"} if request.writes else {}
        return {**request.query, **limit}

    def _headers(self, request: Request) -> dict[str, str]:
        headers = {"Accept": "application/json"}
        if request.body is not None:
            headers["Content-Type"] = request.content_type
        if token := self.identity.token():
            headers["Authorization"] = f"Bearer {token}"
        return headers


@contextlib.asynccontextmanager
async def open_transport(
    credentials: Credentials,
    *,
    connections: int = 32,
    user_agent: str = "fulcrum",
    on_call: OnCall = ignore_call,
) -> AsyncIterator[Transport]:
    """Open a pool of at most `connections` connections, and close it in the end.

    Raises:
        UserError: The certificates among the credentials cannot be used, or the login failed.
    """
    identity = Identity(credentials)
    await identity.prepare()
    connector = aiohttp.TCPConnector(
        limit=connections, ssl=identity.ssl, force_close=identity.is_bound_to_connections
    )
    async with aiohttp.ClientSession(
        connector=connector, headers={"User-Agent": user_agent}, middlewares=(_once,)
    ) as session:
        yield Transport(session, credentials, identity, on_call)


async def _once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep aiohttp from repeating a lost GET or DELETE itself, past the fence and uncounted.

    It does so for two classes of errors, and not for the root that they share.
    """
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise aiohttp.ClientConnectionError(str(error)) from error


def _object(body: bytes, request: Request) -> Object:
    try:
        answer: Any = json.loads(body)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise Unavailable("the answer is not a JSON object", where=str(request))
    return answer
