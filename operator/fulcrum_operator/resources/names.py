"""Names that the API, its users and the operator must spell alike.

They are values that others read and select by, so a change of one is a change of the API.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

GROUP = "fulcrum.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

RUN_FINALIZER = f"{GROUP}/run"
"""On a CompressionJob while a run of it exists."""

OPERATOR_NAMESPACE = "fulcrum-system"
OPERATOR_NAME = "fulcrum-operator"
"""Of its service account, and of the Lease that says which replica leads."""
OPERATOR_USER = f"system:serviceaccount:{OPERATOR_NAMESPACE}:{OPERATOR_NAME}"

SNAPSHOT_KEY = "spec.json"
"""Key under which a snapshot's ConfigMap holds the resolved specification."""

SCHEDULE_LABEL = f"{GROUP}/schedule"
"""On a CompressionJob of a schedule: the schedule's name."""
SLOT = f"{GROUP}/slot"
"""Annotation of a CompressionJob of a schedule: its slot, as RFC 3339 in UTC."""

REMEASURE = f"{GROUP}/remeasure"
"""Annotation of a CompressionJob: "true" takes nothing that was timed from the cache."""


def asks_to_remeasure(annotations: Mapping[str, str]) -> bool:
    """Return whether an object's annotations ask for new timings."""
    return annotations.get(REMEASURE) == "true"


@dataclass(frozen=True)
class Kind:
    """A kind of object, as its address in the API is made from.

    Attributes:
        group: Empty for the core kinds.
        version: Version of the group.
        plural: Name of the resource in URLs and in RBAC rules.
        kind: Name of the kind in manifests.
        namespaced: Whether its objects are in namespaces.
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """The apiVersion of manifests."""
        return f"{self.group}/{self.version}" if self.group else self.version


COMPRESSION_JOB = Kind(GROUP, VERSION, "compressionjobs", "CompressionJob")
COMPRESSION_RECIPE = Kind(GROUP, VERSION, "compressionrecipes", "CompressionRecipe")
CLUSTER_COMPRESSION_RECIPE = Kind(
    GROUP, VERSION, "clustercompressionrecipes", "ClusterCompressionRecipe", namespaced=False
)
GATE_POLICY = Kind(GROUP, VERSION, "gatepolicies", "GatePolicy")
CLUSTER_GATE_POLICY = Kind(
    GROUP, VERSION, "clustergatepolicies", "ClusterGatePolicy", namespaced=False
)
MODEL_CHANNEL = Kind(GROUP, VERSION, "modelchannels", "ModelChannel")
MODEL_PROMOTION = Kind(GROUP, VERSION, "modelpromotions", "ModelPromotion")
COMPRESSION_SCHEDULE = Kind(GROUP, VERSION, "compressionschedules", "CompressionSchedule")

OUR_KINDS = (
    COMPRESSION_JOB,
    COMPRESSION_RECIPE,
    CLUSTER_COMPRESSION_RECIPE,
    GATE_POLICY,
    CLUSTER_GATE_POLICY,
    MODEL_CHANNEL,
    MODEL_PROMOTION,
    COMPRESSION_SCHEDULE,
)

CONFIG_MAP = Kind("", "v1", "configmaps", "ConfigMap")
EVENT = Kind("", "v1", "events", "Event")
NAMESPACE = Kind("", "v1", "namespaces", "Namespace", namespaced=False)
LEASE = Kind("coordination.k8s.io", "v1", "leases", "Lease")

Phase = Literal[
    "Pending",
    "Suspended",
    "Running",
    "Evaluating",
    "AwaitingApproval",
    "Promoting",
    "Succeeded",
    "Rejected",
    "Inconclusive",
    "Failed",
]
"""Phases of a CompressionJob."""
FinalPhase = Literal["Succeeded", "Rejected", "Inconclusive", "Failed"]
PromotionPhase = Literal["Pending", "AwaitingApproval", "Promoted", "Refused"]

ConditionType = Literal[
    "Accepted",
    "Snapshotted",
    "QuotaReserved",
    "Submitted",
    "Progressing",
    "Evaluated",
    "Reported",
    "Promoted",
    "Complete",
    "Failed",
    "Suspended",
]
"""Conditions of a CompressionJob."""
ChannelConditionType = Literal["Ready", "Held"]
ScheduleConditionType = Literal["Scheduling", "Suspended"]
SkipReason = Literal[
    "Suspended", "MissedDeadline", "StillRunning", "JobRefused", "InvalidTemplate", "NameTaken"
]
"""Why a slot of a CompressionSchedule that came has no job."""
ConditionStatus = Literal["True", "False", "Unknown"]

ChannelVerb = Literal["promote", "approve", "automate"]
"""Verbs of our own on modelchannels, which deploy/admission.yaml asks for."""

EventReason = Literal[
    "NotAccepted",
    "Submitted",
    "DuplicateRun",
    "Retrying",
    "Suspended",
    "OrphanedRun",
    "Evaluated",
    "ReportFailed",
    "Promoting",
    "ChannelNotFound",
    "AwaitingPromotion",
    "AwaitingApproval",
    "Succeeded",
    "Rejected",
    "Inconclusive",
    "Failed",
    "Promoted",
    "RolledBack",
    "PromotionRefused",
    "Held",
    "Released",
    "SlotStarted",
    "SlotSkipped",
    "SlotDelayed",
    "NotScheduling",
    "ReconcileError",
]
"""Reasons of our Events: one for each transition that users may want to know of."""
