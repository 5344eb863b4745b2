"""The run-time parameters of the compiled pipeline for a run on pools of nodes."""

from __future__ import annotations

from typing import Any

from fulcrum_operator.engines.placement import Placement
from fulcrum_operator.settings.pools import Pool
from fulcrum_pipelines.contract import Plan


def parameters(
    plan: Plan, placement: Placement, *, store: str, plan_digest: str, image: str
) -> dict[str, Any]:
    """Return them.

    Args:
        plan: What is run.
        placement: Where.
        store: URL of the store, as pods reach it.
        plan_digest: Under which the plan is in the store.
        image: Of the components, if the pools name none.
    """
    return {
        "store": store,
        "run": plan.run,
        "plan": plan_digest,
        "use_cache": True,
        "image": placement.compute.image or image,
        **_of(placement.compute),
        **{f"measure_{name}": value for name, value in _of(placement.measure).items()},
    }


def _of(pool: Pool) -> dict[str, Any]:
    """Return what a stage gets of `pool`; the driver of a pod takes resources as strings only."""
    return {
        "cpu": pool.cpu,
        "memory": pool.memory,
        "accelerator": pool.accelerator,
        "accelerator_count": str(pool.accelerator_count),
        "node_selector": dict(pool.node_selector),
        "tolerations": [toleration.as_json() for toleration in pool.tolerations],
    }
