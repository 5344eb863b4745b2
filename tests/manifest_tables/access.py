"""Who may do what: requests with the user who makes them, and what RBAC grants."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from fulcrum_operator.resources.names import GROUP, OPERATOR_NAMESPACE, OPERATOR_USER

User = Literal["editor", "promoter", "one-channel", "approver", "viewer", "admin", "operator"]
"""In the tests' namespace. The roles of each are in `ROLES`; admin and operator have their own."""

ROLES: dict[User, tuple[str, ...]] = {
    "viewer": ("fulcrum-view",),
    "editor": ("fulcrum-view", "fulcrum-edit"),
    "promoter": ("fulcrum-view", "fulcrum-edit", "fulcrum-promoter"),
    "one-channel": ("fulcrum-view", "fulcrum-edit"),
    "approver": ("fulcrum-view", "fulcrum-approver"),
}
ONE_CHANNEL = "staging"
"""The channel on which `one-channel` alone may promote."""


def name_of(user: User) -> str:
    """Return the name by which the API server knows `user`."""
    return OPERATOR_USER if user == "operator" else user


@dataclass(frozen=True)
class Request:
    """A promotion that is created or approved, or a job; with no words, it is accepted.

    `changes` are to a promotion whose requestedBy is the user's own name.
    """

    name: str
    user: User
    changes: dict[str, Any] = field(default_factory=dict)
    words: tuple[str, ...] = ()


CREATED = (
    Request("may promote", "promoter"),
    Request("may promote everywhere", "admin"),
    Request("may promote on this one", "one-channel", {"spec.channel": ONE_CHANNEL}),
    Request("asked for by the operator", "operator", {"spec.automatic": True}),
    Request(
        "promoter approves nothing",
        "promoter",
        {"spec.approval": {"by": "promoter"}},
        ("user promoter needs the verb approve on modelchannels/production", "fulcrum-approver"),
    ),
    Request("may only look", "viewer", {}, ('cannot create resource "modelpromotions"',)),
    Request(
        "may edit, not promote",
        "editor",
        {},
        ("user editor needs the verb promote on modelchannels/production", "fulcrum-promoter"),
    ),
    Request(
        "may edit, not roll back",
        "editor",
        {"spec.kind": "Rollback"},
        ("needs the verb promote on modelchannels/production",),
    ),
    Request(
        "may promote on another one only",
        "one-channel",
        {},
        ("user one-channel needs the verb promote on modelchannels/production",),
    ),
    Request(
        "in the name of another",
        "promoter",
        {"spec.requestedBy": "ann"},
        ("spec.requestedBy must be your own user name, 'promoter', not 'ann'", "auth whoami"),
    ),
    Request(
        "in the name of the operator",
        "admin",
        {"spec.requestedBy": OPERATOR_USER},
        ("spec.requestedBy must be your own user name, 'admin'",),
    ),
    Request(
        "as if no person had asked",
        "promoter",
        {"spec.automatic": True},
        ("user promoter needs the verb automate on modelchannels/production", "leave it out"),
    ),
)

AUTOMATIC = {"spec.promotion": {"channel": "production", "mode": "Automatic"}}
MANUAL = {"spec.promotion": {"channel": "production", "mode": "Manual"}}

JOBS = (
    Request("promotes by itself for who may promote", "promoter", AUTOMATIC),
    Request("waits for who may promote", "editor", MANUAL),
    Request("promotes nothing", "editor"),
    Request(
        "may edit, but not promote by gates of their choice",
        "editor",
        AUTOMATIC,
        (
            "user editor needs the verb promote on modelchannels/production",
            "spec.promotion.mode Automatic",
            "mode Manual",
        ),
    ),
    Request(
        "may promote on another channel only",
        "one-channel",
        AUTOMATIC,
        ("user one-channel needs the verb promote on modelchannels/production",),
    ),
)

APPROVED = (
    Request("may approve", "approver", {"spec.approval": {"by": "approver"}}),
    Request("labels are no approval", "editor", {"metadata.labels": {"team": "vision"}}),
    Request(
        "in the name of another",
        "approver",
        {"spec.approval": {"by": "ann"}},
        ("spec.approval.by must be your own user name, 'approver', not 'ann'",),
    ),
    Request(
        "may edit, not approve",
        "editor",
        {"spec.approval": {"by": "editor"}},
        ("user editor needs the verb approve on modelchannels/production", "fulcrum-approver"),
    ),
    Request(
        "may promote, not approve",
        "promoter",
        {"spec.approval": {"by": "promoter"}},
        ("needs the verb approve on modelchannels/production",),
    ),
    Request(
        "may only look",
        "viewer",
        {"spec.approval": {"by": "viewer"}},
        ('cannot patch resource "modelpromotions"',),
    ),
)

