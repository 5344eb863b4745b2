"""Channels, and promotions that move them. Who may is another question: `test_objects.py`."""

from __future__ import annotations

from typing import Any

from manifest_tables.rows import DROP, Row, Table, Update

API_VERSION = "fulcrum.dev/v1alpha1"
ADMIN = "admin"
"""User name of who asks in the tests; `requestedBy` must be one's own."""
OLD, NEW = (f"sha256:{digit * 64}" for digit in "01")

CHANNEL = Table(
    good={
        "apiVersion": API_VERSION,
        "kind": "ModelChannel",
        "metadata": {"name": "production"},
        "spec": {"description": "The shop's model", "approval": "Required"},
    },
    accepted=(
        Row("the good one"),
        Row("no spec", {"spec": DROP}),
        Row("name of 63 characters", {"metadata.name": "x" * 63}),
        Row("a hold released", {"spec.releasedHolds": ["rollback-1"]}),
        Row("longest history", {"spec.historyLimit": 200}),
    ),
    refused=(
        Row(
            "name too long",
            {"metadata.name": "x" * 64},
            "metadata.name",
            ("at most 63 characters",),
        ),
        Row("approval", {"spec.approval": "Maybe"}, "spec.approval", ("None", "Required")),
        Row("no history", {"spec.historyLimit": 0}, "spec.historyLimit", hints=("at least 1",)),
        Row("long history", {"spec.historyLimit": 201}, "spec.historyLimit", ("200",)),
        Row(
            "released twice",
            {"spec.releasedHolds": ["a", "a"]},
            "spec.releasedHolds[1]",
            hints=("already at",),
        ),
        Row("a model", {"spec.current": NEW}, "spec.current", hints=("is not a field",)),
    ),
    updates=(
        Update("approval asked for", {"spec.approval": "None"}, {"spec.approval": "Required"}),
        Update("hold released", {}, {"spec.releasedHolds": ["rollback-1"]}),
    ),
)

ROLLBACK: dict[str, Any] = {
    "spec.kind": "Rollback",
    "spec.job": DROP,
    "spec.evidence": DROP,
    "spec.reason": "answers of the new one are late",
}
FIXED = ("spec is immutable except that an approval may be added",)
ONCE = ("approval is given once",)
APPROVED = {"spec.approval": {"by": ADMIN, "comment": "seen the slices"}}

PROMOTION = Table(
    good={
        "apiVersion": API_VERSION,
        "kind": "ModelPromotion",
        "metadata": {"name": "mnist-1a2b3c4d"},
        "spec": {
            "channel": "production",
            "from": OLD,
            "to": {"digest": NEW, "uri": "file:///store/objects/11"},
            "job": {"name": "mnist", "uid": "1a2b3c4d-0000-4000-8000-000000000000"},
            "evidence": {"run": "mnist-1a2b3c4d0000-1", "digest": f"sha256:{'e' * 64}"},
            "requestedBy": ADMIN,
        },
    },
    accepted=(
        Row("the good one"),
        Row("first of a channel", {"spec.from": ""}),
        Row("rollback", ROLLBACK),
        Row("automatic", {"spec.automatic": True}),
        Row("run that no job owns", {"spec.job": DROP, "spec.evidence.plan": NEW}),
        Row("approved from the start", APPROVED),
        Row("name of 63 characters", {"metadata.name": "x" * 63}),
    ),
    refused=(
        Row(
            "name too long",
            {"metadata.name": "x" * 64},
            "metadata.name",
            ("at most 63 characters",),
        ),
        Row("without job", {"spec.job": DROP}, "spec.job", ("kind Promotion needs job",)),
        Row(
            "without evidence",
            {"spec.evidence": DROP},
            "spec.evidence",
            ("kind Promotion needs evidence",),
        ),
        Row("job and plan", {"spec.evidence.plan": NEW}, "spec.evidence", ("that no job owns",)),
        Row(
            "automatic without a job",
            {"spec.job": DROP, "spec.evidence.plan": NEW, "spec.automatic": True},
            "spec.automatic",
            ("a job asks for itself",),
        ),
        Row("no channel", {"spec.channel": DROP}, "spec.channel", hints=("is required",)),
        Row("no from", {"spec.from": DROP}, "spec.from", hints=("is required",)),
        Row("tag as from", {"spec.from": "latest"}, "spec.from", hints=("sha256",)),
        Row("tag as to", {"spec.to.digest": "latest"}, "spec.to.digest", ("sha256",)),
        Row("to without uri", {"spec.to.uri": DROP}, "spec.to.uri", hints=("is required",)),
        Row("no requester", {"spec.requestedBy": DROP}, "spec.requestedBy", hints=("is required",)),
        Row("no approver", {"spec.approval": {}}, "spec.approval.by", hints=("is required",)),
        Row("another kind", {"spec.kind": "Undo"}, "spec.kind", ("Rollback",)),
    ),
    updates=(
        Update("nothing"),
        Update("approved", {}, APPROVED),
        Update("labels", APPROVED, {"metadata.labels": {"team": "vision"}}),
        Update("another channel", {}, {"spec.channel": "staging"}, "spec", FIXED),
        Update("made a rollback", {}, {"spec.kind": "Rollback"}, "spec", FIXED),
        Update("from another", {}, {"spec.from": NEW}, "spec", FIXED),
        Update("to another", {}, {"spec.to.digest": OLD}, "spec", FIXED),
        Update("another job", {}, {"spec.job.name": "digits"}, "spec", FIXED),
        Update(
            "job removed",
            {**ROLLBACK, "spec.job": {"name": "a", "uid": "b"}},
            {"spec.job": DROP},
            "spec",
            FIXED,
        ),
        Update("other evidence", {}, {"spec.evidence.digest": NEW}, "spec", FIXED),
        Update("made automatic", {}, {"spec.automatic": True}, "spec", FIXED),
        Update("asked by another", {}, {"spec.requestedBy": "eve"}, "spec", FIXED),
        Update("reason added", {}, {"spec.reason": "later"}, "spec", FIXED),
        Update(
            "approval changed", APPROVED, {"spec.approval.comment": "no"}, "spec.approval", ONCE
        ),
        Update("approval withdrawn", APPROVED, {"spec.approval": DROP}, "spec.approval", ONCE),
    ),
)
