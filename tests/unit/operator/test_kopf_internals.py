"""The details of kopf that `kopf_internals` relies on, each against the real kopf.

A test that fails after an upgrade names the detail that has changed.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import kopf
import pytest
from aiohttp import web

from fulcrum_operator import kopf_internals
from fulcrum_operator.runtime.kopf_handlers import make_settings
from fulcrum_operator.runtime.kopf_runner import follow
from fulcrum_operator.settings import Api

GROUP, VERSION, PLURAL = "tests.fulcrum.dev", "v1", "things"
COLLECTION = f"/apis/{GROUP}/{VERSION}/{PLURAL}"
WATCH, LIST = "watch", "list"


@dataclass(frozen=True)
class Reply:
    """What the server does with one list or watch.

    Attributes:
        status: Of the response.
        body: Of a list, or of a refusal.
        events: Of a watch, one JSON object a line.
        retry_after_s: The header `Retry-After`, if not 0.
        lost: Close the connection instead.
        stays: Keep a watch open afterwards.
    """

    status: int = 200
    body: dict[str, Any] = field(default_factory=dict)
    events: tuple[dict[str, Any], ...] = ()
    retry_after_s: int = 0
    lost: bool = False
    stays: bool = True


QUIET = Reply()
LOST = Reply(lost=True)
EMPTY = Reply(body={"metadata": {"resourceVersion": "7"}, "items": []})


def thing(name: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "team", "uid": f"uid-{name}", "resourceVersion": "8"}
    return {"apiVersion": f"{GROUP}/{VERSION}", "kind": "Thing", "metadata": metadata}


def error(code: int) -> Reply:
    status = {"kind": "Status", "code": code, "message": "no"}
    return Reply(events=({"type": "ERROR", "object": status},))


@dataclass
class Site:
    """An API server with one kind, and a kopf that watches it.

    Attributes:
        lists: Replies to lists; then empty ones.
        watches: Replies to watches; then quiet ones.
        asked: Kind and query of each request for the collection, with its second.
        seen: Events that the handler got.
        logins: How often kopf asked for credentials.
    """

    lists: list[Reply] = field(default_factory=list)
    watches: list[Reply] = field(default_factory=list)
    middlewares: tuple[Any, ...] = ()
    handle: Callable[[dict[str, Any]], None] = lambda event: None
    asked: list[tuple[str, dict[str, str], float]] = field(default_factory=list)
    seen: list[tuple[str | None, str]] = field(default_factory=list)
    logins: int = 0
    closing: asyncio.Event = field(default_factory=asyncio.Event)

    def kinds(self) -> list[str]:
        return [kind for kind, _, _ in self.asked]

    async def discover(self, request: web.Request) -> web.Response:
        version = {"groupVersion": f"{GROUP}/{VERSION}", "version": VERSION}
        if request.path == "/apis":
            groups = [{"name": GROUP, "versions": [version], "preferredVersion": version}]
            return web.json_response({"groups": groups})
        if request.path == "/api":
            return web.json_response({"versions": ["v1"]})
        core = request.path == "/api/v1"  # kopf waits until it has found namespaces
        kind, name = ("Namespace", "namespaces") if core else ("Thing", PLURAL)
        verbs = ["list", "watch", "patch"]
        names = {"name": name, "singularName": kind.lower(), "namespaced": not core, "kind": kind}
        return web.json_response({"resources": [{**names, "verbs": verbs}]})

    async def serve(self, request: web.Request) -> web.StreamResponse:
        watch = request.query.get("watch") == "true"
        self.asked.append((WATCH if watch else LIST, dict(request.query), time.monotonic()))
        queue, last = (self.watches, QUIET) if watch else (self.lists, EMPTY)
        reply = queue.pop(0) if queue else last
        if reply.lost:
            assert request.transport is not None
            request.transport.abort()
        if reply.status >= 400 or not watch:
            headers = {"Retry-After": str(reply.retry_after_s)} if reply.retry_after_s else {}
            return web.json_response(reply.body, status=reply.status, headers=headers)
        response = web.StreamResponse()
        await response.prepare(request)
        for event in reply.events:
            await response.write(json.dumps(event).encode() + b"\n")
        if reply.stays:
            await self.closing.wait()
        return response

    async def run(self, until: Callable[[], object]) -> None:
        """Let kopf watch until `until` is true, or raise what it ended with."""
        app = web.Application()
        app.router.add_get(COLLECTION, self.serve)
        app.router.add_get("/{path:.*}", self.discover)
        runner = web.AppRunner(app, shutdown_timeout=0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        stop = asyncio.Event()
        watching = asyncio.create_task(
            follow(self._registry(f"http://{host}:{port}"), _settings(), (), stop)
        )
        try:
            async with asyncio.timeout(5):
                while not until() and not watching.done():
                    await asyncio.sleep(0.01)
                stop.set()
                await watching
        finally:
            self.closing.set()
            await runner.cleanup()
        assert until(), f"kopf ended after {self.asked}"

    def _registry(self, url: str) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()

        @kopf.on.login(registry=registry)
        async def log_in(**_: Any) -> kopf.AiohttpSession:
            self.logins += 1
            session = aiohttp.ClientSession(middlewares=self.middlewares)
            return kopf.AiohttpSession(server=url, aiohttp_session=session)

        @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
        async def changed(event: Any, **_: Any) -> None:
            self.seen.append((event["type"], event["object"]["metadata"]["name"]))
            self.handle(event)

        return registry


def _settings() -> kopf.OperatorSettings:
    """Return the operator's own settings, with shorter pauses."""
    settings = make_settings(Api())
    settings.watching.reconnect_backoff = 0.01
    settings.networking.error_backoffs = (0.01,)
    return settings


