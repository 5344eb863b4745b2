"""Promotions and channels to decide on, and a small world in which decisions are carried out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from builders.plans import make_digest
from stored_runs import GATES, Outcome, make_run_evidence

from fulcrum_operator.promotion import decide, needs_proof
from fulcrum_operator.promotion.seen import Channel, Promotion, PromotionDecision, Seen
from fulcrum_operator.resources.modelchannel import (
    CurrentModel,
    ModelChannelSpec,
    ModelChannelStatus,
    Move,
)
from fulcrum_operator.resources.modelpromotion import ModelPromotionSpec, ModelPromotionStatus
from fulcrum_pipelines.gates import decide as decide_gates
from fulcrum_pipelines.gates.assessment import Assessment

NOW = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
RUN = "mnist-0123456789ab-1"


def make_uri(digest: str) -> str:
    """Return where the model `digest` lies."""
    return f"s3://models/{digest[-8:]}"


@cache
def make_assessment(to: str, outcome: Outcome = "Pass") -> Assessment:
    """Return what the store says of a run whose candidate is `to`."""
    evidence = make_run_evidence(RUN, to, outcome)
    verdict = decide_gates(evidence, GATES)
    assert verdict.evidence is not None
    return Assessment(
        evidence=evidence,
        verdict=verdict,
        evidence_digest=verdict.evidence,
        evidence_uri="s3://models/evidence",
        candidate_digest=to,
        candidate_uri=make_uri(to),
        candidate_bytes=9,
    )


def make_promotion(
    to: str = "b",
    *,
    from_: str = "",
    name: str = "p1",
    outcome: Outcome = "Pass",
    approved_by: str = "",
    target: dict[str, str] | None = None,
    **spec: Any,
) -> Promotion:
    """Return a promotion to the model called `to`; other arguments are fields of its spec.

    `target` is for a spec.to that does not agree with itself.
    """
    digest = make_digest(to)
    fields: dict[str, Any] = {
        "channel": "production",
        "from": make_digest(from_) if from_ else "",
        "to": target or {"digest": digest, "uri": make_uri(digest)},
        "requestedBy": "ann",
    }
    if spec.get("kind", "Promotion") == "Promotion":
        evidence = make_assessment(digest, outcome).evidence_digest
        fields["job"] = {"name": "mnist", "uid": "0123456789abcdef"}
        fields["evidence"] = {"run": RUN, "digest": evidence}
    if approved_by:
        fields["approval"] = {"by": approved_by}
    return Promotion(
        name=name,
        namespace="team",
        uid=f"uid-{name}",
        generation=1,
        spec=ModelPromotionSpec.model_validate(fields | spec),
        status=ModelPromotionStatus(),
    )


def make_rollback(to: str = "a", *, from_: str = "b", name: str = "back", **spec: Any) -> Promotion:
    """Return a rollback to the model called `to`."""
    return make_promotion(to, from_=from_, name=name, kind="Rollback", **spec)


def make_channel(*models: str, **spec: Any) -> Channel:
    """Return a channel that was moved to each of `models` in turn, by promotions of their names."""
    channel = Channel("production", "team", 1, ModelChannelSpec(**spec), ModelChannelStatus())
    before = ""
    for model in models:
        digest = make_digest(model)
        move = Move(
            promotion=f"to-{model}",
            promotion_uid=f"uid-to-{model}",
            kind="Promotion",
            from_=before,
            to=digest,
            uri=make_uri(digest),
            evidence=make_digest(f"evidence of {model}"),
            verdict="Pass",
            job=f"job-{model}",
            by="bob",
            time="2026-11-23T10:00:00Z",
        )
        current = CurrentModel(
            digest=digest, uri=move.uri, promotion=move.promotion, by="bob", since=move.time
        )
        history = (*channel.status.history, move)
        status = ModelChannelStatus(current=current, history=history, moves=len(history))
        channel, before = replace(channel, status=status), digest
    return channel


@dataclass
class World:
    """Carries decisions out as the API server would: writes are compare-and-set.

    Attributes:
        channel: As it is.
        promotions: By name.
        outcome: What the gates say of every candidate.
        now: Goes on with every decision.
    """

    channel: Channel
    promotions: dict[str, Promotion]
    outcome: Outcome = "Pass"
    now: datetime = NOW
    version: int = 0
    moved_by: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, channel: Channel, promotions: Iterable[Promotion], **rest: Any) -> World:
        """Return a world with these objects."""
        return cls(channel, {each.name: each for each in promotions}, **rest)

    def look(self, name: str) -> tuple[int, PromotionDecision]:
        """Return a decision, and the version of the channel that it was made on."""
        self.now += timedelta(seconds=1)
        seen, version = Seen(self.promotions[name], self.channel), self.version
        if needs_proof(seen, self.now):
            found = make_assessment(seen.promotion.spec.to.digest, self.outcome)
            seen = replace(seen, assessment=found, artifact="")
        return version, decide(seen, self.now)

    def act(self, name: str, version: int, decision: PromotionDecision) -> bool:
        """Do what was decided; return whether it could be done."""
        if decision.channel is not None:
            if version != self.version:
                return False
            self.channel = replace(self.channel, status=decision.channel)
            self.version += 1
            self.moved_by.append(name)
        if decision.status is not None:
            self.promotions[name] = replace(self.promotions[name], status=decision.status)
        return True

    def finish(self, name: str) -> Promotion:
        """Look and act until nothing is left to do, and return what became of it."""
        for _ in range(10):
            version, decision = self.look(name)
            if decision == PromotionDecision():
                return self.promotions[name]
            self.act(name, version, decision)
        raise AssertionError(f"{name} never rests")
