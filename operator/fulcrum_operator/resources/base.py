"""What all types of our objects share.

A specification is what people write: an unknown field in it is a mistake. A status may have been
written by a newer operator: what this one does not know of it is left alone.
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
