"""Says over HTTP how the operator is: its metrics, whether it lives, and whether it is ready.

`liveness` and `readiness`, which are pure, decide on health. A probe that fails names every check
that failed and why, so that the pod's events show the cause.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass

from aiohttp import hdrs, web
from prometheus_client.exposition import choose_encoder

from fulcrum_operator.metrics import Metrics
from fulcrum_operator.settings import Http, Settings

BEAT_S = 1.0
"""How often the event loop is asked to wake the monitor up."""
LOOP_LIMIT_S = 30.0
"""Without a beat for so long the loop is stuck: 4 times the 7.1 s in which 10,000 finished jobs
were taken in on 2 cores, all of them on the loop."""
WATCH_SILENCES = 4
"""A silent watch is cut and restarted after `api.watch_silence_s`. One that neither heard
anything nor was begun in this many such times is not being looked after."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at; `problem` is empty if all is well."""

    name: str
    problem: str = ""


@dataclass(frozen=True)
class Probe:
    """The answer of a probe."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether all is well."""
        return not any(check.problem for check in self.checks)

    def as_json(self) -> dict[str, object]:
        """Return the body of the answer."""
        failed = {check.name: check.problem for check in self.checks if check.problem}
        return {"ok": self.ok, "checked": [check.name for check in self.checks], "failed": failed}


def liveness(
    now: float,
    last_loop_beat: float,
    watch_ages_s: Mapping[str, float],
    longest_reconcile_s: float,
    settings: Settings,
) -> Probe:
    """Decide whether a restart would help: a stuck loop, a dead watch, or a stuck reconcile.

    Args:
        now: Seconds on the monotonic clock of the loop.
        last_loop_beat: When the loop last did what was asked, on the same clock.
        watch_ages_s: Since the last sign of life of each watch (an event, a bookmark, or an attempt
            to restart it, even a failed one), by plural of the resource. An unreachable server
            is no reason for a restart; a watch that is not retried is.
        longest_reconcile_s: How long the oldest reconcile that is still going takes; 0 for none.
        settings: The limits.
    """
    silence_s = WATCH_SILENCES * settings.api.watch_silence_s
    return Probe(
        (
            _within("loop", now - last_loop_beat, LOOP_LIMIT_S, "the event loop did nothing"),
            *(
                _within(f"watch {resource}", age_s, silence_s, "no sign of life")
                for resource, age_s in sorted(watch_ages_s.items())
            ),
            _within(
                "reconcile", longest_reconcile_s, settings.reconcile.stuck_s, "one has been going"
            ),
        )
    )


def readiness(
    caches_warm: Mapping[str, bool], leading: bool, lease_seen_age_s: float, settings: Settings
) -> Probe:
    """Decide whether this process is ready: it leads, or is a standby that sees the leader.

    Args:
        caches_warm: By plural of the resource, whether its first list has been taken in.
        leading: Whether this process holds the Lease.
        lease_seen_age_s: Since this process last read the Lease or wrote it.
        settings: The limits.
    """
    limit_s = settings.election.lease_duration_s
    lease = _within("lease", lease_seen_age_s, limit_s, "neither held nor read")
    return Probe(
        (
            *(
                Check(f"cache {resource}", "" if warm else "not all objects were listed yet")
                for resource, warm in sorted(caches_warm.items())
            ),
            Check("lease") if leading else lease,
        )
    )


def _within(name: str, seconds: float, limit_s: float, what: str) -> Check:
    problem = f"{what} for {seconds:.1f} s; the limit is {limit_s:g} s"
    return Check(name, problem if seconds > limit_s else "")


class LoopMonitor:
    """Measures how late the event loop is, which is what everything else in it suffers.

    Args:
        observe: Takes the seconds that the loop was late.
        every_s: Between two beats.
    """

    def __init__(self, observe: Callable[[float], None], every_s: float = BEAT_S) -> None:
        self._observe = observe
        self._every_s = every_s
        self._task: asyncio.Task[None] | None = None
        self.last_beat = 0.0
        """On the loop's clock."""

    def start(self) -> None:
        """Begin to beat, in the running loop."""
        loop = asyncio.get_running_loop()
        self.last_beat = loop.time()
        self._task = loop.create_task(self._beat(loop), name="loop-monitor")

    async def stop(self) -> None:
        """End the beats; no-op if not running."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            now = loop.time()
            self._observe(max(now - self.last_beat - self._every_s, 0.0))
            self.last_beat = now


class HealthServer:
    """Serves `/metrics`, `/healthz` and `/readyz`.

    Args:
        settings: Host and port.
        metrics: Content of `/metrics`.
        live: Asked for each `/healthz`.
        ready: Asked for each `/readyz`.
    """

    def __init__(
        self,
        settings: Http,
        metrics: Metrics,
        live: Callable[[], Probe],
        ready: Callable[[], Probe],
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._live = live
        self._ready = ready
        self._runner: web.AppRunner | None = None
        self.port = 0
        """The real one, once started."""

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: The address is taken, or not one of this machine.
        """
        runner = web.AppRunner(self._application(), access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._settings.host, self._settings.port).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        self.port = runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop the server; no-op if not running."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def _application(self) -> web.Application:
        application = web.Application()
        application.router.add_get("/metrics", self._show_metrics)
        application.router.add_get("/healthz", _answers(self._live))
        application.router.add_get("/readyz", _answers(self._ready))
        return application

    async def _show_metrics(self, request: web.Request) -> web.Response:
        """Answer in the format that was asked for: OpenMetrics, or the older text."""
        encode, content_type = choose_encoder(request.headers.get(hdrs.ACCEPT, ""))
        response = web.Response(
            body=encode(self._metrics.registry), headers={hdrs.CONTENT_TYPE: content_type}
        )
        response.enable_compression()
        return response


def _answers(
    probe: Callable[[], Probe],
) -> Callable[[web.Request], Coroutine[None, None, web.Response]]:
    """Return the handler that answers with what `probe` says."""

    async def answer(_: web.Request) -> web.Response:
        said = probe()
        return web.json_response(said.as_json(), status=200 if said.ok else 503)

    return answer
