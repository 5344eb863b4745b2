"""Signs of life of watches, and refusals in the form after which kopf restarts them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from api_stand_in import Answer, StandIn, refusal, serve

from fulcrum_operator.kopf_internals import HeardStream
from fulcrum_operator.kubernetes.credentials import Credentials, Grant, Login
from fulcrum_operator.kubernetes.watching import Watches, label_of, open_watch_session

PATH = "/apis/fulcrum.dev/v1alpha1/compressionjobs"
IN_A = "/apis/fulcrum.dev/v1alpha1/namespaces/a/compressionjobs"
IN_B = "/apis/fulcrum.dev/v1alpha1/namespaces/b/compressionjobs"
WATCH = f"{PATH}?watch=true&resourceVersion=7"
EVENT = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}}


@dataclass
class Clock:
    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Heard:
    """A listener that remembers."""

    said: list[tuple[str, str]] = field(default_factory=list)

    def list_begins(self, path: str) -> None:
        self.said.append(("list", path))

    def page_came(self, path: str, body: bytes) -> None:
        self.said.append(("page", body.decode()))

    def watch_begins(self, path: str) -> None:
        self.said.append(("watch", path))


@dataclass
class Setting:
    """A server, and a session of kopf's that asks it."""

    server: StandIn
    session: aiohttp.ClientSession
    watches: Watches
    clock: Clock
    heard: Heard
    calls: list[tuple[str, str, str]]
    url: str

    async def ask(self, path: str = WATCH) -> tuple[int, bytes]:
        """Return status and content as kopf reads a stream."""
        async with self.session.get(self.url + path) as answer:
            chunks = [chunk async for chunk in answer.content.iter_chunked(1024)]
            return answer.status, b"".join(chunks)


@asynccontextmanager
async def setting(
    *answers: Answer, change: Callable[[Credentials], Credentials] = lambda given: given
) -> AsyncIterator[Setting]:
    clock, heard, calls = Clock(), Heard(), list[tuple[str, str, str]]()
    watches = Watches(("compressionjobs", "modelchannels"), clock)
    async with serve(*answers) as (server, kube):
        credentials = change(kube.transport.credentials)
        opened = open_watch_session(
            credentials,
            watches,
            heard,
            lambda verb, resource, code, _: calls.append((verb, resource, code)),
        )
        async with opened.aiohttp_session as session:
            url = credentials.server
            yield Setting(server, session, watches, clock, heard, calls, url)


@dataclass(frozen=True)
class Refusal:
    """A refusal, and whether kopf is to try again, to begin with the list, or to see it itself."""

    name: str
    status: int
    path: str = WATCH
    outcome: str = "again"


REFUSALS = (
    Refusal("watch while the server starts", 503),
    Refusal("watch in a bad moment", 500),
    Refusal("watch with a revoked token", 401),
    Refusal("watch without the right", 403),
    Refusal("watch while the kinds are loaded", 404),
    Refusal("watch of an old version", 410, outcome="list"),
    Refusal("watch of a version that makes no sense", 400, outcome="list"),
    Refusal("watch of a version that is still to come", 504, outcome="list"),
    Refusal("watch of a busy server", 429, outcome="seen"),
    Refusal("list while the server starts", 503, PATH),
    Refusal("list with a revoked token", 401, PATH),
    Refusal("list that took too long", 410, PATH),
    Refusal("list of a busy server", 429, PATH, outcome="seen"),
    Refusal("discovery", 404, "/apis/fulcrum.dev/v1alpha1", outcome="seen"),
)


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: case.name)
def test_refused(case: Refusal) -> None:
    async def work() -> None:
        async with setting(refusal(case.status, "X", "no")) as here:
            match case.outcome:
                case "again":
                    with pytest.raises(aiohttp.ClientConnectionError, match=str(case.status)):
                        await here.ask(case.path)
                case "list":
                    status, content = await here.ask(case.path)
                    event = json.loads(content)
                    assert (status, event["type"], event["object"]["code"]) == (200, "ERROR", 410)
                case "seen":
                    assert (await here.ask(case.path))[0] == case.status
            assert [code for *_, code in here.calls] == [str(case.status)]

    asyncio.run(work())


def test_refusal_is_a_sign_of_our_life_and_not_of_the_servers() -> None:
    async def work() -> None:
        async with setting(refusal(503, "X", "no"), Answer(body=EVENT)) as here:
            here.clock.now_s = 100.0
            with pytest.raises(aiohttp.ClientConnectionError):
                await here.ask()
            assert here.watches.idle_s() == {"compressionjobs": 0.0, "modelchannels": 100.0}
            assert here.watches.ages_s() == {"compressionjobs": 100.0, "modelchannels": 100.0}
            assert not here.watches.is_open("compressionjobs")
            await here.ask()
            assert here.watches.ages_s()["compressionjobs"] == 0.0
            assert here.watches.is_open("compressionjobs")

    asyncio.run(work())


def test_server_that_is_away_leaves_signs_of_our_life() -> None:
    async def work() -> None:
        async with setting(Answer(lost=True), Answer(lost=True)) as here:
            here.clock.now_s = 100.0
            with pytest.raises(aiohttp.ClientConnectionError):
                await here.ask()
            assert here.watches.idle_s()["compressionjobs"] == 0.0
            assert here.watches.ages_s()["compressionjobs"] == 100.0
            assert here.calls[0] == ("watch", "compressionjobs.fulcrum.dev", "unreachable")

    asyncio.run(work())


