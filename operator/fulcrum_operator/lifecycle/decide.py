"""One question after the other about a job; the first that has an answer decides.

The order is the precedence: a deleted job is not suspended, a suspended one does not start.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from fulcrum_operator.lifecycle import ending, judging, queueing, running, starting
from fulcrum_operator.lifecycle.actions import Decision
from fulcrum_operator.lifecycle.limits import Limits
from fulcrum_operator.lifecycle.observation import Observed

JobQuestion = Callable[[Observed, datetime, Limits], Decision | None]

QUESTIONS: tuple[JobQuestion, ...] = (
    ending.deleted,
    ending.finished,
    ending.managed_elsewhere,
    ending.decided_to_end,
    starting.refused,
    starting.suspended,
    starting.without_snapshot,
    ending.snapshot_changed,
    queueing.queue_spoke,
    ending.over_deadline,
    starting.backing_off,
    starting.without_key,
    starting.not_submitted,
    running.found_twice,
    running.not_recorded,
    running.going,
    running.failed,
    judging.not_judged,
    judging.not_reported,
    judging.without_promotion,
    judging.promoting,
)


def decide(seen: Observed, now: datetime, limits: Limits) -> Decision:
    """Return what to do for a job that was observed as `seen` at `now`."""
    for question in QUESTIONS:
        decision = question(seen, now, limits)
        if decision is not None:
            return decision
    return Decision()
