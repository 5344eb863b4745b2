"""Two candidates never may both write, despite clocks, pauses and lost answers.

The electors are the real ones; the API server, the clocks and the passing of time are simulated.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fulcrum_operator.kubernetes.api import Kube
from fulcrum_operator.kubernetes.election import Elector, Timing, unique_identity
from fulcrum_operator.kubernetes.errors import AlreadyExists, Conflict, NotFound, Unavailable
from fulcrum_operator.kubernetes.fence import Fence
from fulcrum_operator.kubernetes.lease import Lease, LeaseDecision, Sighting, claim, decide, sight
from fulcrum_operator.kubernetes.requests import Object
from fulcrum_pipelines.errors import UserError

T0 = datetime(2026, 11, 25, tzinfo=UTC)


def lease(version: str = "1", holder: str = "other", duration_s: float = 15.0) -> Lease:
    """Return a Lease that `holder` holds."""
    return Lease(version, holder, duration_s, T0, 3)


@dataclass(frozen=True)
class Row:
    name: str
    sighting: Sighting
    now_s: float
    expected: LeaseDecision


ROWS = [
    Row("no lease at all", Sighting(None, 0.0), 0.0, LeaseDecision("create")),
    Row("ours", Sighting(lease(holder="me"), 0.0), 5.0, LeaseDecision("renew")),
    Row(
        "ours, long expired, unchanged",
        Sighting(lease(holder="me"), 0.0),
        99.0,
        LeaseDecision("renew"),
    ),
    Row("held", Sighting(lease(), 10.0), 12.0, LeaseDecision("wait", 13.0)),
    Row("last moment", Sighting(lease(), 10.0), 24.9, LeaseDecision("wait", pytest.approx(0.1))),
    Row("expired", Sighting(lease(), 10.0), 25.0, LeaseDecision("take")),
    Row("let go", Sighting(lease(holder=""), 10.0), 10.0, LeaseDecision("take")),
    Row(
        "holder's is longer", Sighting(lease(duration_s=60), 0.0), 20.0, LeaseDecision("wait", 40.0)
    ),
    Row(
        "holder's is shorter", Sighting(lease(duration_s=1), 0.0), 14.0, LeaseDecision("wait", 1.0)
    ),
    Row(
        "deleted just now", Sighting(None, 5.0, seen_before=True), 6.0, LeaseDecision("wait", 14.0)
    ),
    Row("deleted long ago", Sighting(None, 5.0, seen_before=True), 20.0, LeaseDecision("create")),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_decision(row: Row) -> None:
    assert decide(row.sighting, "me", 15.0, row.now_s) == row.expected


def test_only_a_new_version_restarts_the_wait() -> None:
    first = sight(None, lease("1"), 10.0)
    assert sight(first, lease("1"), 20.0) == first
    assert sight(first, lease("2"), 20.0).since_s == 20.0
    gone = sight(first, None, 30.0)
    assert (gone.seen_before, sight(gone, None, 40.0)) == (True, gone)
    assert sight(None, None, 0.0).seen_before is False


def test_every_claim_differs_even_if_the_wall_clock_stops() -> None:
    again = claim(lease(holder="me"), "me", 15, T0)
    assert again["renewTime"] == "2026-11-25T00:00:00.000001Z"
    assert "leaseTransitions" not in again
    assert claim(lease(), "me", 15, T0)["leaseTransitions"] == 4
    assert claim(None, "me", 15, T0)["renewTime"] == "2026-11-25T00:00:00.000000Z"


def test_identities_of_one_host_differ() -> None:
    assert unique_identity("host") != unique_identity("host")
    assert unique_identity("host").startswith("host_")


class _JumpingSelector(selectors.DefaultSelector):
    """Waits for nothing: time jumps to when something is due."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        self.now_s += timeout or 0.0
        return []


class _SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop whose hours take no time."""

    def __init__(self) -> None:
        self.jumping = _JumpingSelector()
        super().__init__(self.jumping)

    def time(self) -> float:
        return self.jumping.now_s


def simulate(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `main` in simulated time."""
    with asyncio.Runner(loop_factory=_SimulatedLoop) as runner:
        runner.run(main())


