"""Generated from crds/compressionjob.yaml by `make crds`; do not edit."""

# ruff: noqa: E501 - descriptions come from the schema as they are

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fulcrum_operator.resources.base import Spec, Status


class Condition(Status):
    """A condition, which is True, False or Unknown."""

    type: str
    """Type of the condition."""
    status: Literal['True', 'False', 'Unknown']
    """Status of the condition."""
    reason: str
    """Reason in one word, for programs."""
    message: str
    """Reason in a sentence, for people."""
    last_transition_time: str
    """When status last changed."""
    observed_generation: int | None = None
    """metadata.generation that it was decided on."""
