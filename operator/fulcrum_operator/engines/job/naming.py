"""Names of the objects of a run, computed so that they are found again after a crash."""

from __future__ import annotations

import hashlib
import re

from fulcrum_operator.resources.names import GROUP, Kind
from fulcrum_pipelines.compiled import Part

JOB = Kind("batch", "v1", "jobs", "Job")
POD = Kind("", "v1", "pods", "Pod")
WORKLOADS = tuple(
    Kind("kueue.x-k8s.io", version, "workloads", "Workload") for version in ("v1beta2", "v1beta1")
)
"""Kueue's own object of a Job, in the versions that it is served in, the newest first."""

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "fulcrum"
JOB_LABEL = f"{GROUP}/job"
"""Name of the CompressionJob."""
KEY_LABEL = f"{GROUP}/key"
"""Hash of the write-ahead key, which itself may be longer than a label."""
OPERATOR_LABEL = f"{GROUP}/operator"
"""Which operator made it, so that another one does not take it for a leftover."""
PART_LABEL = f"{GROUP}/part"
KEY_ANNOTATION = f"{GROUP}/key"
PLAN_ANNOTATION = f"{GROUP}/plan"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
WORKLOAD_OF = "kueue.x-k8s.io/job-uid"
CONTROLLER_UID = "batch.kubernetes.io/controller-uid"
"""On a pod: uid of its Job."""
NO_POD = "FailedCreate"
"""Reason of the Events about a Job whose pod the API server refuses."""

KEY = re.compile(r"(?P<job>.+)-[0-9a-f-]{12}-(?P<attempt>[0-9]+)")
LABEL_LIMIT = 63
READABLE = 40
"""Characters of a job's name in the name of its Job. That is a label of pods too, so it must not be
longer than a label together with hash and part."""


def job_name(key: str, part: Part) -> str:
    """Return the name of the Job that runs `part` of the run `key`, the same for every caller."""
    parts = KEY.fullmatch(key)
    job, attempt = (parts["job"], parts["attempt"]) if parts else (key, "0")
    readable = re.sub(r"[^a-z0-9]+", "-", job.lower())[:READABLE].strip("-")
    name = f"{readable or 'run'}-{attempt[:4]}-{_hash(key, 8)}"
    return f"{name}-measure" if part == "measure" else name


def key_hash(key: str) -> str:
    """Return the label's value for the write-ahead key `key`."""
    return _hash(key, 32)


def label_value(text: str) -> str:
    """Return `text` as the value of a label: itself where it can be one, else cut and hashed."""
    if len(text) <= LABEL_LIMIT and re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?", text):
        return text
    readable = re.sub(r"[^A-Za-z0-9]+", "-", text)[:READABLE].strip("-")
    return f"{readable or 'x'}-{_hash(text, 8)}"


def _hash(text: str, length: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]
