"""A status of each kind with every field set, as an operator would write it."""

from __future__ import annotations

from typing import Any

NOW = "2026-11-25T10:00:00Z"
DIGEST = f"sha256:{'1' * 64}"


def condition(name: str) -> dict[str, Any]:
    return {
        "type": name,
        "status": "True",
        "reason": "AsExpected",
        "message": "It is so.",
        "lastTransitionTime": NOW,
        "observedGeneration": 1,
    }


def slice_change(name: str, delta: float) -> dict[str, Any]:
    return {"name": name, "delta": delta, "samples": 150}


JOB_STATUS: dict[str, Any] = {
    "observedGeneration": 1,
    "phase": "Promoting",
    "message": "The promotion mnist-1a2b3c4d is under way.",
    "stage": "validate 100 %",
    "conditions": [condition("Accepted"), condition("Evaluated")],
    "snapshot": {
        "name": "mnist-1a2b3c4d",
        "digest": DIGEST,
        "recipe": {"kind": "CompressionRecipe", "name": "half", "resourceVersion": "41"},
        "gatePolicy": {"kind": "ClusterGatePolicy", "name": "strict", "resourceVersion": "42"},
    },
    "attempt": 2,
    "run": {
        "key": "mnist-1a2b3c4d0000-2",
        "plan": DIGEST,
        "reference": "4711",
        "engine": "process",
        "startTime": NOW,
        "silentSince": NOW,
        "url": "https://runs.example/4711",
    },
    "failures": {"infrastructure": 1},
    "nextAttemptTime": NOW,
    "startTime": NOW,
    "completionTime": NOW,
    "activeSince": NOW,
    "stages": [
        {
            "name": "evaluate",
            "state": "Succeeded",
            "attempt": 2,
            "startTime": NOW,
            "endTime": NOW,
            "reason": "infrastructure",
            "message": "taken from the store",
            "fraction": 1.0,
            "cached": True,
            "metrics": {"accuracy": "0.978"},
        }
    ],
    "outcome": {"phase": "Succeeded", "reason": "Promoted", "message": "Done.", "time": NOW},
    "verdict": "Pass",
    "gates": [
        {
            "name": "accuracy",
            "kind": "nonInferiority",
            "mode": "Enforce",
            "verdict": "Pass",
            "reason": "the interval is above the margin",
            "metric": "accuracy",
            "value": -0.004,
            "low": -0.008,
            "high": 0.001,
            "limit": -0.01,
            "samples": 1500,
        }
    ],
    "results": {
        "metric": "accuracy",
        "baseline": 0.978,
        "candidate": 0.974,
        "delta": -0.004,
        "deltaLow": -0.008,
        "deltaHigh": 0.001,
        "samples": 1500,
        "speedup": 4.1,
        "speedupLow": 3.9,
        "speedupHigh": 4.3,
        "sizeRatio": 13.8,
        "int8Coverage": 0.998,
        "bestSlice": slice_change("class=1", 0.01),
        "worstSlice": slice_change("class=7", -0.02),
    },
    "summary": {"delta": "-0.40 points", "speedup": "x4.1", "size": "x13.8"},
    "evidence": {"uri": "file:///store/runs/mnist/evidence.json", "digest": DIGEST},
    "report": "file:///store/runs/mnist/report.html",
    "candidate": {"digest": DIGEST, "uri": "file:///store/objects/11", "sizeBytes": 91_344},
    "promotion": {"name": "mnist-1a2b3c4d", "phase": "Pending"},
}

CHANNEL_STATUS: dict[str, Any] = {
    "observedGeneration": 1,
    "conditions": [condition("Ready"), condition("Held")],
    "current": {
        "digest": DIGEST,
        "uri": "file:///store/objects/11",
        "evidence": DIGEST,
        "promotion": "mnist-1a2b3c4d",
        "job": "mnist",
        "run": "mnist-1a2b3c4d0000-1",
        "by": "ann",
        "since": NOW,
    },
    "history": [
        {
            "promotion": "mnist-1a2b3c4d",
            "promotionUID": "1a2b3c4d-0000-4000-8000-000000000000",
            "kind": "Promotion",
            "from": "",
            "to": DIGEST,
            "uri": "file:///store/objects/11",
            "evidence": DIGEST,
            "verdict": "Inconclusive",
            "job": "mnist",
            "run": "mnist-1a2b3c4d0000-1",
            "by": "ann",
            "approvedBy": "bob",
            "reason": "the test set is small",
            "time": NOW,
        }
    ],
    "holds": [{"name": "back-1", "reason": "late answers", "by": "ann", "since": NOW}],
    "moves": 1,
    "shortDigest": "111111111111",
}

PROMOTION_STATUS: dict[str, Any] = {
    "observedGeneration": 1,
    "phase": "Promoted",
    "reason": "Promoted",
    "message": "production holds sha256:1111.",
    "conditions": [condition("Ready")],
    "time": NOW,
    "shortDigest": "111111111111",
}

SCHEDULE_STATUS: dict[str, Any] = {
    "observedGeneration": 1,
    "conditions": [condition("Scheduling"), condition("Suspended")],
    "startsAfter": NOW,
    "lastSlot": {
        "time": NOW,
        "outcome": "Started",
        "reason": "OnTime",
        "message": "created job nightly-202611251000",
        "job": "nightly-202611251000",
    },
    "nextSlot": NOW,
    "activeCount": 1,
    "active": [
        {
            "name": "nightly-202611251000",
            "uid": "1a2b3c4d-0000-4000-8000-000000000000",
            "slot": NOW,
        }
    ],
    "lastSuccess": {
        "time": NOW,
        "job": "nightly-202611241000",
        "slot": NOW,
        "verdict": "Pass",
    },
    "lastFinished": {"time": NOW, "job": "nightly-202611241000", "phase": "Succeeded"},
}

STATUSES = {
    "CompressionJob": JOB_STATUS,
    "ModelChannel": CHANNEL_STATUS,
    "ModelPromotion": PROMOTION_STATUS,
    "CompressionSchedule": SCHEDULE_STATUS,
}