def test_kind_is_as_old_as_the_oldest_of_its_watches() -> None:
    clock = Clock()
    watches = Watches(("compressionjobs",), clock)
    watches.heard(IN_A)
    watches.heard(IN_B)
    clock.now_s = 30.0
    watches.heard(IN_A)
    assert watches.ages_s() == watches.idle_s() == {"compressionjobs": 30.0}
    watches.tried(IN_B)
    assert watches.ages_s() == {"compressionjobs": 30.0}
    assert watches.idle_s() == {"compressionjobs": 0.0}


def test_lists_and_watches_are_followed() -> None:
    async def work() -> None:
        page: dict[str, Any] = {"items": []}
        answers = (Answer(body=page), Answer(body=page), Answer(body=EVENT))
        async with setting(*answers) as here:
            for path in (PATH, f"{PATH}?continue=x"):
                async with here.session.get(here.url + path) as answer:
                    assert await answer.json() == page
            await here.ask()
            pages = [("page", json.dumps(page))] * 2
            assert here.heard.said == [("list", PATH), *pages, ("watch", PATH)]

    asyncio.run(work())


def test_token_that_cannot_be_read_is_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "token"

    def from_file(given: Credentials) -> Credentials:
        return replace(given, token_path=path)

    async def work() -> None:
        async with setting(Answer(body=EVENT), change=from_file) as here:
            with pytest.raises(aiohttp.ClientConnectionError, match="token file cannot be read"):
                await here.ask()
            path.write_text("secret")
            await here.ask()
            assert here.server.asked[0].headers["Authorization"] == "Bearer secret"

    asyncio.run(work())


def test_refused_login_is_renewed_for_the_next_try() -> None:
    grants = iter([Grant("old"), Grant("new")])
    login = Login(lambda: next(grants))

    def by_login(given: Credentials) -> Credentials:
        return replace(given, login=login)

    async def work() -> None:
        answers = (refusal(401, "Unauthorized", "no"), Answer(body=EVENT))
        async with setting(*answers, change=by_login) as here:
            with pytest.raises(aiohttp.ClientConnectionError, match="refused with 401"):
                await here.ask()
            await here.ask()
            sent = [each.headers["Authorization"] for each in here.server.asked]
            assert sent == ["Bearer old", "Bearer new"]

    asyncio.run(work())


def test_watches_go_through_the_proxy() -> None:
    async def work() -> None:
        async with setting(Answer(body=EVENT)) as proxy:
            url = proxy.url

            def behind(given: Credentials) -> Credentials:
                return replace(given, server="http://far.invalid", proxy_url=url)

            async with setting(change=behind) as here:
                assert (await here.ask())[0] == 200
        assert [str(each.url) for each in proxy.server.asked] == [f"http://far.invalid{WATCH}"]

    asyncio.run(work())


@dataclass(frozen=True)
class Stream:
    """A server's message within a watch, and the event that kopf reads."""

    name: str
    chunks: tuple[str, ...]
    events: tuple[str, ...]


STREAMS = (
    Stream("events", ('{"type":"A"}\n{"type":"B"}\n',), ("A", "B")),
    Stream("event in pieces", ('{"typ', 'e":"A"}\n'), ("A",)),
    Stream("old version", ('{"type":"ERROR","object":{"code":410}}\n',), ("ERROR",)),
    Stream("error", ('{"type":"A"}\n{"type":"ERROR",', '"object":{"code":500}}\n'), ("A", "ERROR")),
    Stream("nothing after an error", ('{"type": "ERROR"}\n{"type":"A"}\n',), ("ERROR",)),
    Stream("event that quotes one", ('{"type":"A","note":"\\"type\\":\\"ERROR\\""}\n',), ("A",)),
    Stream("event that is cut off", ('{"type":"A"}\n{"type":"B',), ("A",)),
)


@dataclass
class Content:
    chunks: tuple[str, ...]

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            yield chunk.encode()


@pytest.mark.parametrize("case", STREAMS, ids=lambda case: case.name)
def test_errors_within_a_watch_are_those_of_an_old_version(case: Stream) -> None:
    async def read() -> list[dict[str, Any]]:
        content: Any = Content(case.chunks)
        stream = HeardStream(content, lambda: heard.append(True))
        return [json.loads(line) async for line in stream.iter_chunked(1024)]

    heard: list[bool] = []
    events = asyncio.run(read())
    assert tuple(event["type"] for event in events) == case.events
    assert all(event["object"]["code"] == 410 for event in events if event["type"] == "ERROR")
    assert heard


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("/apis/fulcrum.dev/v1alpha1/compressionjobs", "compressionjobs.fulcrum.dev"),
        ("/apis/fulcrum.dev/v1alpha1/namespaces/a/modelchannels", "modelchannels.fulcrum.dev"),
        ("/apis/fulcrum.dev/v1alpha1", "discovery"),
        ("/api/v1", "discovery"),
        ("/apis", "discovery"),
    ],
)
def test_calls_are_labelled_as_our_own(path: str, label: str) -> None:
    assert label_of(path) == label
