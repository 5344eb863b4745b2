"""Looking at everything that the next decision about a job depends on, and at nothing else.

The questions depend on how far the job is: a finished one costs nothing, a waiting one a look into
memory. Engines and stores are asked in threads, since they may block.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from fulcrum_operator.controllers.job_memory import JobMemory
from fulcrum_operator.controllers.report_writer import has_no_report, report
from fulcrum_operator.controllers.resolver import HERE, Templates, resolve_job
from fulcrum_operator.controllers.run_observer import at_engine, in_store
from fulcrum_operator.engines.placement import Site
from fulcrum_operator.engines.slots import EngineDesk
from fulcrum_operator.kubernetes.api import Kube
from fulcrum_operator.kubernetes.errors import NotFound
from fulcrum_operator.kubernetes.object_cache import Objects
from fulcrum_operator.lifecycle.ending import MANAGED_BY
from fulcrum_operator.lifecycle.observation import (
    ChannelSeen,
    Job,
    NoReport,
    Observed,
    PromotionSeen,
    Refusal,
    Report,
    Snapshot,
)
from fulcrum_operator.resources.compressionjob import CompressionJobStatus
from fulcrum_operator.resources.names import CONFIG_MAP, SNAPSHOT_KEY
from fulcrum_pipelines.contract import ResolvedSpec, digest_of
from fulcrum_pipelines.storage.store import Store

SOURCES_KEY = "sources.json"


@dataclass
class Observer:
    """Sees jobs.

    Attributes:
        kube: Reads snapshots.
        store: Holds evidence.
        engines: By name.
        memory: Snapshots, slots and errors of submissions.
        templates: Recipes and gate policies.
        promotions: All ModelPromotions.
        channels: All ModelChannels.
        source_root: Base URL of relative addresses.
        site: The available engines and pools.
        make_report: Writes the report of a job with this status to the store.
    """

    kube: Kube
    store: Store
    engines: Mapping[str, EngineDesk]
    memory: JobMemory
    templates: Templates
    promotions: Objects
    channels: Objects
    source_root: str
    site: Site = HERE
    make_report: Callable[[Store, CompressionJobStatus], Report | NoReport] = report

    async def observe(self, job: Job) -> Observed:
        """Return the current observation of `job`.

        Raises:
            InfrastructureError: The API server or the store does not answer.
        """
        seen = Observed(job)
        status = job.status
        elsewhere = job.spec.managed_by not in (None, MANAGED_BY)
        if job.deleted_at is None and (elsewhere or status.completion_time is not None):
            return seen
        if status.run is not None and (job.finalized or status.verdict is None):
            seen = await self._engine(seen, status.run.engine, status.run.key)
        if job.deleted_at is not None or status.outcome is not None:
            return seen
        if status.verdict is None:
            return await self._before_verdict(seen)
        if has_no_report(status) and not job.spec.suspend:
            made = await asyncio.to_thread(self.make_report, self.store, status)
            seen = replace(seen, report=made)
        if status.verdict == "Pass" and job.spec.promotion is not None:
            seen = self._promotion(seen, job.spec.promotion.channel)
            if job.spec.baseline.kind == "Channel":
                seen = replace(seen, snapshot=await self.snapshot(job))
        return seen

    async def _engine(self, seen: Observed, name: str, key: str) -> Observed:
        desk = self.engines.get(name)
        if desk is None:
            return replace(seen, engine_error=f"this operator has no engine {name}")
        seen = await at_engine(seen, desk.engine, key)
        if seen.runs:
            self.memory.keep_submit_error(seen.job.uid, "")
        return replace(seen, submit_error=self.memory.submit_error(seen.job.uid))

    async def _before_verdict(self, seen: Observed) -> Observed:
        job, status = seen.job, seen.job.status
        if status.snapshot is None and self.memory.snapshot(job.uid) is None:
            resolution = resolve_job(
                job, self.templates, self.channels, self.source_root, self.site
            )
            seen = replace(seen, resolution=resolution)
            if not isinstance(resolution, Refusal):  # its creation shows whether it exists
                return seen
        seen = replace(seen, snapshot=await self.snapshot(job))
        if status.run is None:
            if seen.snapshot is None:
                return seen
            return replace(seen, slot=not job.spec.suspend and self.memory.take_slot(job))
        if seen.snapshot is not None and seen.run is not None:
            seen = await asyncio.to_thread(in_store, seen, self.store, seen.snapshot, seen.run)
        return seen

    def _promotion(self, seen: Observed, channel: str) -> Observed:
        job = seen.job
        body = self.channels.get((job.namespace, channel))
        current = ((body or {}).get("status") or {}).get("current") or {}
        return replace(
            seen,
            promotion=self._promotion_of(job),
            channel=ChannelSeen(current.get("digest", "")) if body is not None else None,
        )

    def _promotion_of(self, job: Job) -> PromotionSeen | None:
        """Return the promotion of this job that is furthest, from any requester."""
        found = [
            _promotion_seen(body)
            for body in self.promotions
            if (body["spec"].get("job") or {}).get("uid") == job.uid
        ]
        order = ("Promoted", "Pending", "AwaitingApproval", "Refused")
        return min(found, key=lambda each: order.index(each.phase), default=None)

    # --- snapshots

    async def snapshot(self, job: Job) -> Snapshot | None:
        """Return what the job started with, from memory or from its ConfigMap."""
        if (known := self.memory.snapshot(job.uid)) is not None:
            return known
        try:
            body = await self.kube.get(CONFIG_MAP, job.snapshot_name, job.namespace)
        except NotFound:
            return None
        owners = body["metadata"].get("ownerReferences") or ()
        if not any(owner["uid"] == job.uid for owner in owners):
            return None
        snapshot = read_snapshot(body)
        self.memory.keep_snapshot(job.uid, snapshot)
        return snapshot


def read_snapshot(body: Mapping[str, Any]) -> Snapshot:
    """Return the snapshot in the ConfigMap `body`."""
    text = body["data"][SNAPSHOT_KEY].encode()
    return Snapshot(
        spec=ResolvedSpec.model_validate_json(text),
        digest=digest_of(text),
        sources=json.loads(body["data"].get(SOURCES_KEY, "{}")),
    )


def _promotion_seen(body: Mapping[str, Any]) -> PromotionSeen:
    status = body.get("status") or {}
    return PromotionSeen(
        name=body["metadata"]["name"],
        phase=status.get("phase") or "Pending",
        reason=status.get("reason") or "",
        message=status.get("message") or "",
        by=body["spec"].get("requestedBy", ""),
    )