def test_watch_tasks_are_named_after_what_they_watch() -> None:
    site, found = Site(), list[str]()

    def watched() -> bool:
        found.extend(task.get_name() for task in kopf_internals.watch_tasks())
        return bool(found)

    asyncio.run(site.run(watched))
    assert f"{PLURAL}.{VERSION}.{GROUP}" in found[0]


def test_all_pages_are_listed_before_the_watch_begins() -> None:
    first = {"metadata": {"resourceVersion": "7", "continue": "second"}, "items": [thing("a")]}
    second = {"metadata": {"resourceVersion": "7", "continue": ""}, "items": [thing("b")]}
    site = Site(lists=[Reply(body=first), Reply(body=second)])
    asyncio.run(site.run(lambda: WATCH in site.kinds()))
    assert site.kinds() == [LIST, LIST, WATCH]
    queries = [query for _, query, _ in site.asked]
    assert [query.get("continue") for query in queries] == [None, "second", None]
    assert queries[-1]["resourceVersion"] == "7"


def test_requests_pass_the_middlewares_of_the_session() -> None:
    passed: list[str] = []

    async def note(
        request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        passed.append(request.url.path)
        return await send(request)

    site = Site(middlewares=(note,))
    asyncio.run(site.run(lambda: WATCH in site.kinds()))
    assert passed.count(COLLECTION) == len(site.asked) == 2


def test_content_of_a_watch_is_read_by_iter_chunked_alone() -> None:
    class Content:
        def __init__(self, content: aiohttp.StreamReader) -> None:
            self.iter_chunked = content.iter_chunked
            self.exception = content.exception  # aiohttp itself needs these to close a response
            self.set_exception = content.set_exception

    async def replace(
        request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        response: Any = await send(request)
        if request.url.query.get("watch") == "true":
            response.content = Content(response.content)
        return response

    added = Reply(events=({"type": "ADDED", "object": thing("a")},))
    site = Site(watches=[added], middlewares=(replace,))
    asyncio.run(site.run(lambda: site.seen))
    assert site.seen == [("ADDED", "a")]


def test_watch_of_an_old_version_begins_with_the_list_unseen_by_handlers() -> None:
    site = Site(watches=[error(410)])
    asyncio.run(site.run(lambda: site.kinds().count(WATCH) == 2))
    assert site.kinds() == [LIST, WATCH, LIST, WATCH]
    assert site.seen == []


@pytest.mark.parametrize("reply", [error(500), Reply(status=404), Reply(status=500)], ids=str)
def test_refused_watch_ends_kopf(reply: Reply) -> None:
    """If it no longer does, `kubernetes.watching` need not turn refusals into lost connections."""
    site = Site(watches=[reply] * 5)
    with pytest.raises(Exception) as caught:
        asyncio.run(site.run(lambda: site.kinds().count(WATCH) > 2))
    assert type(caught.value).__module__.startswith("kopf.")


@pytest.mark.parametrize("kind", [LIST, WATCH])
def test_lost_connection_is_retried_without_end_and_without_a_login(kind: str) -> None:
    lost = [LOST] * 6
    site = Site(lists=lost if kind == LIST else [], watches=lost if kind == WATCH else [])
    asyncio.run(site.run(lambda: site.kinds().count(kind) > len(lost)))
    assert site.logins == 1


def test_busy_server_says_when_it_is_asked_again() -> None:
    site = Site(watches=[Reply(status=429, retry_after_s=1)])
    asyncio.run(site.run(lambda: site.kinds().count(WATCH) == 2))
    first_s, second_s = (second for kind, _, second in site.asked if kind == WATCH)
    assert 0.9 < second_s - first_s < 3.0


def test_log_lines_carry_the_object(caplog: pytest.LogCaptureFixture) -> None:
    def fail(event: dict[str, Any]) -> None:
        raise RuntimeError("broke")

    def records() -> list[logging.LogRecord]:
        return [each for each in caplog.records if each.levelno >= logging.ERROR]

    site = Site(watches=[Reply(events=({"type": "ADDED", "object": thing("a")},))], handle=fail)
    asyncio.run(site.run(records))
    found = kopf_internals.object_of(records()[0])
    assert {key: found[key] for key in ("name", "namespace", "uid")} == {
        "name": "a",
        "namespace": "team",
        "uid": "uid-a",
    }
