"""A reverse proxy before a real API server that breaks requests by rules.

It takes the network's place, so clients, including kopf's, are tested unchanged. It runs in a
separate thread: a test sets rules while an operator in another process goes on. It has no rights:
clients' own bearer tokens are passed on.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import re
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import aiohttp
import yarl
from aiohttp import web
from cluster.certificates import SERVER, Authority

from fulcrum_operator.kubernetes.credentials import Credentials, ssl_context

HOST = "127.0.0.1"
ACCEPTS_S = 0.05
NOT_PASSED_ON = {"host", "connection", "transfer-encoding", "keep-alive", "content-length"}
T = TypeVar("T")

Action = Literal[
    "answer",  # with `status`, without asking the server
    "drop",  # close the connection before the server hears of it
    "drop_after",  # let the server do it, and close the connection without an answer
    "delay",  # for `delay_s`, then go on with the rules that follow
    "conflict_once",  # 409 for the first update of every object
    "silence",  # keep a watch open, and pass on nothing any more
    "expire",  # report within a watch's stream that its version is too old, and end it
    "break",  # report an error with `status` within a watch's stream, and end it
    "garble",  # answer with what is no JSON
]


@dataclass(frozen=True)
class Fault:
    """A rule for requests that match.

    Attributes:
        action: The fault.
        method: Regular expression that the whole method matches.
        path: Regular expression that is found in the path with its query; `watch=` is a watch.
        times: To how many requests; None for all, until the rules are cleared.
        share: Of the requests that match, to how many, picked by a seeded generator: a client of
            regular habits would meet each third one always, or never.
        status, reason, message, retry_after: Of an answer, which is a Kubernetes Status.
        delay_s: Of a delay.
    """

    action: Action
    method: str = ".*"
    path: str = ""
    times: int | None = 1
    share: float = 1.0
    status: int = 503
    reason: str = "ServiceUnavailable"
    message: str = "a fault on purpose"
    retry_after: str = ""
    delay_s: float = 0.0

    def matches(self, method: str, path: str) -> bool:
        """Whether a request is meant."""
        return bool(re.fullmatch(self.method, method) and re.search(self.path, path))


@dataclass
class Rules:
    """The faults in force; set by tests and read by the proxy's thread."""

    faults: list[Fault] = field(default_factory=list)
    chance: random.Random = field(default_factory=lambda: random.Random(4))
    updated: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, fault: Fault) -> None:
        """Put a fault in force."""
        with self.lock:
            self.faults.append(fault)

    def clear(self) -> None:
        """End all faults."""
        with self.lock:
            self.faults.clear()

    def take(self, method: str, path: str) -> list[Fault]:
        """Return what to do with a request, and count it off: delays, then at most one other."""
        taken: list[Fault] = []
        with self.lock:
            for place, fault in enumerate(self.faults):
                if fault.times == 0 or not self._applies(fault, method, path):
                    continue
                if self.chance.random() >= fault.share:
                    continue
                if fault.times is not None:
                    self.faults[place] = replace(fault, times=fault.times - 1)
                taken.append(fault)
                if fault.action != "delay":
                    break
        return taken

    def silenced(self, method: str, path: str) -> bool:
        """Whether a watch that is already open is to say nothing any more."""
        with self.lock:
            return any(
                fault.action == "silence" and fault.times is None and fault.matches(method, path)
                for fault in self.faults
            )

    def _applies(self, fault: Fault, method: str, path: str) -> bool:
        if not fault.matches(method, path):
            return False
        if fault.action != "conflict_once":
            return True
        item = path.partition("?")[0].removesuffix("/status")
        if method not in {"PUT", "PATCH"} or item in self.updated:
            return False
        self.updated.add(item)
        return True


