"""Two operators, of which one leads: it dies or sleeps at any effect, and the other takes over.

A try is a leader that is lost in the middle of some jobs' lives. `FULCRUM_TRIES` says how many
there are; 50 of them took 389 s on two cores with a load of 11, so that by default there are fewer.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from operator_site import Site, check_promoted, promoting_job
from operators import OperatorProcess, wait_until

TRIES = int(os.environ.get("FULCRUM_TRIES", "6"))
SEED = 20261125
JOBS = 3
"""Begun in each try; all of them are interrupted somewhere."""
WAIT_S = 60.0
LEASE_S = 3.0
LATE_S = 3.0
"""Time that a take-over may take beyond the lease: the standby's next check, a call, and delays of
a shared machine."""
EFFECTS = (
    "snapshot-made",
    "finalizer-added",
    "key-written",
    "submitted",
    "id-recorded",
    "verdict-written",
    "finalizer-removed",
    "promotion-created",
    "channel-moved",
    "promotion-promoted",
    "outcome-written",
    "terminal-set",
)


@dataclass
class Pair:
    """Two operators at one Lease.

    Attributes:
        site: Whose they are.
        replicas: By name.
    """

    site: Site
    replicas: dict[str, OperatorProcess] = field(default_factory=dict)

    def lease(self) -> dict[str, Any]:
        """Return the Lease's specification."""
        path = f"/apis/coordination.k8s.io/v1/namespaces/fulcrum-system/leases/{self.site.lease}"
        spec: dict[str, Any] = self.site.jobs.api("GET", path)["spec"]
        return spec

    def leader(self) -> OperatorProcess | None:
        """Return the one that holds the Lease, or held it last; None if it was handed back."""
        return self.replicas.get(str(self.lease().get("holderIdentity")).partition("_")[0])

    def heal(self) -> None:
        """Start the one that is dead."""
        for each in self.replicas.values():
            if not each.alive:
                each.start("--unique", ready=False)

    def whole(self) -> None:
        """Wait until one leads and the other is the standby."""
        self.heal()
        wait_until(lambda: all(each.is_ready() for each in self.replicas.values()), WAIT_S)
        wait_until(lambda: bool(self.lease().get("holderIdentity")), WAIT_S)


@pytest.fixture(scope="module")
def pair(site: Site) -> Iterator[Pair]:
    """Both of them, running."""
    made = Pair(site)
    election = {"lease_duration_s": LEASE_S, "renew_every_s": 0.5, "margin_s": 1.0}
    for name in ("one", "two"):
        made.replicas[name] = site.new_operator(name, election=election)
    made.whole()
    yield made
    for each in made.replicas.values():
        assert each.stop() == 0, each.log[-4000:]


@pytest.mark.slow
@pytest.mark.timeout(60 + 30 * TRIES)
def test_leader_is_lost_in_the_middle(pair: Pair) -> None:
    dice = random.Random(SEED)
    for number in range(TRIES):
        effect = dice.choice(EFFECTS)
        sort = dice.choice(("KILL", "KILL", "STOP"))
        lose_leader(pair, number, sort, effect)


def lose_leader(pair: Pair, number: int, sort: str, effect: str) -> None:
    """Lose the leader at its next `effect`; what it began is finished once, by the other."""
    pair.whole()
    leader, jobs = pair.leader(), pair.site.jobs
    assert leader is not None
    leader.order(sort, effect)
    names = [promoting_job(pair.site, f"succeed.{number}-{each}") for each in range(JOBS)]
    wait_until(lambda: not leader.working, WAIT_S, lambda: f"{effect}: {leader.log[-2000:]}")
    lost_s, had = time.monotonic(), leader.writes
    wait_until(lambda: pair.leader() not in (leader, None), WAIT_S)
    assert time.monotonic() - lost_s < LEASE_S + LATE_S, (number, sort, effect)
    if sort == "STOP":
        leader.send(signal.SIGCONT)  # it wakes up in the middle of what the other does
    else:
        pair.heal()
    for name in names:
        jobs.ended(name)
        check_promoted(pair.site, name)
    if sort == "STOP":
        wait_until(leader.is_ready, WAIT_S)
        assert leader.writes == had, (number, effect)
        assert pair.leader() is not leader


def test_leader_that_ends_in_good_order_hands_over_at_once(pair: Pair) -> None:
    pair.whole()
    leader = pair.leader()
    assert leader is not None
    assert leader.stop() == 0
    stopped_s = time.monotonic()
    wait_until(lambda: pair.leader() not in (leader, None), WAIT_S)
    assert time.monotonic() - stopped_s < LEASE_S + LATE_S
    name = promoting_job(pair.site, "succeed.handed-over")
    pair.site.jobs.ended(name)
    check_promoted(pair.site, name)
