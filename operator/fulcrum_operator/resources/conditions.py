"""Conditions of our objects, by Kubernetes' API conventions."""

from __future__ import annotations

from fulcrum_operator.resources.condition import Condition
from fulcrum_operator.resources.names import ConditionStatus

Conditions = tuple[Condition, ...]
LIMIT = 4096
"""Characters of a message; longer ones are cut, since an object must stay small."""


def cut(text: str, limit: int = LIMIT) -> str:
    """Return `text`, or its beginning where it is too long."""
    return text if len(text) <= limit else text[: limit - 3] + "..."


def with_condition(
    before: Conditions,
    kind: str,
    state: ConditionStatus,
    reason: str,
    message: str,
    *,
    generation: int,
    now: str,
) -> Conditions:
    """Return `before` with one condition set; its time changes with its state only."""
    old = next((each for each in before if each.type == kind), None)
    same = old is not None and old.status == state
    new = Condition(
        type=kind,
        status=state,
        reason=reason,
        message=cut(message),
        last_transition_time=old.last_transition_time if old and same else now,
        observed_generation=generation,
    )
    if old is None:
        return (*before, new)
    return tuple(new if each is old else each for each in before)
