"""A run's Jobs in the cluster, and what its pods, Events and Kueue say of it.

Jobs must be seen; without an answer nothing is known. Pods, Events and Kueue's Workloads explain,
and a run goes on without them where they may not be looked at.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from fulcrum_operator.engines.job.naming import (
    CONTROLLER_UID,
    JOB,
    KEY_ANNOTATION,
    KEY_LABEL,
    MANAGED_BY,
    MANAGER,
    NO_POD,
    OPERATOR_LABEL,
    POD,
    WORKLOAD_OF,
    WORKLOADS,
    key_hash,
    label_value,
)
from fulcrum_operator.engines.job.states import part_in
from fulcrum_operator.kubernetes.api import Kube
from fulcrum_operator.kubernetes.errors import (
    AlreadyExists,
    ApiError,
    Forbidden,
    Invalid,
    NotFound,
)
from fulcrum_operator.kubernetes.requests import Object
from fulcrum_operator.resources.names import EVENT, Kind
from fulcrum_pipelines.errors import InfrastructureError

FORBIDDEN_S = 300.0
"""After a refusal it is asked again only so much later; rights change seldom."""

log = logging.getLogger(__name__)


@contextlib.contextmanager
def answering(but: tuple[type[ApiError], ...] = ()) -> Iterator[None]:
    """Let what the API server refuses or does not answer be a fault of the engine.

    Raises:
        InfrastructureError: In place of an ApiError that is none of `but`.
    """
    try:
        yield
    except ApiError as error:
        if isinstance(error, but):
            raise
        raise InfrastructureError(error.message, where=error.where) from error


@dataclass
class JobCluster:
    """Jobs by key.

    Attributes:
        kube: Behind the leader's fence.
        operator: Who we are; Jobs of others are theirs.
        namespaces: Which we look after; empty means all.
        clock: Seconds that only go forward.
    """

    kube: Kube
    operator: str
    namespaces: tuple[str, ...] = ()
    clock: Callable[[], float] = time.monotonic
    _refused_s: dict[tuple[Kind, str], float] = field(default_factory=dict)

    async def jobs(self, key: str, namespace: str | None) -> list[Object]:
        """Return the Jobs of the run `key` in the order in which they run.

        Args:
            key: The write-ahead key.
            namespace: Of the Jobs, or None if it is not known.
        """
        places = self._places if namespace is None else (namespace,)
        selector = f"{MANAGED_BY}={MANAGER},{KEY_LABEL}={key_hash(key)}"
        found = [job for job in await self._jobs(places, selector) if key_of(job) == key]
        return sorted(found, key=lambda job: part_in(job) == "measure")

    async def all_jobs(self) -> list[Object]:
        """Return all Jobs that this operator made where it looks."""
        selector = f"{MANAGED_BY}={MANAGER},{OPERATOR_LABEL}={label_value(self.operator)}"
        return await self._jobs(self._places, selector)

    async def create(self, job: Object) -> None:
        """Create `job`, unless it is there already.

        Raises:
            Invalid: The API server will not have it.
            InfrastructureError: It does not answer, refuses, or another has the name.
        """
        metadata = job["metadata"]
        try:
            with answering(but=(AlreadyExists, Invalid)):
                await self.kube.create(JOB, job)
        except AlreadyExists as error:
            with answering():
                found = await self.kube.get(JOB, metadata["name"], metadata["namespace"])
            if key_of(found) != key_of(job):
                message = "a Job of that name is there and is not ours; delete it"
                where = f"{metadata['namespace']}/{metadata['name']}"
                raise InfrastructureError(message, where=where) from error

    async def set_deadline(self, job: Object, seconds: int | None) -> None:
        """Let Kubernetes end `job` after so many seconds, or never."""
        metadata = job["metadata"]
        patch = {"metadata": {"uid": metadata["uid"]}, "spec": {"activeDeadlineSeconds": seconds}}
        with answering(), contextlib.suppress(NotFound):
            await self.kube.patch(JOB, metadata["name"], metadata["namespace"], patch)

    async def delete(self, job: Object) -> None:
        """Delete `job` and, in the background, its pods."""
        metadata = job["metadata"]
        with answering(), contextlib.suppress(NotFound):
            await self.kube.delete(JOB, metadata["name"], metadata["namespace"], metadata["uid"])

    async def pods(self, key: str, namespace: str, job: Object | None = None) -> list[Object]:
        """Return the pods of a run, or of one Job of it, the newest first.

        None if they may not be seen.

        Raises:
            InfrastructureError: The API server does not answer, so nothing is known of them.
        """
        selector = f"{KEY_LABEL}={key_hash(key)}"
        if job is not None:
            selector = f"{selector},{CONTROLLER_UID}={job['metadata']['uid']}"
        with answering():
            found = await self._explaining(POD, namespace, selector) or []
        return sorted(found, key=_made, reverse=True)

    async def workload(self, job: Object) -> Object | None:
        """Return what Kueue has of `job`, if it has and it may be seen."""
        metadata = job["metadata"]
        for kind in WORKLOADS:
            selector = f"{WORKLOAD_OF}={metadata['uid']}"
            with answering():
                found = await self._explaining(kind, metadata["namespace"], selector)
            if found is not None:
                return found[0] if found else None
        return None

    async def why_no_pod(self, job: Object) -> str:
        """Return what the API server said when the newest pod of `job` was refused, if it was."""
        metadata = job["metadata"]
        selector = f"involvedObject.uid={metadata['uid']},reason={NO_POD}"
        with answering():
            found = await self._explaining(EVENT, metadata["namespace"], fields=selector)
        newest = max(found or (), key=lambda event: str(event.get("lastTimestamp")), default={})
        return str(newest.get("message", ""))

    @property
    def _places(self) -> tuple[str, ...]:
        return self.namespaces or ("",)

    async def _jobs(self, places: tuple[str, ...], selector: str) -> list[Object]:
        with answering():
            return [
                job
                for namespace in places
                async for job in self.kube.list(JOB, namespace, selector)
                if key_of(job)
            ]

    async def _explaining(
        self, kind: Kind, namespace: str, labels: str = "", *, fields: str = ""
    ) -> list[Object] | None:
        refused_s = self._refused_s.get((kind, namespace))
        if refused_s is not None and self.clock() - refused_s < FORBIDDEN_S:
            return None
        try:
            return [
                each
                async for each in self.kube.list(kind, namespace, labels, field_selector=fields)
            ]
        except (Forbidden, NotFound) as error:
            log.info("runs are followed without their %s: %s", kind.plural, error)
            self._refused_s[kind, namespace] = self.clock()
            return None


def _made(found: Object) -> str:
    return str(found["metadata"].get("creationTimestamp"))


def key_of(job: Object) -> str:
    """Return the write-ahead key of a Job; empty if it is none of ours."""
    return str((job["metadata"].get("annotations") or {}).get(KEY_ANNOTATION, ""))
