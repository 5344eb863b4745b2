"""Placement of a job's stages: map names in a manifest to pools, or report wrong names.

Pure, so that a job is refused before anything is submitted, by the same rules as those by which
it is placed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fulcrum_operator.settings.pools import DEFAULT_POOL, Pool
from fulcrum_pipelines.compiled import Fuse
from fulcrum_pipelines.resources.compressionjob import CompressionJobSpec
from fulcrum_pipelines.validation.problem import Problem

ENGINES_WITH_NODES = ("job", "kubeflow")
"""Those that run stages on nodes of a cluster."""
SWITCHES = {
    "process": "process.enabled turns it on",
    "job": "job.enabled and job.image turn it on",
    "kubeflow": "kubeflow.url and kubeflow.image turn it on",
}
"""Which of the operator's settings an engine waits for."""


@dataclass(frozen=True)
class Placement:
    """The pools of a job.

    Attributes:
        compute: For all stages but validate.
        measure: For validate, which belongs on hardware like the serving hardware.
        fuse: Which stages share a pod, on an engine that asks; None if the job does not say.
    """

    compute: Pool
    measure: Pool
    fuse: Fuse | None = None

    def fused(self, default: Fuse) -> Fuse:
        """Return which stages share a pod; only what is on one pool can."""
        if self.fuse is None and default == "All" and self.compute != self.measure:
            return "Compute"
        return self.fuse or default


@dataclass(frozen=True)
class Site:
    """The engines and pools of an operator.

    Attributes:
        engines: Names of those that are set up.
        pools: By the names that manifests use.
    """

    engines: tuple[str, ...] = ("process",)
    pools: Mapping[str, Pool] = field(default_factory=dict)


def unplaceable(spec: CompressionJobSpec, site: Site) -> list[Problem]:
    """Return why `spec` cannot run here, as far as engine and pools go."""
    if spec.engine not in site.engines:
        message = f"{spec.engine} is not set up in this operator's settings"
        if switch := SWITCHES.get(spec.engine):
            message = f"{message}; {switch}"
        return [Problem("spec.engine", message, ", ".join(sorted(site.engines)))]
    placement = place(spec, site.pools)
    if isinstance(placement, Problem):
        return [placement]
    return beyond_kubeflow(placement) if spec.engine == "kubeflow" else []


def place(spec: CompressionJobSpec, pools: Mapping[str, Pool]) -> Placement | Problem:
    """Return the pools that `spec` names, or the field that is wrong.

    Without a name, the compute stages run on the pool `default`, or without that pool on any
    node, and validate runs on the pool of the compute stages.
    """
    asked = spec.placement
    if asked is not None and spec.engine not in ENGINES_WITH_NODES:
        message = (
            f"means nothing to engine {spec.engine}, which runs on the operator's own machine; "
            "leave it out or take an engine that has nodes"
        )
        return Problem("spec.placement", message, ", ".join(ENGINES_WITH_NODES))
    compute_name = (asked and asked.compute) or DEFAULT_POOL
    measure_name = (asked and asked.measure) or compute_name
    known = {DEFAULT_POOL: Pool(), **pools}
    for which, name in (("compute", compute_name), ("measure", measure_name)):
        if name not in known:
            message = f"names pool {name}, which the operator's settings do not have"
            return Problem(f"spec.placement.{which}", message, ", ".join(sorted(known)))
    fuse = asked.fuse if asked is not None else None
    return Placement(known[compute_name], known[measure_name], fuse)


def beyond_kubeflow(placement: Placement) -> list[Problem]:
    """Return what `placement` asks for and Kubeflow Pipelines cannot give a stage.

    The compiled pipeline has no parameter for these, so they would be passed over in silence.
    """
    problems = []
    for which, pool in (("compute", placement.compute), ("measure", placement.measure)):
        for setting in ("ephemeral_storage", "priority_class", "queue"):
            if value := getattr(pool, setting):
                message = f"its pool has {setting} {value}, which engine kubeflow cannot set"
                problems.append(
                    Problem(f"spec.placement.{which}", message, f"a pool without {setting}")
                )
    if placement.compute.image != placement.measure.image:
        message = "its pool has another image than that of the compute stages"
        problems.append(
            Problem("spec.placement.measure", message, "with engine kubeflow, pools with one image")
        )
    return problems
