"""The table at the end of the suite for real servers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

PODS = "pods and drivers"
"""Name of the property of a test that has both numbers."""


def rows(reports: Iterable[pytest.TestReport]) -> Iterator[str]:
    """Yield a line for each test, after a heading: outcome, seconds, pods, drivers among them."""
    outcomes: dict[str, str] = {}
    seconds: dict[str, float] = {}
    pods: dict[str, tuple[int, int]] = {}
    for report in reports:
        name = report.nodeid
        seconds[name] = seconds.get(name, 0.0) + report.duration
        if report.when == "call":
            outcomes[name] = report.outcome
        elif report.outcome != "passed":
            outcomes[name] = f"{report.outcome} in {report.when}"
        for key, value in report.user_properties:
            if key == PODS:
                pods[name] = tuple(value)
    yield f"{'outcome':18}{'seconds':>8}{'pods':>6}{'drivers':>9}  test"
    for name, outcome in outcomes.items():
        every, drivers = pods.get(name, (0, 0))
        yield f"{outcome:18}{seconds[name]:8.1f}{every:6}{drivers:9}  {name}"
    every, drivers = (sum(each[at] for each in pods.values()) for at in (0, 1))
    yield f"{'together':18}{sum(seconds.values()):8.1f}{every:6}{drivers:9}"
