"""Which engines an operator has, by its settings."""

from __future__ import annotations

from fulcrum_operator.engines.job.cluster import JobCluster
from fulcrum_operator.engines.job.engine import JobEngine
from fulcrum_operator.engines.process import ProcessEngine
from fulcrum_operator.engines.slots import EngineDesk, Slots
from fulcrum_operator.kubernetes.api import Kube
from fulcrum_operator.settings import Settings
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.storage.store import Store


def default_engines(settings: Settings, store: Store, kube: Kube) -> dict[str, EngineDesk]:
    """Return the engines that are set up.

    Args:
        settings: Of the operator.
        store: Holds plans and results.
        kube: Behind the leader's fence.

    Raises:
        UserError: What is set up cannot work.
    """
    engines: dict[str, EngineDesk] = {}
    if settings.process.enabled:
        process = ProcessEngine(store, settings.process.work_root)
        engines["process"] = EngineDesk(process, Slots(settings.process.max_running))
    if settings.job.enabled:
        engines["job"] = _job(settings, store, kube)
    if settings.kubeflow.url:
        engines["kubeflow"] = _kubeflow(settings, store, kube)
    if not engines:
        message = "no engine is set up: process.enabled, job.enabled or kubeflow.url"
        raise UserError(message, where="settings")
    return engines


def _must_be_reached(store: Store, engine: str) -> None:
    if store.is_local:
        message = f"store: engine {engine} needs a URL that pods reach, such as s3://bucket/path"
        raise UserError(message, where="settings")


def _job(settings: Settings, store: Store, kube: Kube) -> EngineDesk:
    _must_be_reached(store, "job")
    engine = JobEngine(store, settings.job, settings.pools, job_cluster(settings, kube))
    return EngineDesk(engine, Slots(settings.job.max_running))


def job_cluster(settings: Settings, kube: Kube) -> JobCluster:
    """Return the view of the cluster's Jobs that is this operator's own."""
    operator = f"{settings.namespace}.{settings.election.lease_name}"
    return JobCluster(kube, operator, settings.namespaces)


def _kubeflow(settings: Settings, store: Store, kube: Kube) -> EngineDesk:
    """Load its client here only if it is set up: others save its megabytes."""
    from fulcrum_operator.engines.kubeflow.cluster import ClusterView
    from fulcrum_operator.engines.kubeflow.engine import KubeflowEngine

    _must_be_reached(store, "kubeflow")
    if settings.kubeflow.in_job_namespace and not settings.namespaces:
        message = "namespaces: kubeflow.in_job_namespace needs the list of all profiles"
        raise UserError(message, where="settings")
    engine = KubeflowEngine(
        store,
        settings.kubeflow,
        settings.pools,
        cluster=ClusterView(kube),
        namespaces=settings.namespaces,
    )
    return EngineDesk(engine, Slots(settings.kubeflow.max_running))