STATUS_WRITERS: tuple[tuple[User, tuple[str, ...]], ...] = (
    ("operator", ()),
    ("admin", ("status is written by the operator only", OPERATOR_USER, "not by admin")),
    ("promoter", ("cannot patch resource",)),
)


@dataclass(frozen=True)
class Grant:
    """Whether RBAC lets a user do something."""

    user: User
    verbs: str
    resources: str
    allowed: bool
    group: str = GROUP
    namespace: str = ""
    resource_name: str = ""

    @property
    def name(self) -> str:
        may = "may" if self.allowed else "may not"
        where = f" in {self.namespace}" if self.namespace else ""
        return (
            f"{self.user} {may} {self.verbs} {self.resources}{where} {self.resource_name}".strip()
        )

    def questions(self, namespace: str) -> list[dict[str, str]]:
        """Return the attributes of each access that this is about."""
        return [
            {
                "verb": verb,
                "group": self.group,
                "resource": resource.partition("/")[0],
                "subresource": resource.partition("/")[2],
                "namespace": self.namespace or namespace,
                "name": self.resource_name,
            }
            for verb in self.verbs.split()
            for resource in self.resources.split()
        ]


TEMPLATES = "compressionrecipes clustercompressionrecipes gatepolicies clustergatepolicies"
STATUSES = (
    "compressionjobs/status compressionschedules/status modelchannels/status modelpromotions/status"
)
EVERY = f"compressionjobs compressionschedules modelchannels modelpromotions {TEMPLATES}"

GRANTS = (
    Grant("operator", "get list watch create patch delete", "compressionjobs", True),
    Grant("operator", "get list watch", EVERY, True),
    Grant("operator", "update", "compressionjobs", False),
    Grant("operator", "create update patch delete", "compressionschedules", False),
    Grant("operator", "create update patch delete", TEMPLATES, False),
    Grant("operator", "create update patch delete", "modelchannels", False),
    Grant("operator", "update patch delete", "modelpromotions", False),
    Grant("operator", "promote automate", "modelchannels", True),
    Grant("operator", "approve", "modelchannels", False),
    Grant("operator", "patch", STATUSES, True),
    Grant("operator", "get create", "configmaps", True, group=""),
    Grant("operator", "list update patch delete", "configmaps", False, group=""),
    Grant("operator", "get list watch create", "secrets", False, group=""),
    Grant("operator", "list", "pods", True, group=""),
    Grant("operator", "get watch create update patch delete", "pods", False, group=""),
    Grant("operator", "get", "pods/log", False, group=""),
    Grant("operator", "create", "pods/exec", False, group=""),
    Grant("operator", "list create delete patch", "jobs", True, group="batch"),
    Grant("operator", "get watch update", "jobs", False, group="batch"),
    Grant("operator", "list", "workloads", True, group="kueue.x-k8s.io"),
    Grant("operator", "create update patch delete", "workloads", False, group="kueue.x-k8s.io"),
    Grant("operator", "create list", "events", True, group=""),
    Grant("operator", "create", "serviceaccounts/token", False, group=""),
    Grant("operator", "create", "rolebindings", False, group="rbac.authorization.k8s.io"),
    Grant(
        "operator",
        "get update patch",
        "leases",
        True,
        group="coordination.k8s.io",
        namespace=OPERATOR_NAMESPACE,
        resource_name="fulcrum-operator",
    ),
    Grant(
        "operator",
        "get update patch",
        "leases",
        False,
        group="coordination.k8s.io",
        namespace=OPERATOR_NAMESPACE,
        resource_name="kube-scheduler",
    ),
    Grant("operator", "get create update", "leases", False, group="coordination.k8s.io"),
    Grant("viewer", "get list watch", EVERY, True),
    Grant("viewer", "create update patch delete promote approve", EVERY, False),
    Grant("editor", "get list watch", EVERY, True),
    Grant(
        "editor",
        "create update patch delete",
        "compressionjobs compressionrecipes gatepolicies",
        True,
    ),
    Grant("editor", "create update patch", "modelpromotions", True),
    Grant("editor", "delete", "modelpromotions", False),
    Grant("editor", "create update patch delete promote approve automate", "modelchannels", False),
    Grant("editor", "update patch", STATUSES, False),
    Grant("promoter", "promote", "modelchannels", True),
    Grant("promoter", "approve automate patch", "modelchannels", False),
    Grant("approver", "approve", "modelchannels", True),
    Grant("approver", "promote automate patch", "modelchannels", False),
    Grant("approver", "create", "modelpromotions", False),
)