@dataclass(frozen=True)
class Trouble:
    """Delays and loss of one call.

    Attributes:
        before_s: Until it reaches the server, if the process is paused or the network slow.
        after_s: Until its answer is back.
        lost: The answer never comes.
    """

    before_s: float = 0.0
    after_s: float = 0.0
    lost: bool = False


@dataclass
class Server:
    """One Lease, with compare-and-set."""

    spec: Object | None = None
    version: int = 0

    def found(self) -> Object:
        if self.spec is None:
            raise NotFound("no lease")
        return {"metadata": {"resourceVersion": str(self.version)}, "spec": dict(self.spec)}

    def write(self, spec: Object, version: str | None) -> Object:
        if version is None and self.spec is not None:
            raise AlreadyExists("there is one")
        if version is not None and version != str(self.version):
            raise Conflict("another version")
        merged = {**(self.spec or {}), **spec}
        if merged != self.spec:  # like the real one, which keeps the version of what is unchanged
            self.spec, self.version = merged, self.version + 1
        return self.found()


@dataclass
class TroubledKube:
    """One candidate's way to the server; a call that its caller gave up still arrives."""

    server: Server
    troubles: list[Trouble]
    calls: list[asyncio.Future[Any]] = field(default_factory=list)

    def with_policy(self, policy: object) -> TroubledKube:
        return self

    async def get(self, *_: object) -> Object:
        return await self._call(self.server.found)

    async def create(self, _: object, body: Object) -> Object:
        return await self._call(lambda: self.server.write(body["spec"], None))

    async def patch(self, *args: Any, resource_version: str) -> Object:
        return await self._call(lambda: self.server.write(args[-1]["spec"], resource_version))

    async def _call(self, act: Callable[[], Object]) -> Object:
        trouble = self.troubles.pop(0) if self.troubles else Trouble()

        async def arrive() -> Object:
            await asyncio.sleep(trouble.before_s)
            answer = act()
            await asyncio.sleep(trouble.after_s)
            if trouble.lost:
                raise Unavailable("the answer was lost")
            return answer

        under_way = asyncio.ensure_future(arrive())
        under_way.add_done_callback(lambda done: done.cancelled() or done.exception())
        self.calls.append(under_way)
        return await asyncio.shield(under_way)


@dataclass
class WatchedFence(Fence):
    """Notes when it opened while the other one was open too."""

    offset_s: float
    rate: float
    overlaps: list[float]
    other: WatchedFence | None = None

    def __post_init__(self) -> None:
        super().__init__(self.local_s)

    def local_s(self) -> float:
        return self.offset_s + self.rate * asyncio.get_running_loop().time()

    def open_until(self, moment_s: float) -> None:
        super().open_until(moment_s)
        if self.other is not None and self.left_s > 0 and self.other.left_s > 0:
            self.overlaps.append(asyncio.get_running_loop().time())


@dataclass(frozen=True)
class Candidate:
    """One elector's circumstances.

    Attributes:
        offset_s: Its clock against true time.
        rate: Seconds of its clock in one true second.
        troubles: Of its calls, in order; the later ones have none.
    """

    offset_s: float = 0.0
    rate: float = 1.0
    troubles: tuple[Trouble, ...] = ()


@dataclass
class Outcome:
    """Result of a simulation: true times of double leadership, and changes of each candidate."""

    overlaps: list[float] = field(default_factory=list)
    changes: list[tuple[str, bool]] = field(default_factory=list)


def compete(candidates: tuple[Candidate, Candidate], timing: Timing, for_s: float) -> Outcome:
    """Let two electors compete for a Lease, for so many true seconds."""
    outcome = Outcome()

    async def main() -> None:
        server = Server()
        fences = [WatchedFence(c.offset_s, c.rate, outcome.overlaps) for c in candidates]
        fences[0].other, fences[1].other = fences[1], fences[0]
        kubes = [TroubledKube(server, list(c.troubles)) for c in candidates]
        tasks = [
            asyncio.ensure_future(_elector(kube, fence, name, timing, outcome).run())
            for kube, fence, name in zip(kubes, fences, "ab", strict=True)
        ]
        await asyncio.sleep(for_s)
        for task in (*tasks, *kubes[0].calls, *kubes[1].calls):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    simulate(main)
    return outcome


