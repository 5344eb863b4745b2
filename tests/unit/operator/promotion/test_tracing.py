"""Only the run that the job names and the gates that it started with are followed."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import pytest
from builders.plans import make_digest, make_plan, make_spec
from channels import RUN, make_promotion, make_rollback

from fulcrum_operator.lifecycle.observation import Refusal, read_job
from fulcrum_operator.promotion.seen import Promotion
from fulcrum_operator.promotion.tracing import EvidenceOrigin, trace
from fulcrum_pipelines.contract import digest_of

SPEC = make_spec()
CONTENT = SPEC.model_dump_json(by_alias=True, exclude_none=True)
PLAN = make_digest("plan")
PROMOTION = make_promotion()
STATUS: dict[str, Any] = {
    "run": {"key": RUN, "plan": PLAN, "engine": "process"},
    "snapshot": {"name": "mnist-01234567", "digest": digest_of(CONTENT.encode())},
}


def job_body(status: dict[str, Any] | None = None, uid: str = "0123456789abcdef") -> dict[str, Any]:
    return {
        "metadata": {
            "name": "mnist",
            "namespace": "team",
            "uid": uid,
            "resourceVersion": "1",
            "creationTimestamp": "2026-11-24T09:00:00Z",
        },
        "spec": json.loads(CONTENT),
        "status": STATUS if status is None else status,
    }


def snapshot(content: str = CONTENT) -> dict[str, Any]:
    return {"data": {"spec.json": content}}


def of_content(content: str) -> dict[str, Any]:
    named = {"name": "mnist-01234567", "digest": digest_of(content.encode())}
    return job_body({**STATUS, "snapshot": named})


def test_origin_is_what_the_job_names() -> None:
    found = trace(PROMOTION, read_job(job_body()), snapshot())
    assert found == EvidenceOrigin(RUN, PLAN, SPEC.gates)


OWN = make_plan().model_copy(update={"namespace": "team", "occurrence": "a-run"})
OF_A_RUN = {"run": OWN.run, "digest": make_digest("e"), "plan": PLAN}


def without_job(**evidence: str) -> Promotion:
    """Return a promotion of what a run made that no job owns."""
    return make_promotion(job=None, evidence=OF_A_RUN | evidence)


def test_origin_without_a_job_is_the_plan_that_is_named() -> None:
    assert trace(without_job(), None, None, OWN) == EvidenceOrigin(OWN.run, PLAN, OWN.spec.gates)


@pytest.mark.parametrize(
    ("changes", "evidence", "reason"),
    [
        pytest.param(None, {}, "PlanLost", id="no plan in the store"),
        pytest.param({}, {"run": "mnist-other"}, "OtherRun", id="plan of another run"),
        pytest.param({"occurrence": ""}, {"run": make_plan().run}, "RunOfJob", id="a job's run"),
        pytest.param({"namespace": "others"}, {}, "OtherNamespace", id="of another team"),
        pytest.param({"namespace": ""}, {}, "OtherNamespace", id="of no namespace"),
        pytest.param(
            {"spec": OWN.spec.model_copy(update={"gates": ()})}, {}, "NoGates", id="no gates"
        ),
    ],
)
def test_run_that_no_job_owns_is_refused(
    changes: dict[str, Any] | None, evidence: dict[str, str], reason: str
) -> None:
    plan = None if changes is None else OWN.model_copy(update=changes)
    found = trace(without_job(**evidence), None, None, plan)
    assert isinstance(found, Refusal)
    assert found.reason == reason


COMPARED = {
    "baseline": {"kind": "Channel"},
    "promotion": {"channel": "production"},
    "baselineModel": make_digest("old"),
}


@pytest.mark.parametrize(
    ("holds", "channel", "refused"),
    [
        ("old", "production", False),
        ("newer", "production", True),
        ("", "production", True),
        ("newer", "staging", False),  # nothing was said of how it compares with that one's model
    ],
)
@pytest.mark.parametrize("of_a_job", [True, False])
def test_what_was_compared_with_a_channel_replaces_that_only(
    holds: str, channel: str, refused: bool, of_a_job: bool
) -> None:
    spec = make_spec(**COMPARED)
    content = spec.model_dump_json(by_alias=True, exclude_none=True)
    job = read_job(of_content(content)) if of_a_job else None
    own = {} if of_a_job else {"job": None, "evidence": OF_A_RUN}
    promotion = make_promotion(from_=holds, channel=channel, **own)
    plan = OWN.model_copy(update={"spec": spec})
    found = trace(promotion, job, snapshot(content), None if of_a_job else plan)
    assert isinstance(found, Refusal) == refused
    assert not isinstance(found, Refusal) or found.reason == "OtherBaseline"


@pytest.mark.parametrize("candidate", [None, {"uri": "file:///models/new.onnx"}])
@pytest.mark.parametrize("of_a_job", [True, False])
def test_model_that_was_only_measured_is_refused(
    candidate: dict[str, Any] | None, of_a_job: bool
) -> None:
    spec = make_spec(recipe={}, **({"candidate": candidate} if candidate else {}))
    content = spec.model_dump_json(by_alias=True, exclude_none=True)
    job = read_job(of_content(content)) if of_a_job else None
    own = {} if of_a_job else {"job": None, "evidence": OF_A_RUN}
    plan = None if of_a_job else OWN.model_copy(update={"spec": spec})
    found = trace(make_promotion(**own), job, snapshot(content), plan)
    assert isinstance(found, Refusal) == (candidate is None)
    assert not isinstance(found, Refusal) or found.reason == "OnlyMeasured"


@dataclass(frozen=True)
class Lost:
    """Existing objects, and the reason why the gates are unknown."""

    name: str
    reason: str
    message: str
    job: dict[str, Any] | None
    snapshot: dict[str, Any] | None
    promotion: Promotion = PROMOTION


LOST = (
    Lost("no job", "JobNotFound", "is gone, and with it the gates", None, snapshot()),
    Lost("namesake", "JobNotFound", "with uid 0123456789abcdef", job_body(uid="f"), snapshot()),
    Lost("no run", "OtherRun", "it has no run", job_body({}), snapshot()),
    Lost(
        "later attempt",
        *("OtherRun", f"did not make evidence of {RUN}: its run is mnist-0123456789ab-2"),
        job_body({**STATUS, "run": {**STATUS["run"], "key": "mnist-0123456789ab-2"}}),
        snapshot(),
    ),
    Lost(
        "run of another job",
        *("OtherRun", "did not make evidence of other-1"),
        job_body(),
        snapshot(),
        make_promotion(evidence={"run": "other-1", "digest": make_digest("e")}),
    ),
    Lost(
        "no plan",
        *("OtherRun", f"its run is {RUN}, plan None"),
        job_body({**STATUS, "run": {"key": RUN, "engine": "process"}}),
        snapshot(),
    ),
    Lost(
        "no snapshot named",
        *("SnapshotLost", "names no snapshot"),
        job_body({"run": STATUS["run"]}),
        snapshot(),
    ),
    Lost("no ConfigMap", "SnapshotLost", "mnist-01234567, .* is gone", job_body(), None),
    Lost("empty ConfigMap", "SnapshotLost", "has no spec.json", job_body(), {}),
    Lost("other gates", "SnapshotChanged", "another content", job_body(), snapshot("{}")),
    Lost("no gates", "SnapshotUnreadable", "cannot be read: ", of_content("{}"), snapshot("{}")),
    Lost("no JSON", "SnapshotUnreadable", "cannot be read: ", of_content("x"), snapshot("x")),
    Lost("rollback", "InvalidSpec", "spec.job and spec.evid", job_body(), None, make_rollback()),
)


@pytest.mark.parametrize("case", LOST, ids=lambda case: case.name)
def test_gates_that_are_not_known(case: Lost) -> None:
    job = read_job(case.job) if case.job is not None else None
    found = trace(case.promotion, job, case.snapshot)
    assert isinstance(found, Refusal)
    assert found.reason == case.reason
    assert re.search(case.message, found.message)
