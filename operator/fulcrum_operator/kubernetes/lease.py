"""Read a Lease, and decide what a candidate may do.

As in Kubernetes' own clients, a time from another machine is never trusted: a lease counts as
expired once this process has seen no change of it for its whole duration, by its own clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from fulcrum_operator.kubernetes.requests import Object

TIME_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"
TICK = timedelta(microseconds=1)
"""The smallest step of a Lease's times."""


@dataclass(frozen=True)
class Lease:
    """A Lease as the server has it.

    Attributes:
        version: Changes with every write.
        holder: Identity of the leader; empty after it let go.
        duration_s: How long it holds after a renewal.
        renewed: What the holder's wall clock said then; for people, and to make writes differ.
        transitions: How often the holder changed.
    """

    version: str
    holder: str
    duration_s: float
    renewed: datetime
    transitions: int


@dataclass(frozen=True)
class Sighting:
    """This process's knowledge of the Lease.

    Attributes:
        lease: None if the object does not exist.
        since_s: When this version, or its absence, was first seen, on the local clock.
        seen_before: For a Lease that is missing: whether there was one.
    """

    lease: Lease | None
    since_s: float
    seen_before: bool = False


@dataclass(frozen=True)
class LeaseDecision:
    """The next step of a candidate.

    Attributes:
        action: `renew` and `take` write over the version that was seen.
        wait_s: For `wait`, how long others may count on the holder.
    """

    action: Literal["create", "take", "renew", "wait"]
    wait_s: float = 0.0


def sight(previous: Sighting | None, lease: Lease | None, now_s: float) -> Sighting:
    """Return what is known after a look at the Lease that ended at `now_s`."""
    if lease is None:
        if previous is not None and previous.lease is None:
            return previous
        return Sighting(None, now_s, seen_before=previous is not None)
    known = previous.lease if previous is not None else None
    if previous is not None and known is not None and known.version == lease.version:
        return previous
    return Sighting(lease, now_s)


def decide(sighting: Sighting, identity: str, duration_s: float, now_s: float) -> LeaseDecision:
    """Return what `identity` has to do.

    The holder of a deleted Lease may still count on it, so a candidate that saw it waits as
    long as if it existed. If settings differ between replicas, the longer duration counts.

    Args:
        sighting: Knowledge of the Lease.
        identity: Of this process; unique, so no other process holds a lease under this name.
        duration_s: Of the leases that this process writes.
        now_s: On the local clock.
    """
    lease = sighting.lease
    if lease is None and not sighting.seen_before:
        return LeaseDecision("create")
    if lease is not None and lease.holder == identity:
        return LeaseDecision("renew")
    if lease is not None and not lease.holder:
        return LeaseDecision("take")
    duration_s = max(duration_s, lease.duration_s) if lease is not None else duration_s
    left_s = sighting.since_s + duration_s - now_s
    if left_s > 0:
        return LeaseDecision("wait", left_s)
    return LeaseDecision("take" if lease is not None else "create")


def read_lease(found: Object) -> Lease:
    """Return the content of the object; removed fields count as never set."""
    spec = found.get("spec") or {}
    return Lease(
        version=str(found["metadata"]["resourceVersion"]),
        holder=str(spec.get("holderIdentity") or ""),
        duration_s=float(spec.get("leaseDurationSeconds") or 0),
        renewed=_time(str(spec.get("renewTime") or "")),
        transitions=int(spec.get("leaseTransitions") or 0),
    )


def claim(lease: Lease | None, identity: str, duration_s: int, now: datetime) -> Object:
    """Return the spec by which `identity` holds the lease from now on.

    The time of renewal always grows, even if the wall clock stops or was set back: a write
    that changes nothing would leave the version as it is, and others would see no renewal.
    """
    renewed = now if lease is None else max(now, lease.renewed + TICK)
    spec: Object = {
        "holderIdentity": identity,
        "leaseDurationSeconds": duration_s,
        "renewTime": renewed.strftime(TIME_FORMAT),
    }
    if lease is None or lease.holder != identity:
        spec["acquireTime"] = spec["renewTime"]
        spec["leaseTransitions"] = 0 if lease is None else lease.transitions + 1
    return spec


def _time(text: str) -> datetime:
    try:
        return datetime.strptime(text, TIME_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)
