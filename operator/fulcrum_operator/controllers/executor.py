"""Doing what was decided: the only place where a job's objects are written.

Every effect is idempotent or compare-and-set, so an action that is repeated after a crash, or done
from an old observation, changes nothing or fails. After each, a probe is called with its name, so
that tests can stop the process exactly there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fulcrum_operator.controllers.effects import EffectProbe, announce, ignore_effect, merge_patch
from fulcrum_operator.controllers.job_memory import JobMemory
from fulcrum_operator.controllers.observer import SOURCES_KEY, Observer, read_snapshot
from fulcrum_operator.engines.slots import EngineDesk
from fulcrum_operator.kubernetes.api import Kube
from fulcrum_operator.kubernetes.errors import AlreadyExists, Conflict, NotFound, NotLeader
from fulcrum_operator.kubernetes.events import Events
from fulcrum_operator.kubernetes.object_cache import Body, Key, Objects, key_of, version_of
from fulcrum_operator.lifecycle.actions import (
    Action,
    AddFinalizer,
    Announce,
    Cancel,
    CreatePromotion,
    CreateSnapshot,
    DeleteJob,
    RemoveFinalizer,
    SetDeadline,
    Submit,
    WriteStatus,
)
from fulcrum_operator.lifecycle.observation import Job
from fulcrum_operator.resources.names import (
    API_VERSION,
    COMPRESSION_JOB,
    CONFIG_MAP,
    MODEL_PROMOTION,
    RUN_FINALIZER,
    SNAPSHOT_KEY,
)
from fulcrum_pipelines.contract import canonical_json
from fulcrum_pipelines.errors import FulcrumError


@dataclass
class Executor:
    """Performs actions.

    Attributes:
        kube: Behind the leader's fence.
        jobs: Learns every answer of the API server.
        promotions: Learns those that are created.
        engines: By name.
        memory: Learns snapshots, and why a submission failed.
        observer: Reads a snapshot that was there already.
        events: Writes Events.
        user: The account that this operator is, which its promotions name.
        wake: Lets an object have its turn: plural, key.
        probe: Called after every effect.
    """

    kube: Kube
    jobs: Objects
    promotions: Objects
    engines: Mapping[str, EngineDesk]
    memory: JobMemory
    observer: Observer
    events: Events
    user: str
    wake: Callable[[str, Key], None]
    probe: EffectProbe = ignore_effect

    async def perform(self, job: Job, body: Body, actions: tuple[Action, ...]) -> None:
        """Perform `actions` in order; the first that fails ends it.

        Args:
            job: What the decision was made on.
            body: The same as the API server gave it.
            actions: What was decided.

        Raises:
            Conflict: The job was written since.
            ApiError: The API server refuses or does not answer.
            FulcrumError: The engine does not answer, or does not take the run.
        """
        for action in actions:
            body = await self._perform(job, body, action)

    async def _perform(self, job: Job, body: Body, action: Action) -> Body:
        match action:
            case WriteStatus():
                return await self._write_status(body, action)
            case AddFinalizer():
                finalizers = [*body["metadata"].get("finalizers", ()), RUN_FINALIZER]
                return await self._finalizers(body, finalizers, "finalizer-added")
            case RemoveFinalizer():
                present = body["metadata"].get("finalizers", ())
                others = [each for each in present if each != RUN_FINALIZER]
                return await self._finalizers(body, others, "finalizer-removed")
            case CreateSnapshot():
                await self._create_snapshot(job, action)
            case Submit():
                self._still_holds(body)
                await self._submit(job, action)
            case Cancel():
                self._still_holds(body)
                await self._cancel(job, action)
            case SetDeadline():
                self._still_holds(body)
                desk = self.engines[job.spec.engine]
                await desk.engine.set_deadline(action.handle, action.seconds)
                self.probe("deadline-set")
            case CreatePromotion():
                await self._create_promotion(job, action)
            case DeleteJob():
                await self._delete(job)
            case Announce():
                await announce(self.events, body, [action])
        return body

    def _still_holds(self, body: Body) -> None:
        """Engines know no compare-and-set, so what a call of theirs rests on is looked at first.

        Raises:
            NotLeader: Another process may be acting on the job.
            Conflict: The job was written since the decision.
        """
        if self.kube.fence is not None:
            self.kube.fence.check()
        known = self.jobs.get(key_of(body))
        if known is None or version_of(known) != version_of(body):
            raise Conflict("it was written since", where="/".join(key_of(body)))

    async def _write_status(self, body: Body, action: WriteStatus) -> Body:
        new = action.status.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        patch = merge_patch(body.get("status") or {}, new)
        if not patch:
            return body
        answer = await self._patch(body, {"status": patch}, subresource="status")
        self.probe(action.point)
        return answer

    async def _finalizers(self, body: Body, finalizers: list[str], point: str) -> Body:
        answer = await self._patch(body, {"metadata": {"finalizers": finalizers}})
        if not finalizers and "deletionTimestamp" in body["metadata"]:
            self.jobs.drop(body)  # gone with that; the answer has the version that was known
        self.probe(point)
        return answer

    async def _patch(self, body: Body, patch: dict[str, Any], *, subresource: str = "") -> Body:
        metadata = body["metadata"]
        try:
            answer = await self.kube.patch(
                COMPRESSION_JOB,
                metadata["name"],
                metadata["namespace"],
                patch,
                subresource=subresource,
                resource_version=metadata["resourceVersion"],
            )
        except NotFound as error:
            raise Conflict("it was deleted since", where="/".join(key_of(body))) from error
        self.jobs.learn(answer)
        return answer

    async def _create_snapshot(self, job: Job, action: CreateSnapshot) -> None:
        spec = action.spec.model_dump(mode="json", by_alias=True, exclude_none=True)
        body: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": job.snapshot_name,
                "namespace": job.namespace,
                "labels": {"app.kubernetes.io/managed-by": "fulcrum"},
                "ownerReferences": [
                    {
                        "apiVersion": API_VERSION,
                        "kind": COMPRESSION_JOB.kind,
                        "name": job.name,
                        "uid": job.uid,
                        "controller": True,
                        "blockOwnerDeletion": False,
                    }
                ],
            },
            "immutable": True,
            "data": {
                SNAPSHOT_KEY: canonical_json(spec).decode(),
                SOURCES_KEY: json.dumps(action.sources, sort_keys=True),
            },
        }
        try:
            found = await self.kube.create(CONFIG_MAP, body)
            self.memory.keep_snapshot(job.uid, read_snapshot(found))
        except AlreadyExists:  # made before a crash: that one counts, even if templates changed
            await self.observer.snapshot(job)
        self.probe("snapshot-made")

    async def _submit(self, job: Job, action: Submit) -> None:
        desk = self.engines[job.spec.engine]
        try:
            await desk.engine.submit(action.plan.run, action.plan)
        except FulcrumError as error:
            if not isinstance(error, NotLeader):
                self.memory.keep_submit_error(job.uid, str(error))
            raise
        self.probe("submitted")

    async def _cancel(self, job: Job, action: Cancel) -> None:
        run = job.status.run
        desk = self.engines.get(run.engine if run else job.spec.engine)
        if desk is not None:
            await desk.engine.cancel(action.handle)
            self.probe("cancelled")

    async def _create_promotion(self, job: Job, action: CreatePromotion) -> None:
        body: dict[str, Any] = {
            "apiVersion": API_VERSION,
            "kind": MODEL_PROMOTION.kind,
            "metadata": {"name": action.name, "namespace": job.namespace},
            "spec": {**action.spec, "requestedBy": self.user},
        }
        try:
            self.promotions.learn(await self.kube.create(MODEL_PROMOTION, body))
        except AlreadyExists:
            found = await self.kube.get(MODEL_PROMOTION, action.name, job.namespace)
            self.promotions.learn(found)
        # The watch then reports a known object and wakes no one, so wake the promotion here.
        self.wake(MODEL_PROMOTION.plural, (job.namespace, action.name))
        self.probe("promotion-created")

    async def _delete(self, job: Job) -> None:
        try:
            await self.kube.delete(COMPRESSION_JOB, job.name, job.namespace, uid=job.uid)
        except NotFound:
            return
        self.probe("ttl-deleted")
