"""On a real Lease: the leader's death costs no more than the lease, letting go costs nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from cluster.control_plane import ControlPlane

from fulcrum_operator.kubernetes.api import Kube, connect
from fulcrum_operator.kubernetes.election import Elector, Timing, unique_identity
from fulcrum_operator.kubernetes.errors import NotLeader
from fulcrum_operator.kubernetes.fence import Fence
from fulcrum_operator.kubernetes.kubeconfig import from_kubeconfig
from fulcrum_operator.resources.names import CONFIG_MAP, LEASE

TIMING = Timing(lease_s=3.0, renew_s=0.8, retry_s=0.4, margin_s=0.5)
SLACK_S = 1.5
"""For a busy machine; a lease that were not honoured would show as a negative time."""


@dataclass
class Replica:
    """One operator's part in the election, without the operator."""

    kube: Kube
    namespace: str
    fence: Fence = field(default_factory=Fence)
    changes: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.elector = Elector(
            self.kube,
            self.namespace,
            "fulcrum-operator",
            unique_identity(),
            fence=self.fence,
            timing=TIMING,
            on_change=self.changes.append,
        )
        self.task = asyncio.ensure_future(self.elector.run())

    async def die(self) -> None:
        """End without a word, as after SIGKILL."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def write(self) -> None:
        """Write something, as the operator would."""
        metadata = {"name": "work", "namespace": self.namespace}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
        await self.kube.behind(self.fence).create(CONFIG_MAP, body)


def elect(control_plane: ControlPlane, work: Callable[[Kube], Awaitable[None]]) -> None:
    """Run `work` with a client that may do everything."""

    async def main() -> None:
        async with connect(from_kubeconfig(control_plane.admin_kubeconfig)) as kube:
            await work(kube)

    asyncio.run(main())


def test_standby_takes_over_within_lease_and_retry(
    control_plane: ControlPlane, namespace: str
) -> None:
    async def work(kube: Kube) -> None:
        leader = Replica(kube, namespace)
        await asyncio.wait_for(leader.elector.leading.wait(), 10)
        standby = Replica(kube, namespace)
        await asyncio.sleep(2 * TIMING.lease_s)
        assert (leader.changes, standby.changes) == ([True], [])
        with pytest.raises(NotLeader):
            await standby.write()
        await leader.die()
        died_s = time.monotonic()
        await asyncio.wait_for(standby.elector.leading.wait(), 20)
        took_s = time.monotonic() - died_s
        assert TIMING.lease_s - TIMING.renew_s - SLACK_S < took_s
        assert took_s < TIMING.lease_s + TIMING.retry_s + SLACK_S
        with pytest.raises(NotLeader):
            await leader.write()
        await standby.write()
        spec = (await kube.get(LEASE, "fulcrum-operator", namespace))["spec"]
        assert (spec["holderIdentity"], spec["leaseTransitions"]) == (standby.elector.identity, 1)
        await standby.die()

    elect(control_plane, work)


def test_letting_go_hands_over_at_once(control_plane: ControlPlane, namespace: str) -> None:
    async def work(kube: Kube) -> None:
        leader = Replica(kube, namespace)
        await asyncio.wait_for(leader.elector.leading.wait(), 10)
        standby = Replica(kube, namespace)
        await asyncio.sleep(TIMING.retry_s)
        await leader.die()
        await leader.elector.release()
        assert leader.changes == [True, False]
        released_s = time.monotonic()
        await asyncio.wait_for(standby.elector.leading.wait(), 10)
        assert time.monotonic() - released_s < TIMING.lease_s - TIMING.margin_s
        await standby.die()

    elect(control_plane, work)


def test_deposed_leader_stops_and_goes_on_as_a_standby(
    control_plane: ControlPlane, namespace: str
) -> None:
    async def work(kube: Kube) -> None:
        replica = Replica(kube, namespace)
        await asyncio.wait_for(replica.elector.leading.wait(), 10)
        stolen = {"spec": {"holderIdentity": "another", "leaseDurationSeconds": 3}}
        await kube.patch(LEASE, "fulcrum-operator", namespace, stolen)
        async with asyncio.timeout(20):
            while replica.changes != [True, False, True]:
                await asyncio.sleep(0.05)
        assert not replica.task.done()
        await replica.die()

    elect(control_plane, work)
