"""Observe, decide and act on promotions and channels; `promotion` decides.

The inputs of a decision are read again, never from memory: a refusal is final, so it must not rest
on an old channel. Writes are compare-and-set, and nothing that is read or written here goes into
memory, so that the watch reports it and wakes all objects it concerns.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from fulcrum_operator.controllers.effects import (
    EffectProbe,
    announce,
    ignore_effect,
    replace_status,
)
from fulcrum_operator.kubernetes.api import Kube
from fulcrum_operator.kubernetes.errors import Conflict, NotFound
from fulcrum_operator.kubernetes.events import Events
from fulcrum_operator.kubernetes.object_cache import Body, Key, Objects
from fulcrum_operator.lifecycle.observation import Refusal, read_job
from fulcrum_operator.promotion import decide, keep_up, needs_proof
from fulcrum_operator.promotion.seen import (
    FINAL,
    Channel,
    Promotion,
    PromotionDecision,
    Seen,
    read_channel,
    read_promotion,
)
from fulcrum_operator.promotion.tracing import trace
from fulcrum_operator.resources.modelchannel import Move
from fulcrum_operator.resources.names import (
    COMPRESSION_JOB,
    CONFIG_MAP,
    MODEL_CHANNEL,
    MODEL_PROMOTION,
    Kind,
)
from fulcrum_pipelines.assessing import assess
from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.errors import CorruptError
from fulcrum_pipelines.gates.assessment import Assessment, NoAssessment
from fulcrum_pipelines.storage.store import Store

PLAN_BYTES = 16 << 20
"""More than any plan has. A promotion names its plan by a digest, which may be of anything."""
MAX_STEPS = 8
"""Two are usual, a move and its end; each further step is a write by another client in between."""


@dataclass(frozen=True)
class _Observation:
    """A promotion as it was observed, and the bodies that compare-and-set writes rest on."""

    seen: Seen
    body: Body
    channel_body: Body | None


@dataclass
class PromotionReconciler:
    """Drives promotions, and keeps what channels say of themselves right.

    Attributes:
        kube: Behind the leader's fence.
        store: Holds evidence and candidates.
        channels: As seen by the watch.
        promotions: As seen by the watch.
        events: Writes Events.
        decided: Called with kind and phase of each promotion that waits for approval or ends.
        probe: Called after every effect.
        now: The time.
    """

    kube: Kube
    store: Store
    channels: Objects
    promotions: Objects
    events: Events
    decided: Callable[[str, str], None]
    probe: EffectProbe = ignore_effect
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))

    async def reconcile(self, key: Key) -> float | None:
        """Do what can be done now for the promotion at `key`; return when to look again.

        None means when something happens to it or to its channel, 0 means at once.

        Raises:
            FulcrumError: API server or store do not answer, or refuse; look again later.
        """
        for _ in range(MAX_STEPS):
            if _is_final(self.promotions.get(key)):
                return None
            try:
                if not await self._step(key):
                    return None
            except Conflict:
                continue  # an input of this decision was written
        return 0.0

    async def reconcile_channel(self, key: Key) -> float | None:
        """Bring the status of the channel at `key` in line with its specification.

        Raises:
            FulcrumError: The API server does not answer, or refuses; look again later.
        """
        body = self.channels.get(key)
        for _ in range(MAX_STEPS):
            if body is None:
                return None
            decision = keep_up(read_channel(body), self.now())
            await announce(self.events, body, decision.announce)
            if decision.status is None:
                return None
            try:
                await replace_status(self.kube, MODEL_CHANNEL, body, decision.status)
            except Conflict:
                body = await self._read(MODEL_CHANNEL, key)
                continue
            except NotFound:
                return None
            self.probe("channel-kept")
            return None
        return 0.0

    async def _step(self, key: Key) -> bool:
        """Observe, decide and act once; return whether more may be left to do."""
        found = await self._observe(key)
        if found is None:
            return False
        return await self._act(found, decide(found.seen, self.now()))

    # --- observe

    async def _observe(self, key: Key) -> _Observation | None:
        """Return all that the decision about a promotion depends on, or None if it is gone."""
        body = await self._read(MODEL_PROMOTION, key)
        if body is None:
            return None
        promotion = read_promotion(body)
        channel_body = await self._read(MODEL_CHANNEL, (key[0], promotion.spec.channel))
        channel = read_channel(channel_body) if channel_body is not None else None
        seen = Seen(promotion, channel)
        if needs_proof(seen, self.now()):
            if promotion.spec.kind == "Rollback":
                wrong = await asyncio.to_thread(self._verify, promotion.spec.to.digest)
                seen = replace(seen, artifact=wrong)
            else:
                seen = replace(seen, assessment=await self._assess(promotion))
        return _Observation(seen, body, channel_body)

    async def _assess(self, promotion: Promotion) -> Assessment | NoAssessment | Refusal:
        job, snapshot, plan, made_by = None, None, None, promotion.spec.job
        if made_by is not None:
            body = await self._read(COMPRESSION_JOB, (promotion.namespace, made_by.name))
            job = read_job(body) if body is not None else None
        elif promotion.spec.evidence is not None and promotion.spec.evidence.plan is not None:
            plan = await asyncio.to_thread(self._plan, promotion.spec.evidence.plan)
        if job is not None and job.status.snapshot is not None:
            name = job.status.snapshot.name
            snapshot = await self._read(CONFIG_MAP, (promotion.namespace, name))
        origin = trace(promotion, job, snapshot, plan)
        if isinstance(origin, Refusal):
            return origin
        return await asyncio.to_thread(assess, self.store, origin.plan, origin.run, origin.gates)

    def _plan(self, digest: str) -> Plan | None:
        """Return the plan that a promotion without a job names, or None if it names none."""
        try:
            if self.store.verify(digest) > PLAN_BYTES:
                return None  # such as a model, which would not fit into our memory
            return self.store.plan(digest)
        except CorruptError:
            return None

    def _verify(self, digest: str) -> str:
        """Return what is wrong with an artifact; a store that does not answer says nothing."""
        try:
            self.store.verify(digest)
        except CorruptError as error:
            return str(error)
        return ""

    # --- act

    async def _act(self, found: _Observation, decision: PromotionDecision) -> bool:
        """Do what was decided; return whether more may be left to do."""
        channel, channel_body = found.seen.channel, found.channel_body
        if channel is not None and channel_body is not None and decision.channel is not None:
            await self._settle_last(channel, channel_body)
            await replace_status(self.kube, MODEL_CHANNEL, channel_body, decision.channel)
            self.probe("channel-moved")
            return True
        await self._end(found.seen.promotion, found.body, channel_body, decision)
        return False

    async def _settle_last(self, channel: Channel, channel_body: Body) -> None:
        """End the promotion that moved the channel last, if a crash came before its end.

        History is bounded: if others moved the channel first, no record might be left that
        this one did, and it would move the channel again.
        """
        if not channel.status.history:
            return
        last: Move = channel.status.history[-1]
        key = (channel.namespace, last.promotion)
        if _is_final(self.promotions.get(key), last.promotion_uid):
            return
        body = await self._read(MODEL_PROMOTION, key)
        if body is None or body["metadata"]["uid"] != last.promotion_uid:
            return
        promotion = read_promotion(body)
        await self._end(promotion, body, channel_body, decide(Seen(promotion, channel), self.now()))

    async def _end(
        self,
        promotion: Promotion,
        body: Body,
        channel_body: Body | None,
        decision: PromotionDecision,
    ) -> None:
        """Say what became of a promotion, or what it waits for."""
        if decision.status is None:
            return
        await announce(self.events, body, decision.announce)
        if channel_body is not None:
            await announce(self.events, channel_body, decision.of_channel)
        try:
            await replace_status(self.kube, MODEL_PROMOTION, body, decision.status)
        except NotFound:  # deleted meanwhile; what it did stands in the channel's history
            return
        phase = decision.status.phase
        self.probe(f"promotion-{str(phase).lower()}")
        if phase is not None and phase not in ("Pending", promotion.status.phase):
            self.decided(promotion.spec.kind, phase)

    async def _read(self, kind: Kind, key: Key) -> dict[str, Any] | None:
        try:
            return await self.kube.get(kind, key[1], key[0])
        except NotFound:
            return None


def _is_final(body: Body | None, uid: str = "") -> bool:
    """Return whether a promotion, if it has that uid, needs no look: an end is final."""
    if body is None or (uid and body["metadata"]["uid"] != uid):
        return False
    return (body.get("status") or {}).get("phase") in FINAL
