"""Each Event is recorded once, fits the limits, and never fails the work it describes."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from api_stand_in import Answer, refusal, serve

from fulcrum_operator.kubernetes.events import Events, Happening, cut, event_for
from fulcrum_operator.kubernetes.fence import Fence

NOW = datetime(2026, 11, 25, 9, 30, tzinfo=UTC)
JOB: dict[str, Any] = {
    "apiVersion": "fulcrum.dev/v1alpha1",
    "kind": "CompressionJob",
    "metadata": {"name": "a", "namespace": "demo", "uid": "1", "resourceVersion": "7"},
}
STARTED = Happening("StageStarted", "Pruning has begun", "attempt-1/prune")


def name_of(subject: dict[str, Any], happening: Happening) -> str:
    """Return the name of an Event."""
    return str(event_for(subject, happening, instance="x", now=NOW)["metadata"]["name"])


def test_event_names_its_object_in_full() -> None:
    event = event_for(JOB, STARTED, instance="pod_1", now=NOW)
    assert event["involvedObject"] == {
        "apiVersion": "fulcrum.dev/v1alpha1",
        "kind": "CompressionJob",
        **JOB["metadata"],
    }
    assert event["metadata"]["namespace"] == "demo"
    assert event["reportingComponent"] == "fulcrum.dev/operator"
    assert (event["type"], event["firstTimestamp"]) == ("Normal", "2026-11-25T09:30:00Z")


def test_same_transition_has_the_same_name_and_others_have_not() -> None:
    first = name_of(JOB, STARTED)
    reborn = {**JOB, "metadata": {**JOB["metadata"], "uid": "2"}}
    assert name_of(JOB, replace(STARTED, message="other words")) == first
    assert name_of(JOB, replace(STARTED, transition="attempt-2/prune")) != first
    assert name_of(JOB, replace(STARTED, reason="StageFailed")) != first
    assert name_of(reborn, STARTED) != first
    assert len(name_of({**JOB, "metadata": {"name": "x" * 253, "uid": "1"}}, STARTED)) == 253


def test_object_without_namespace_has_its_events_in_default() -> None:
    policy = {**JOB, "metadata": {"name": "strict", "uid": "3"}}
    event = event_for(policy, STARTED, instance="x", now=NOW)
    assert event["metadata"]["namespace"] == "default"
    assert "namespace" not in event["involvedObject"]


def test_message_is_cut_between_letters() -> None:
    assert cut("short", 1024) == "short"
    assert cut("ä" * 600, 1024) == "ä" * 510 + "…"
    assert len(cut("×" * 600, 1024).encode()) <= 1024


def test_existing_event_is_not_an_error(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with serve(refusal(409, "AlreadyExists", "is there")) as (server, kube):
            await Events(kube, "x").record(JOB, STARTED)
        assert len(server.asked) == 1

    asyncio.run(main())
    assert not caplog.records


ENDING = [{"reason": "NamespaceTerminating", "message": "is being terminated"}]
FAILURES = [
    ("no right", refusal(403, "Forbidden", "may not"), "WARNING"),
    ("namespace is ending", refusal(403, "Forbidden", "may not", causes=ENDING), "DEBUG"),
]


@pytest.mark.parametrize(("name", "answer", "level"), FAILURES, ids=[row[0] for row in FAILURES])
def test_failure_is_logged_and_no_more(
    name: str, answer: Answer, level: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "fulcrum_operator")

    async def main() -> None:
        async with serve(answer) as (_, kube):
            await Events(kube, "x").record(JOB, STARTED)

    asyncio.run(main())
    assert [record.levelname for record in caplog.records] == [level]


def test_standby_records_nothing() -> None:
    async def main() -> None:
        async with serve() as (server, kube):
            await Events(kube.behind(Fence()), "x").record(JOB, STARTED)
        assert not server.asked

    asyncio.run(main())
