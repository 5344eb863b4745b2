"""Pools: named sets of nodes, as a platform engineer describes them and users name them.

A user says "gpu-a"; what that means in labels, taints and resources is the cluster's affair and
stands in one place, the operator's settings. Quantities are checked here, since an engine would
accept a wrong one and fail seconds later without a word.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

DEFAULT_POOL = "default"
"""Pool of jobs that name none."""

Quantity = Annotated[
    str, Field(pattern=r"^([0-9]+(\.[0-9]+)?)(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$", max_length=32)
]
"""Kubernetes quantity, such as `500m` or `8Gi`."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Toleration(_Section):
    """Toleration of a node's taint; the fields are those of Kubernetes."""

    key: str = ""
    operator: Literal["Equal", "Exists"] = "Equal"
    value: str = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""
    toleration_seconds: Annotated[int, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Toleration:
        if self.operator == "Exists" and self.value:
            raise ValueError("value is only for operator Equal")
        if not self.key and self.operator != "Exists":
            raise ValueError("a toleration without key needs operator Exists")
        if self.toleration_seconds is not None and self.effect != "NoExecute":
            raise ValueError("toleration_seconds is only for effect NoExecute")
        return self

    def as_json(self) -> dict[str, Any]:
        """Return the toleration in a pod's format."""
        fields: dict[str, Any] = {"key": self.key, "operator": self.operator, "value": self.value}
        fields |= {"effect": self.effect, "tolerationSeconds": self.toleration_seconds}
        return {name: value for name, value in fields.items() if value not in ("", None)}


class Pool(_Section):
    """A set of nodes, and the resources that a stage gets on one of them."""

    node_selector: dict[str, str] = Field(default_factory=dict)
    """Labels of the pool's nodes."""
    tolerations: tuple[Toleration, ...] = ()
    """Taints of the pool's nodes that its pods tolerate."""
    accelerator: str = "nvidia.com/gpu"
    """Extended resource of the pool's accelerators."""
    accelerator_count: Annotated[int, Field(ge=0)] = 0
    """Number of accelerators for a stage."""
    cpu: Quantity = "2"
    """CPUs for a stage, which sets its number of threads. Request and limit: timings need reserved
    CPUs."""
    memory: Quantity = "8Gi"
    """Memory for a stage; a stage that exceeds it is killed."""
    ephemeral_storage: Quantity | None = None
    """Local disk for a stage; None leaves it to the cluster."""
    priority_class: str = ""
    """PriorityClass of the pods; empty uses the cluster's default."""
    queue: Annotated[str, Field(pattern=r"^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?$")] = ""
    """Kueue LocalQueue, in the namespace of each job, that admits the pods; empty uses no queue."""
    image: str = ""
    """Components image on the pool's nodes; empty uses the engine's."""
