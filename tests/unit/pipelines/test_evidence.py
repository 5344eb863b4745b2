"""What evidence says that no stage recorded: nothing."""

from __future__ import annotations

from collections.abc import Iterator

from fulcrum_pipelines import evidence
from fulcrum_pipelines.evidence import Record

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
