"""What no schema can say of a schedule: is its zone known, and do its times and dates exist?"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from fulcrum_operator.resources.names import COMPRESSION_SCHEDULE
from fulcrum_operator.scheduling.cron import ScheduleError, parse
from fulcrum_operator.scheduling.placeholders import PlaceholderError, resolve
from fulcrum_pipelines.validation.documents import Document, read_documents
from fulcrum_pipelines.validation.problem import Problem

FIELDS = {
    "InvalidSchedule": "spec.schedule",
    "NeverFires": "spec.schedule",
    "UnknownTimeZone": "spec.timeZone",
}


def check_schedules(path: Path) -> list[Problem]:
    """Return what is wrong with the schedules in a file that is valid by its schema."""
    documents = read_documents(path)
    return [problem for document in documents for problem in _problems(document)]


def _problems(document: Document) -> Iterator[Problem]:
    if document.value.get("kind") != COMPRESSION_SCHEDULE.kind:
        return
    spec = document.value["spec"]
    try:
        cron = parse(spec["schedule"], spec.get("timeZone", "UTC"))
    except ScheduleError as error:
        field = FIELDS[error.reason]
        message = str(error).removeprefix(f"{field} ")
        yield Problem(field, message, line=document.line(tuple(field.split("."))))
        return
    try:
        resolve(spec["jobTemplate"]["spec"], datetime.now(UTC), cron.zone)
    except PlaceholderError as error:
        at = ("spec", "jobTemplate")
        yield Problem("spec.jobTemplate", str(error), line=document.line(at))
