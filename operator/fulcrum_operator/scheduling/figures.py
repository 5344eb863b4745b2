"""Figures of all schedules, for metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from fulcrum_operator.resources.times import read_time


def count(schedules: Iterable[Mapping[str, Any]]) -> Counter[bool]:
    """Return how many schedules there are, by whether jobs start at their slots."""
    return Counter(_is_scheduling(body) for body in schedules)


def last_successes_s(schedules: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return when each schedule's last job succeeded, in seconds since 1970.

    By namespace/name. Without a success it is when the schedule was created, so that one that never
    succeeds is noticed too.
    """
    found = {}
    for body in schedules:
        metadata = body["metadata"]
        last = (body.get("status") or {}).get("lastSuccess")
        time = read_time(last["time"] if last else metadata["creationTimestamp"])
        found[f"{metadata['namespace']}/{metadata['name']}"] = time.timestamp()
    return found


def _is_scheduling(body: Mapping[str, Any]) -> bool:
    conditions = (body.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "Scheduling" and each["status"] == "True" for each in conditions)
