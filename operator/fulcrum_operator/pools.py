"""Pools: named sets of nodes, as a platform engineer describes them and users name them.

A user says "gpu-a"; what that means in labels, taints and resources is the cluster's affair and
stands in one place, the operator's settings. Quantities are checked here, since an engine would
accept a wrong one and fail seconds later without a word.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

DEFAULT_POOL = "default"
"""The pool of a job that names none."""

Quantity = Annotated[
    str, Field(pattern=r"^([0-9]+(\.[0-9]+)?)(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$", max_length=32)
]
"""A quantity as Kubernetes writes it, such as `500m` or `8Gi`."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Toleration(_Section):
    """Lets pods onto nodes with a taint; the fields are those of Kubernetes."""

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
        """Return it as it stands in a pod."""
        fields: dict[str, Any] = {"key": self.key, "operator": self.operator, "value": self.value}
        fields |= {"effect": self.effect, "tolerationSeconds": self.toleration_seconds}
        return {name: value for name, value in fields.items() if value not in ("", None)}


class Pool(_Section):
    """A set of nodes, and what a stage gets of one of them."""

    node_selector: dict[str, str] = Field(default_factory=dict)
    """Labels that its nodes have."""
    tolerations: tuple[Toleration, ...] = ()
    """Taints of its nodes that are put up with."""
    accelerator: str = "nvidia.com/gpu"
    """The extended resource of its accelerators."""
    accelerator_count: Annotated[int, Field(ge=0)] = 0
    """Accelerators for a stage."""
    cpu: Quantity = "2"
    """CPUs for a stage; it sizes its threads by them. Also what is reserved: timings need it."""
    memory: Quantity = "8Gi"
    """Memory for a stage; more than this and it is killed."""
    ephemeral_storage: Quantity | None = None
    """Local disk for a stage; None leaves it to the cluster."""
    priority_class: str = ""
    """PriorityClass of its pods; empty means the cluster's default."""
    queue: Annotated[str, Field(pattern=r"^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?$")] = ""
    """LocalQueue of Kueue, in the namespace of each job, that admits its pods; empty means none."""
    image: str = ""
    """Image of the components on its nodes; empty means the engine's."""
