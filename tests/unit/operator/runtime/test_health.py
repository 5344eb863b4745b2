"""Probes fail for what a restart or waiting would help with, and say what that is."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import aiohttp
import pytest

from fulcrum_operator.metrics import Metrics
from fulcrum_operator.runtime.health import (
    Check,
    HealthServer,
    LoopMonitor,
    Probe,
    liveness,
    readiness,
)
from fulcrum_operator.settings import Http, Settings

SETTINGS = Settings()
FINE = Probe((Check("loop"),))
BROKEN = Probe((Check("loop"), Check("lease", "neither held nor read for 99.0 s")))


@dataclass(frozen=True)
class Living:
    name: str
    beat_age_s: float = 0.5
    watches_s: dict[str, float] = field(default_factory=lambda: {"compressionjobs": 20.0})
    reconcile_s: float = 0.0
    failed: dict[str, str] = field(default_factory=dict)


LIVING = [
    Living("all is well"),
    Living("nothing is watched yet", watches_s={}),
    Living(
        "stuck loop",
        beat_age_s=31.0,
        failed={"loop": "the event loop did nothing for 31.0 s; the limit is 30 s"},
    ),
    Living("loop at its limit", beat_age_s=30.0),
    Living("an API server that is away for a minute", watches_s={"compressionjobs": 75.0 + 60.0}),
    Living(
        "one stale watch of two",
        watches_s={"compressionjobs": 1.0, "modelchannels": 301.0},
        failed={"watch modelchannels": "no sign of life for 301.0 s; the limit is 300 s"},
    ),
    Living(
        "stuck reconcile",
        reconcile_s=121.0,
        failed={"reconcile": "one has been going for 121.0 s; the limit is 120 s"},
    ),
    Living("slow reconcile", reconcile_s=119.0),
]


@pytest.mark.parametrize("row", LIVING, ids=lambda row: row.name)
def test_lives(row: Living) -> None:
    probe = liveness(1000.0, 1000.0 - row.beat_age_s, row.watches_s, row.reconcile_s, SETTINGS)
    assert probe.as_json()["failed"] == row.failed
    assert probe.ok == (not row.failed)


def test_every_watch_is_named_among_what_was_checked() -> None:
    probe = liveness(0.0, 0.0, {"b": 0.0, "a": 0.0}, 0.0, SETTINGS)
    assert probe.as_json()["checked"] == ["loop", "watch a", "watch b", "reconcile"]


@dataclass(frozen=True)
class Serving:
    name: str
    caches: dict[str, bool]
    leading: bool
    lease_seen_age_s: float
    failed: dict[str, str] = field(default_factory=dict)


COLD = "not all objects were listed yet"
SERVING = [
    Serving("leader", {"compressionjobs": True}, True, 1.0),
    Serving("leader whose Lease the fence looks after", {"compressionjobs": True}, True, 99.0),
    Serving("standby", {"compressionjobs": True}, False, 5.0),
    Serving(
        "standby that cannot read the Lease",
        {"compressionjobs": True},
        False,
        15.5,
        {"lease": "neither held nor read for 15.5 s; the limit is 15 s"},
    ),
    Serving(
        "one cold cache of two",
        {"compressionjobs": True, "modelchannels": False},
        True,
        0.0,
        {"cache modelchannels": COLD},
    ),
    Serving(
        "just started",
        {"compressionjobs": False},
        False,
        float("inf"),
        {
            "cache compressionjobs": COLD,
            "lease": "neither held nor read for inf s; the limit is 15 s",
        },
    ),
]


@pytest.mark.parametrize("row", SERVING, ids=lambda row: row.name)
def test_is_ready(row: Serving) -> None:
    probe = readiness(row.caches, row.leading, row.lease_seen_age_s, SETTINGS)
    assert probe.as_json()["failed"] == row.failed
    assert probe.ok == (not row.failed)


Talk = Callable[[aiohttp.ClientSession, str], Awaitable[None]]


def talk(
    then: Talk, live: Probe = FINE, ready: Probe = FINE, metrics: Metrics | None = None
) -> None:
    """Let `then` speak with a server that answers with these probes."""

    async def scenario() -> None:
        server = HealthServer(
            Http(port=0), metrics or Metrics(SETTINGS), lambda: live, lambda: ready
        )
        await server.start()
        try:
            async with aiohttp.ClientSession() as session:
                await then(session, f"http://127.0.0.1:{server.port}")
        finally:
            await server.stop()

    asyncio.run(scenario())


def test_probe_that_holds_answers_200() -> None:
    async def then(session: aiohttp.ClientSession, url: str) -> None:
        async with session.get(f"{url}/healthz") as answer:
            assert answer.status == 200
            assert await answer.json() == {"ok": True, "checked": ["loop"], "failed": {}}

    talk(then, ready=BROKEN)


def test_probe_that_fails_answers_503_and_says_why() -> None:
    async def then(session: aiohttp.ClientSession, url: str) -> None:
        async with session.get(f"{url}/readyz") as answer:
            assert answer.status == 503
            assert await answer.json() == {
                "ok": False,
                "checked": ["loop", "lease"],
                "failed": {"lease": "neither held nor read for 99.0 s"},
            }
        async with session.get(f"{url}/healthz") as answer:
            assert answer.status == 200

    talk(then, ready=BROKEN)


@dataclass(frozen=True)
class Format:
    name: str
    accept: str
    content_type: str
    end: str


@pytest.mark.parametrize(
    "row",
    [
        Format("text by default", "*/*", "text/plain; version=0.0.4", "\n"),
        Format(
            "OpenMetrics",
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5",
            "application/openmetrics-text; version=1.0.0",
            "# EOF\n",
        ),
    ],
    ids=lambda row: row.name,
)
def test_metrics_come_as(row: Format) -> None:
    async def then(session: aiohttp.ClientSession, url: str) -> None:
        async with session.get(f"{url}/metrics", headers={"Accept": row.accept}) as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"].startswith(row.content_type)
            text = await answer.text()
            assert "fulcrum_leader 1.0\n" in text
            assert text.endswith(row.end)

    metrics = Metrics(SETTINGS)
    metrics.leading(True)
    talk(then, metrics=metrics)


def test_metrics_are_compressed_for_who_takes_it() -> None:
    async def then(session: aiohttp.ClientSession, url: str) -> None:
        async with session.get(f"{url}/metrics", headers={"Accept-Encoding": "gzip"}) as answer:
            assert answer.headers["Content-Encoding"] == "gzip"
            assert "fulcrum_leader" in await answer.text()

    talk(then)


def test_taken_port_is_an_error_and_nothing_stays_open() -> None:
    async def scenario() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            http = Http(port=taken.getsockname()[1])
            server = HealthServer(http, Metrics(SETTINGS), lambda: FINE, lambda: FINE)
            with pytest.raises(OSError, match="address already in use"):
                await server.start()
            await server.stop()

    asyncio.run(scenario())


def test_stopped_server_can_be_started_again() -> None:
    async def scenario() -> None:
        server = HealthServer(Http(port=0), Metrics(SETTINGS), lambda: FINE, lambda: FINE)
        for _ in range(2):
            await server.start()
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.close()
            await server.stop()
            with pytest.raises(OSError):  # which one is the system's choice
                await asyncio.open_connection("127.0.0.1", server.port)

    asyncio.run(scenario())


def test_lag_of_a_blocked_loop_is_measured() -> None:
    async def scenario() -> tuple[list[float], float, float]:
        seen: list[float] = []
        monitor = LoopMonitor(seen.append, every_s=0.02)
        monitor.start()
        begun = monitor.last_beat
        await asyncio.sleep(0.05)
        time.sleep(0.3)  # this is the blocking that is measured
        await asyncio.sleep(0.05)
        await monitor.stop()
        return seen, begun, monitor.last_beat

    seen, begun, last = asyncio.run(scenario())
    assert 0.2 < max(seen) < 5.0
    assert min(seen) >= 0.0
    assert last > begun + 0.3


def test_stopped_monitor_beats_no_more() -> None:
    async def scenario() -> tuple[int, int]:
        seen: list[float] = []
        monitor = LoopMonitor(seen.append, every_s=0.01)
        await monitor.stop()
        monitor.start()
        await asyncio.sleep(0.1)
        await monitor.stop()
        before = len(seen)
        await asyncio.sleep(0.1)
        return before, len(seen)

    before, after = asyncio.run(scenario())
    assert before == after > 0
