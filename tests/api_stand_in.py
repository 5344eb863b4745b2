"""A stand-in for the API server that replays answers, recorded in form from the real one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from fulcrum_operator.kubernetes.api import Kube, connect
from fulcrum_operator.kubernetes.credentials import Credentials
from fulcrum_operator.kubernetes.retries import CallPolicy
from fulcrum_operator.resources.names import Kind

JOBS = Kind("fulcrum.dev", "v1alpha1", "compressionjobs", "CompressionJob")
QUICK = CallPolicy(
    timeout_s=0.5, deadline_s=5.0, retries=3, first_pause_s=0.001, longest_pause_s=0.01
)


@dataclass(frozen=True)
class Answer:
    """The stand-in's answer to one request.

    Attributes:
        status: Of the answer.
        body: Of the answer, as JSON.
        retry_after: The header.
        lost: Close the connection without an answer.
        hang_s: Wait so long first.
    """

    status: int = 200
    body: dict[str, Any] = field(default_factory=dict)
    retry_after: str = ""
    lost: bool = False
    hang_s: float = 0.0


@dataclass
class StandIn:
    """Gives its answers in order, and remembers what it was asked."""

    answers: list[Answer] = field(default_factory=list)
    asked: list[web.Request] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    calls: list[tuple[str, str, str]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        self.asked.append(request)
        self.bodies.append(json.loads(await request.read() or b"{}"))
        answer = self.answers.pop(0)
        await asyncio.sleep(answer.hang_s)
        if answer.lost:
            assert request.transport is not None
            request.transport.abort()
        headers = {"Retry-After": answer.retry_after} if answer.retry_after else {}
        return web.json_response(answer.body, status=answer.status, headers=headers)


def refusal(code: int, reason: str, message: str, **details: Any) -> Answer:
    """Return a Status as the API server writes it."""
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "details": details,
        "code": code,
    }
    return Answer(code, body)


@asynccontextmanager
async def serve(
    *answers: Answer, policy: CallPolicy = QUICK, **credentials: Any
) -> AsyncIterator[tuple[StandIn, Kube]]:
    """Serve `answers`, and open a client of the server."""
    stand_in = StandIn(list(answers))
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", stand_in.handle)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    where = Credentials(f"http://{host}:{port}", **credentials)
    try:
        async with connect(
            where,
            policy=policy,
            on_call=lambda verb, resource, code, _: stand_in.calls.append((verb, resource, code)),
        ) as kube:
            yield stand_in, kube
    finally:
        await runner.cleanup()