class FaultProxy:
    """The proxy; a context manager that serves while it is open.

    Args:
        upstream: The API server. Only its address and authority are used, none of its rights.
        directory: For the proxy's own certificates and for kubeconfigs.
        tls: Serve TLS with the proxy's certificate; plain HTTP otherwise.

    Attributes:
        done: How often each action was taken; `forward` counts requests passed on, and `refused`
            requests cut off by an outage.
    """

    def __init__(self, upstream: Credentials, directory: Path, *, tls: bool = True) -> None:
        self.done: Counter[str] = Counter()
        self._upstream = Credentials(upstream.server, ca_pem=upstream.ca_pem)
        self._directory = directory
        self._authority = Authority(directory, "proxy-ca") if tls else None
        self._rules = Rules()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._port = 0
        self._away = False

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._open())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        """Its address, the same before and after an outage."""
        return f"{'https' if self._authority else 'http'}://{HOST}:{self._port}"

    def credentials(self, token: str) -> Credentials:
        """Return credentials for the proxy."""
        return Credentials(self.url, ca_pem=self._ca_pem, token=token)

    def kubeconfig(self, token: str, name: str = "proxy") -> Path:
        """Write a kubeconfig for the proxy, and return its path."""
        cluster = {"server": self.url}
        if self._ca_pem:
            encoded = base64.b64encode(self._ca_pem.encode()).decode()
            cluster["certificate-authority-data"] = encoded
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": cluster}],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "current-context": name,
        }
        path = self._directory / f"{name}.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(json.dumps(content))
        return path

    def add(self, fault: Fault) -> None:
        """Put a fault in force; the first that matches a request counts."""
        self._rules.add(fault)

    def clear(self) -> None:
        """End all faults. Watches that fell silent stay so, as dead connections do."""
        self._rules.clear()

    def cut(self) -> None:
        """Close all connections, so that watches start again."""
        self._run(self._abort_all())

    def outage(self) -> None:
        """Refuse connections and close the open ones, until `restore`."""
        self._run(self._stop_listening())

    def restore(self) -> None:
        """Listen again, at the same address."""
        self._run(self._listen())

    @property
    def _ca_pem(self) -> str:
        return self._authority.pair.certificate.read_text() if self._authority else ""

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result(timeout=30)

    async def _open(self) -> None:
        secure = self._upstream.server.startswith("https:")
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, ssl=ssl_context(self._upstream) if secure else True
            ),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None),
        )
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0)
        await self._runner.setup()
        await self._listen()

    async def _close(self) -> None:
        await self._stop_listening()
        await self._runner.cleanup()
        await self._session.close()

    async def _listen(self) -> None:
        self._socket = socket.create_server((HOST, self._port))
        self._port = self._socket.getsockname()[1]
        self._site = web.SockSite(self._runner, self._socket, ssl_context=self._server_context())
        await self._site.start()
        self._away = False

    async def _stop_listening(self) -> None:
        self._away = True
        if self._site in self._runner.sites:
            # asyncio loses a connection that was accepted, but not yet taken, when it closes.
            self._loop.remove_reader(self._socket)
            await asyncio.sleep(ACCEPTS_S)
            await self._site.stop()
        await self._abort_all()

    async def _abort_all(self) -> None:
        assert self._runner.server is not None
        for connection in list(self._runner.server.connections):
            if connection.transport is not None:
                self.done["refused"] += 1
                connection.transport.abort()
        await asyncio.sleep(0)

    def _server_context(self) -> ssl.SSLContext | None:
        if self._authority is None:
            return None
        pair = self._authority.issue("proxy", "proxy", usages=(SERVER,))
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pair.certificate, pair.key)
        return context

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if self._away:  # its handshake took longer than the others
            return _drop(request)
        silent = False
        for fault in self._rules.take(request.method, request.path_qs):
            self.done[fault.action] += 1
            match fault.action:
                case "delay":
                    await asyncio.sleep(fault.delay_s)
                case "answer" | "conflict_once":
                    return _refusal(fault)
                case "expire":
                    return _error_event(410, "Expired", "too old resource version: 1 (2)")
                case "break":
                    return _error_event(fault.status, fault.reason, fault.message)
                case "garble":
                    return web.Response(text="<html>\n")
                case "drop":
                    return _drop(request)
                case "drop_after":
                    await self._ask(request)
                    return _drop(request)
                case "silence":
                    silent = True
        return await self._forward(request, silent)

    async def _ask(self, request: web.Request) -> None:
        async with self._request(request, await request.read()) as answer:
            await answer.read()

    async def _forward(self, request: web.Request, silent: bool) -> web.StreamResponse:
        self.done["forward"] += 1
        async with self._request(request, await request.read()) as answer:
            response = web.StreamResponse(status=answer.status, headers=_headers(answer.headers))
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                if silent or self._rules.silenced(request.method, request.path_qs):
                    await asyncio.Event().wait()  # until the client goes away
                await response.write(chunk)
        await response.write_eof()
        return response

    def _request(self, request: web.Request, body: bytes) -> Any:
        url = yarl.URL(self._upstream.server + request.raw_path, encoded=True)
        return self._session.request(
            request.method, url, headers=_headers(request.headers), data=body or None
        )


def _headers(headers: Any) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in NOT_PASSED_ON}


def _status(code: int, reason: str, message: str) -> dict[str, Any]:
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    return {**status, "message": message, "reason": reason, "code": code}


def _refusal(fault: Fault) -> web.Response:
    code, reason = fault.status, fault.reason
    if fault.action == "conflict_once":
        code, reason = 409, "Conflict"
    headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
    return web.json_response(_status(code, reason, fault.message), status=code, headers=headers)


def _error_event(code: int, reason: str, message: str) -> web.Response:
    event = {"type": "ERROR", "object": _status(code, reason, message)}
    return web.json_response(event, dumps=lambda x: f"{json.dumps(x)}\n")


def _drop(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()
