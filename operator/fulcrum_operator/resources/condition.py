"""Generated from crds/compressionjob.yaml by `make crds`; do not edit."""

# ruff: noqa: E501 - descriptions come from the schema as they are

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fulcrum_operator.resources.base import Spec, Status


class Condition(Status):
    """One thing that holds, does not, or is not known."""

    type: str
    """What it is about."""
    status: Literal['True', 'False', 'Unknown']
    """Whether it holds."""
    reason: str
    """Why, in one word for programs."""
    message: str
    """Why, in a sentence for people."""
    last_transition_time: str
    """When status last changed."""
    observed_generation: int | None = None
    """metadata.generation that it was decided on."""
