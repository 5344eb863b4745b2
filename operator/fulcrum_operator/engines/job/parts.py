"""How a part of a plan ended, read from the store, as `results` does for a whole run.

The pod and the operator ask the same question here, so that they cannot answer it differently.
"""

from __future__ import annotations

from dataclasses import replace

from fulcrum_operator.ports import RunStatus
from fulcrum_operator.results import ended_status, unreadable
from fulcrum_pipelines.compiled import Part, stages_of
from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.errors import CorruptError
from fulcrum_pipelines.store import Store


def part_status(
    store: Store, plan: Plan, plan_digest: str, part: Part, *, cancelled: bool = False
) -> RunStatus:
    """Return the final status of a `part` that is no longer going.

    Of what computes, each stage's evidence is needed; with what measures, the run's own.

    Raises:
        InfrastructureError: The store does not answer; the part may have ended well.
    """
    whole = ended_status(store, plan, plan_digest, cancelled=cancelled)
    if part != "compute" or whole.reason != "NoEvidence":
        return whole
    try:
        found = {stage: store.stage_evidence(plan.run, stage) for stage in stages_of(plan, part)}
    except CorruptError as error:
        return unreadable(error)
    missing = [name for name, it in found.items() if it is None or it.plan != plan_digest]
    if not missing:
        return RunStatus("Succeeded")
    return replace(whole, message=f"{whole.message} of {', '.join(missing)}")