def _elector(
    kube: TroubledKube, fence: WatchedFence, name: str, timing: Timing, outcome: Outcome
) -> Elector:
    return Elector(
        cast("Kube", kube),
        "fulcrum-system",
        "fulcrum-operator",
        name,
        fence=fence,
        timing=timing,
        on_change=lambda leads: outcome.changes.append((name, leads)),
        clock=fence.local_s,
    )


seconds = st.floats(0, 40)
troubles = st.builds(Trouble, seconds, seconds, st.booleans())
candidates = st.builds(
    Candidate,
    st.floats(-1e6, 1e6),
    st.floats(0.94, 1.06),  # 1.06 / 0.94 is just under 15 / (15 - 2)
    st.lists(troubles, max_size=25).map(tuple),
)


@settings(max_examples=200, deadline=None)
@given(candidates, candidates)
@example(Candidate(troubles=(Trouble(), Trouble(before_s=13.9, after_s=20))), Candidate())
def test_two_fences_are_never_open_at_once(one: Candidate, other: Candidate) -> None:
    assert compete((one, other), Timing(), for_s=400).overlaps == []


def test_without_a_margin_a_slow_clock_would_be_enough_for_two_leaders() -> None:
    troubles = (Trouble(), Trouble(), *[Trouble(lost=True, before_s=60)] * 9)
    slow, fast = Candidate(rate=0.8, troubles=troubles), Candidate(rate=1.2)
    assert compete((slow, fast), Timing(margin_s=0.0), for_s=100).overlaps
    assert not compete((slow, fast), Timing(margin_s=6.0), for_s=100).overlaps


def test_standby_takes_over_within_lease_and_retry() -> None:
    dead = Candidate(troubles=(Trouble(), Trouble(), *[Trouble(before_s=1000)] * 40))
    outcome = compete((dead, Candidate()), Timing(), for_s=18)
    assert outcome.changes == [("a", True), ("a", False), ("b", True)]


def test_without_trouble_the_first_one_stays_leader() -> None:
    assert compete((Candidate(), Candidate()), Timing(), for_s=3600).changes == [("a", True)]


def test_missed_renewals_cost_no_leadership_while_the_lease_lasts() -> None:
    lossy = Candidate(troubles=tuple([Trouble(), Trouble()] + [Trouble(lost=True)] * 2) * 20)
    outcome = compete((lossy, Candidate()), Timing(), for_s=300)
    assert outcome.changes == [("a", True)]


def test_leader_whose_token_cannot_be_read_steps_down_in_time() -> None:
    outcome = Outcome()

    @dataclass
    class Blind(TroubledKube):
        async def patch(self, *args: Any, resource_version: str) -> Object:
            raise UserError("the token file cannot be read")

    async def main() -> None:
        fence = WatchedFence(0.0, 1.0, outcome.overlaps)
        running = asyncio.ensure_future(
            _elector(Blind(Server(), []), fence, "a", Timing(), outcome).run()
        )
        await asyncio.sleep(60)
        assert not running.done()
        running.cancel()

    simulate(main)
    assert outcome.changes == [("a", True), ("a", False)]


def test_released_lease_is_taken_at_the_next_look() -> None:
    outcome = Outcome()

    async def main() -> None:
        server = Server()
        fences = [WatchedFence(0.0, 1.0, outcome.overlaps) for _ in "ab"]
        first, second = (
            _elector(TroubledKube(server, []), fence, name, Timing(), outcome)
            for fence, name in zip(fences, "ab", strict=True)
        )
        await first.step()
        await second.step()
        await first.release()
        assert not first.leading.is_set()
        await second.step()
        assert second.leading.is_set()

    simulate(main)
    assert outcome.changes == [("a", True), ("a", False), ("b", True)]
