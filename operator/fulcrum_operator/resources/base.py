"""Base classes of the types of our objects.

People write specifications: an unknown field is a mistake. A status may have been written by a
newer operator: its unknown fields are left alone.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Spec(BaseModel):
    """Base of specifications: immutable, strict, and spelled in camelCase outside."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True
    )


class Status(BaseModel):
    """Base of what was observed: immutable, and unknown fields are ignored."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True
    )
