"""The engine over the stand-in, whose runs do what `stand_in` does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import stand_in

from fulcrum_components.stages.component import plan_of
from fulcrum_operator.engines.kubeflow.cluster import ClusterView
from fulcrum_operator.engines.kubeflow.engine import KubeflowEngine
from fulcrum_operator.settings import Kubeflow
from fulcrum_operator.settings.pools import Pool
from fulcrum_pipelines.compiled import stages_of_task, tasks_of
from fulcrum_pipelines.storage.store import Store
from kubeflow.launcher import launch
from kubeflow.server import Server

IMAGE = "registry.example/fulcrum-components:1"
UI = "https://kubeflow.example/#/runs/details/{run_id}"


def execute(parameters: dict[str, Any]) -> str | None:
    """Do the work of a run in the store that it names, as the components would.

    Raises:
        LauncherError: A stage succeeded, and Kubeflow's launcher refused its artifacts.
    """
    store = Store(parameters["store"])
    plan, _ = plan_of(store, *(parameters[name] for name in ("plan", "run", "execution")))
    if not stand_in.work(store, plan):
        return None
    for task in tasks_of(plan.stages, Kubeflow().fuse):
        found = [store.stage_evidence(plan.run, each) for each in stages_of_task(plan, task)]
        if records := [each for each in found if each is not None]:
            launch(task, records, store, plan.run)
    return "FAILED" if stand_in.behaviour_of(plan) in ("fail", "broken") else "SUCCEEDED"


def settings_for(server: Server, **changes: Any) -> Kubeflow:
    """Return settings that lose no time."""
    quick: dict[str, Any] = {"look_s": 0.0, "confirm_s": 0.3, "request_timeout_s": 4.0}
    return Kubeflow(**{"url": server.url, "image": IMAGE, "ui_url": UI, **quick, **changes})


def make_engine(
    server: Server,
    store: Store,
    *,
    pools: Mapping[str, Pool] | None = None,
    cluster: ClusterView | None = None,
    namespaces: tuple[str, ...] = (),
    clock: Callable[[], float] | None = None,
    **changes: Any,
) -> KubeflowEngine:
    """Return the engine for the stand-in; `changes` go to its settings."""
    given: dict[str, Any] = {} if clock is None else {"clock": clock}
    return KubeflowEngine(
        store,
        settings_for(server, **changes),
        pools or {},
        cluster=cluster,
        namespaces=namespaces,
        **given,
    )
