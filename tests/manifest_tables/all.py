"""Every kind's table."""

from __future__ import annotations

from manifest_tables.job import GOOD
from manifest_tables.job_accepted import ACCEPTED
from manifest_tables.job_metadata import METADATA_ACCEPTED, METADATA_REFUSED
from manifest_tables.job_rules import RULES_REFUSED
from manifest_tables.job_structure import STRUCTURE_REFUSED
from manifest_tables.job_updates import UPDATES
from manifest_tables.parts import PARTS
from manifest_tables.promotions import CHANNEL, PROMOTION
from manifest_tables.rows import Row, Table, Update
from manifest_tables.schedules import SCHEDULE

JOB = Table(
    GOOD,
    ACCEPTED + METADATA_ACCEPTED,
    RULES_REFUSED + STRUCTURE_REFUSED + METADATA_REFUSED,
    UPDATES,
)
TABLES = (JOB, *PARTS, CHANNEL, PROMOTION, SCHEDULE)


def accepted() -> list[tuple[Table, Row]]:
    return [(table, row) for table in TABLES for row in table.accepted]


def refused() -> list[tuple[Table, Row]]:
    return [(table, row) for table in TABLES for row in table.refused]


def updates() -> list[tuple[Table, Update]]:
    return [(table, row) for table in TABLES for row in table.updates]


def name_of(value: object) -> str:
    """Return what a test of a table's row is called, of which `value` is one half."""
    return value.kind if isinstance(value, Table) else str(getattr(value, "name", value))
