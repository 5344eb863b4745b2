"""The run's pods and Workflows in the cluster, as far as the operator may look at them.

A cluster's own messages help, but are not required: a forbidden or missing answer counts as
unknown, and a run goes on without it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fulcrum_operator.engines.kubeflow.pods import RUN_LABEL
from fulcrum_operator.kubernetes.api import Kube
from fulcrum_operator.kubernetes.errors import ApiError, Forbidden, NotFound
from fulcrum_operator.resources.names import Kind

POD = Kind("", "v1", "pods", "Pod")
WORKFLOW = Kind("argoproj.io", "v1alpha1", "workflows", "Workflow")
FORBIDDEN_S = 300.0
"""After a refusal it is asked again only so much later; rights change seldom."""

log = logging.getLogger(__name__)


@dataclass
class ClusterView:
    """Pods and Workflows by run.

    Attributes:
        kube: Behind the leader's fence, since strays are deleted.
        clock: Seconds that only go forward.
    """

    kube: Kube
    clock: Callable[[], float] = time.monotonic
    _refused_s: dict[tuple[str, str], float] = field(default_factory=dict)

    async def pods(self, run_id: str, namespace: str) -> list[dict[str, Any]] | None:
        """Return the pods of a run, or None where that is unknown."""
        return await self._list(POD, run_id, namespace)

    async def workflows(self, run_id: str, namespace: str) -> list[dict[str, Any]] | None:
        """Return the Workflows of a run, the oldest first, or None where that is unknown."""
        found = await self._list(WORKFLOW, run_id, namespace)
        if found is None:
            return None
        return sorted(found, key=lambda each: str(each["metadata"].get("creationTimestamp")))

    async def was_stopped(self, run_id: str, namespace: str) -> bool:
        """Return whether a Workflow of a run is known to have been stopped, by us or by others.

        Kubeflow stops a run by taking all time from its Workflow.
        """
        found = await self.workflows(run_id, namespace) or ()
        return any((each.get("spec") or {}).get("activeDeadlineSeconds") == 0 for each in found)

    async def remove_strays(self, run_id: str, namespace: str, *, keep: int) -> bool:
        """Delete the Workflows of a run but for the `keep` oldest.

        Creating a run twice, or failing to, leaves Workflows that the API neither shows nor stops.

        Returns:
            Whether it is known that none is left.
        """
        found = await self.workflows(run_id, namespace)
        if found is None:
            return False
        try:
            for stray in found[keep:]:
                metadata = stray["metadata"]
                log.warning("Workflow %s is a stray of run %s", metadata["name"], run_id)
                await self._delete(metadata["name"], namespace, metadata.get("uid"))
        except ApiError as error:
            log.warning("a stray Workflow of run %s stays: %s", run_id, error)
            return False
        return True

    async def _delete(self, name: str, namespace: str, uid: str | None) -> None:
        try:
            await self.kube.delete(WORKFLOW, name, namespace, uid=uid)
        except NotFound:
            return

    async def _list(self, kind: Kind, run_id: str, namespace: str) -> list[dict[str, Any]] | None:
        refused_s = self._refused_s.get((kind.plural, namespace))
        if refused_s is not None and self.clock() - refused_s < FORBIDDEN_S:
            return None
        try:
            selector = f"{RUN_LABEL}={run_id}"
            return [each async for each in self.kube.list(kind, namespace, selector)]
        except (Forbidden, NotFound) as error:
            log.info("runs are followed without their %s: %s", kind.plural, error)
            self._refused_s[kind.plural, namespace] = self.clock()
        except ApiError as error:
            log.info("the %s of run %s are unknown: %s", kind.plural, run_id, error)
        return None
