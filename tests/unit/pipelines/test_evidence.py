"""What evidence says that no stage recorded: nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from builders.evidence import make_stage
from builders.plans import make_digest

from fulcrum_pipelines import evidence
from fulcrum_pipelines.evidence import Origin, Record, StageEvidence

EXPLAINED = {"kind", "schema_version", "media_type", "slice", "unit"}
"""Fields whose default is a word of the format: it says how to read a record."""


def records(base: type[Record] = Record) -> Iterator[type[Record]]:
    for each in base.__subclasses__():
        yield each
        yield from records(each)


def test_no_field_defaults_to_what_a_stage_would_have_to_find_out() -> None:
    """Evidence of an earlier version, or forged, must not gain facts by being read."""
    assert evidence.StageEvidence in set(records())
    invented = {
        f"{record.__name__}.{name}: {field.default}"
        for record in records()
        if record.__module__ == evidence.__name__  # a plan is a record too, but measures nothing
        for name, field in record.model_fields.items()
        if name not in EXPLAINED and not field.is_required() and field.default
    }
    assert invented == set()


MEASURED = make_stage("validate", run="job-1", started_at="2026-01-01T00:00:00Z", seconds=9.0)
OLD = MEASURED.model_copy(update={"cached_from": "job-0"})
"""Taken from the cache by an earlier version, which did not say when it was measured."""


@pytest.mark.parametrize(
    ("first", "runs", "cached_from", "started_at"),
    [
        pytest.param(MEASURED, ["job-2"], "job-1", MEASURED.started_at, id="another run"),
        pytest.param(MEASURED, ["job-1"], "job-1", MEASURED.started_at, id="the same job again"),
        pytest.param(
            MEASURED, ["job-1", "job-2", "job-1"], "job-1", MEASURED.started_at, id="many times"
        ),
        pytest.param(OLD, ["job-2"], "job-0", None, id="old evidence"),
    ],
)
def test_record_that_is_taken_keeps_who_measured_and_when(
    first: StageEvidence, runs: list[str], cached_from: str, started_at: str | None
) -> None:
    taken = first
    for run in runs:
        times = {"started_at": "2026-02-02T00:00:00Z", "seconds": 0.1}
        taken = taken.taken_by(run, make_digest(run)).model_copy(update=times)

    assert (taken.run, taken.plan, taken.cached_from) == (
        runs[-1],
        make_digest(runs[-1]),
        cached_from,
    )
    if started_at is None:
        assert taken.origin is None
    else:
        assert taken.origin == Origin(
            run=cached_from,
            plan=first.plan,
            started_at=started_at,
            finished_at=first.finished_at,
            seconds=9.0,
        )
