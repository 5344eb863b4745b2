"""The jobs of a schedule: what they are called, what they are made of, and which may go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from fulcrum_operator.resources.names import (
    COMPRESSION_JOB,
    COMPRESSION_SCHEDULE,
    SCHEDULE_LABEL,
    SLOT,
)
from fulcrum_operator.resources.times import write_time
from fulcrum_operator.scheduling.cron import Cron
from fulcrum_operator.scheduling.inputs import Child, Schedule
from fulcrum_operator.scheduling.placeholders import resolve

MINUTE: Final = "%Y%m%d%H%M"
"""Form of a slot in a job's name, in UTC."""


def name_of(schedule: str, slot: datetime) -> str:
    """Return the name of the job of a slot: the same for all who ask."""
    return f"{schedule}-{slot.astimezone(UTC).strftime(MINUTE)}"


def job_of(schedule: Schedule, cron: Cron, slot: datetime) -> Mapping[str, Any]:
    """Return the job of a slot.

    Raises:
        PlaceholderError: A placeholder in the template means nothing.
    """
    metadata = schedule.template.get("metadata") or {}
    owner = {
        "apiVersion": COMPRESSION_SCHEDULE.api_version,
        "kind": COMPRESSION_SCHEDULE.kind,
        "name": schedule.name,
        "uid": schedule.uid,
        "controller": True,
    }
    return {
        "apiVersion": COMPRESSION_JOB.api_version,
        "kind": COMPRESSION_JOB.kind,
        "metadata": {
            "name": name_of(schedule.name, slot),
            "namespace": schedule.namespace,
            "labels": {**(metadata.get("labels") or {}), SCHEDULE_LABEL: schedule.name},
            "annotations": {**(metadata.get("annotations") or {}), SLOT: write_time(slot)},
            "ownerReferences": [owner],
        },
        "spec": resolve(schedule.template["spec"], slot, cron.zone),
    }


def beyond_limits(
    schedule: Schedule, children: Iterable[Child], pinned: frozenset[str]
) -> tuple[Child, ...]:
    """Return the finished jobs that the schedule's limits no longer keep, the oldest first."""
    finished = sorted(
        (child for child in children if child.finished is not None and not child.is_deleted),
        key=lambda child: (child.finished or schedule.created, child.name),
    )
    good = [child for child in finished if child.phase == "Succeeded"]
    bad = [child for child in finished if child.phase != "Succeeded"]
    spec = schedule.spec
    gone = [
        *good[: max(len(good) - spec.successful_jobs_history_limit, 0)],
        *bad[: max(len(bad) - spec.failed_jobs_history_limit, 0)],
    ]
    return tuple(child for child in gone if child.name not in pinned)
