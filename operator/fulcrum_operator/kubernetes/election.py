"""Which of several operators acts: the one that holds a Lease.

The elector renews, watches and takes over; `lease` decides what to do and `fence` keeps a deposed
leader's writes in. Losing the lease ends no process: it goes on as a standby.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from fulcrum_operator.kubernetes.api import Kube
from fulcrum_operator.kubernetes.errors import AlreadyExists, Conflict, NotFound
from fulcrum_operator.kubernetes.fence import Clock, Fence, boot_s
from fulcrum_operator.kubernetes.lease import Lease, Sighting, claim, decide, read_lease, sight
from fulcrum_operator.kubernetes.requests import Object
from fulcrum_operator.kubernetes.retries import CallPolicy
from fulcrum_operator.resources.names import LEASE
from fulcrum_pipelines.errors import FulcrumError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Timing:
    """Times of an election.

    Attributes:
        lease_s: A leader that was not heard of for this long is replaced; whole seconds.
        renew_s: Between two renewals.
        retry_s: Between two looks of a standby, and after a failed renewal.
        margin_s: The leader stops writing so much before others may take over. Also the allowed
            difference in clock speed: 2 of 15 s are 13 %; real clocks differ by less than 0.1 %.
    """

    lease_s: float = 15.0
    renew_s: float = 5.0
    retry_s: float = 2.0
    margin_s: float = 2.0

    @property
    def call_s(self) -> float:
        """Time-out of a call: what a leader has after a missed renewal is enough for two."""
        return (self.lease_s - self.margin_s - self.renew_s) / 2


DEFAULT_TIMING = Timing()
SHORTEST_PAUSE_S = 0.01
"""Towards the end of a lease, so that steps do not come ever closer to it without reaching it."""


def unique_identity(name: str = "") -> str:
    """Return a name for this process: the host's, or `name`, and something random.

    A restarted process is another candidate, since it does not know what its predecessor
    left under way.
    """
    return f"{name or socket.gethostname()}_{secrets.token_hex(4)}"


class Elector:
    """One candidate.

    Args:
        kube: Its calls; these pass no fence.
        namespace: Of the Lease.
        name: Of the Lease.
        identity: Unique, see `unique_identity`.
        timing: The times.
        fence: Opened while this process surely leads; it must be on the same `clock`.
        on_change: Called with True after a take-over and with False after a loss.
        clock: Seconds, monotonic.

    Attributes:
        leading: Set while this process leads.
    """

    def __init__(
        self,
        kube: Kube,
        namespace: str,
        name: str,
        identity: str,
        *,
        fence: Fence,
        timing: Timing = DEFAULT_TIMING,
        on_change: Callable[[bool], None] = lambda leading: None,
        clock: Clock = boot_s,
    ) -> None:
        self.identity = identity
        self.leading = asyncio.Event()
        self._kube = kube.with_policy(
            CallPolicy(timeout_s=timing.call_s, deadline_s=timing.call_s, retries=0)
        )
        self._namespace = namespace
        self._name = name
        self._timing = timing
        self._fence = fence
        self._on_change = on_change
        self._clock = clock
        self._sighting: Sighting | None = None
        self._must_look = True
        self._seen_s = -math.inf

    @property
    def seen_age_s(self) -> float:
        """Seconds since this process last read the Lease or wrote it; infinite at first."""
        return self._clock() - self._seen_s

    async def run(self) -> None:
        """Take part until cancelled; `release` afterwards hands the lease over at once."""
        while True:
            await asyncio.sleep(await self.step())

    async def step(self) -> float:
        """Look, act once, and return the seconds until the next step is due."""
        try:
            left_s = self._fence.left_s if self.leading.is_set() else None
            async with asyncio.timeout(left_s):
                pause_s = await self._look_and_act()
            self._seen_s = self._clock()
        except (FulcrumError, TimeoutError) as error:
            if not isinstance(error, Conflict | AlreadyExists):
                log.warning(
                    "the lease could not be read or renewed: %s", str(error) or "no time left"
                )
            self._must_look = True
            pause_s = self._timing.retry_s
        self._report_change()
        if self.leading.is_set():
            pause_s = min(pause_s, self._fence.left_s)
        else:
            pause_s *= random.uniform(0.8, 1.0)
        return max(pause_s, SHORTEST_PAUSE_S)

    async def release(self) -> None:
        """Let go of the lease so that a standby need not wait; stop `run` and all writers before.

        It looks first, since a renewal that `run` was cancelled in may have had effect.
        """
        self._fence.close()
        self._report_change()
        try:
            lease = await self._read()
            if lease is not None and lease.holder == self.identity:
                await self._write(lease, {"holderIdentity": ""})
        except FulcrumError as error:
            log.warning("the lease was not handed over, so a standby has to wait: %s", error)

    async def _look_and_act(self) -> float:
        if self._must_look or not self.leading.is_set():
            lease = await self._read()
            self._sighting = sight(self._sighting, lease, self._clock())
        assert self._sighting is not None
        now_s = self._clock()
        decision = decide(self._sighting, self.identity, self._timing.lease_s, now_s)
        if decision.action == "wait":
            self._fence.close()
            return min(self._timing.retry_s, decision.wait_s)
        await self._claim(self._sighting.lease, now_s)
        return self._timing.renew_s

    async def _claim(self, lease: Lease | None, before_s: float) -> None:
        """The fence counts from before the call, others from after it."""
        spec = claim(lease, self.identity, math.ceil(self._timing.lease_s), datetime.now(UTC))
        written = await self._write(lease, spec)
        self._sighting = sight(self._sighting, read_lease(written), self._clock())
        self._must_look = False
        self._fence.open_until(before_s + self._timing.lease_s - self._timing.margin_s)

    async def _read(self) -> Lease | None:
        try:
            return read_lease(await self._kube.get(LEASE, self._name, self._namespace))
        except NotFound:
            return None

    async def _write(self, lease: Lease | None, spec: Object) -> Object:
        if lease is not None:
            return await self._kube.patch(
                LEASE, self._name, self._namespace, {"spec": spec}, resource_version=lease.version
            )
        metadata = {"name": self._name, "namespace": self._namespace}
        body = {"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": metadata}
        return await self._kube.create(LEASE, {**body, "spec": spec})

    def _report_change(self) -> None:
        leads = self._fence.left_s > 0
        if leads == self.leading.is_set():
            return
        log.info("%s %s", self.identity, "leads" if leads else "is a standby")
        if leads:
            self.leading.set()
        else:
            self.leading.clear()
        self._on_change(leads)
