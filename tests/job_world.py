"""A minimal cluster without a network for decisions about one job, which tests can crash.

It does what the executor does, effect by effect, so that a test can stop between any two of them
and go on from the stored state. Behaviour of the API server is tested against a real one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from builders.evidence import make_evidence
from builders.plans import make_plan

from fulcrum_operator.controllers.effects import merge_patch
from fulcrum_operator.controllers.report_writer import has_no_report
from fulcrum_operator.lifecycle import Limits, decide
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
from fulcrum_operator.lifecycle.observation import (
    ChannelSeen,
    Job,
    NoReport,
    Observed,
    PromotionSeen,
    Refusal,
    Report,
    Resolution,
    Snapshot,
    read_job,
)
from fulcrum_operator.resources.names import API_VERSION, RUN_FINALIZER
from fulcrum_operator.resources.times import write_time
from fulcrum_pipelines.contract import ResolvedSpec, canonical_json, digest_of
from fulcrum_pipelines.gates import Verdict
from fulcrum_pipelines.gates.assessment import Assessment, NoAssessment
from fulcrum_pipelines.gates.verdict import Outcome
from fulcrum_pipelines.states import RunHandle, RunStatus

UID = "0a1b2c3d-4e5f-6789-abcd-ef0123456789"
START = datetime(2026, 11, 25, 9, 0, tzinfo=UTC)
LIMITS = Limits(version="0.1", poll_s=2.0, cancel_limit_s=60.0, engine_silence_s=300.0)
DIGEST = "sha256:" + "c" * 64
SPEC = make_plan().spec


class StaleError(Exception):
    """The job was written since it was read."""


def job_body(status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """Return a CompressionJob as the API server gives it; `spec` fields replace the default's."""
    fields = SPEC.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return {
        "apiVersion": API_VERSION,
        "kind": "CompressionJob",
        "metadata": {
            "name": "mnist",
            "namespace": "team",
            "uid": UID,
            "generation": 1,
            "resourceVersion": "1",
            "creationTimestamp": write_time(START),
        },
        "spec": {name: value for name, value in {**fields, **spec}.items() if value is not None},
        "status": status or {},
    }


def make_verdict(outcome: Outcome) -> Verdict:
    """Return a verdict without gates, as far as a job's life depends on one."""
    return Verdict(
        outcome=outcome,
        reasons=(f"accuracy: {outcome}",),
        gates=(),
        rules="test",
        run="run",
        evidence=DIGEST,
        policy=DIGEST,
        candidate_model=DIGEST,
    )


@cache  # it is frozen, and building evidence takes most of a step's time
def make_assessment(outcome: Outcome) -> Assessment:
    """Return what the gates say of some evidence."""
    return Assessment(
        evidence=make_evidence(),
        verdict=make_verdict(outcome),
        evidence_digest=DIGEST,
        evidence_uri="file:///store/evidence.json",
        candidate_digest=DIGEST,
        candidate_uri="file:///store/candidate.onnx",
        candidate_bytes=1000,
    )


@dataclass
class World:
    """One job and all that it meets.

    Attributes:
        body: The job.
        outcomes: How the run of each attempt ends; the last counts for all further ones.
        verdict: What the gates say of a run that succeeds; None if evidence is unreadable.
        report: What becomes of the report.
        promotes: What becomes of a promotion.
        why: The reason that it gives.
        channel: Whether the channel is there.
    """

    body: dict[str, Any]
    outcomes: tuple[RunStatus, ...] = (RunStatus("Succeeded"),)
    verdict: Outcome | None = "Pass"
    report: Report | NoReport = Report("file:///store/report.html")  # noqa: RUF009 (frozen)
    promotes: str = "Promoted"
    why: str = ""
    channel: bool = True
    resolution: Resolution | Refusal = field(
        default_factory=lambda: Resolution(ResolvedSpec.model_validate(SPEC.model_dump()))
    )
    now: datetime = START
    exists: bool = True
    snapshot: Snapshot | None = None
    runs: dict[str, RunStatus] = field(default_factory=dict)
    submitted: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    promotions: dict[str, PromotionSeen] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    announced: list[str] = field(default_factory=list)
    written: list[dict[str, Any]] = field(default_factory=list)
    engine_error: str = ""
    submit_error: str = ""
    slot: bool = True

    @property
    def status(self) -> dict[str, Any]:
        """The job's status as it is written."""
        return self.body["status"]

    @property
    def job(self) -> Job:
        """The job, parsed."""
        return read_job(self.body)

    def observe(self) -> Observed:
        """Return all objects; more than a decision needs does no harm."""
        job = self.job
        key = job.status.run.key if job.status.run else ""
        runs = (RunHandle(key, f"at-{key}"),) if key in self.runs and not self.engine_error else ()
        promotion = next(iter(self.promotions.values()), None)
        return Observed(
            job,
            resolution=None if job.status.snapshot else self.resolution,
            snapshot=self.snapshot,
            runs=runs,
            run=self.runs[key] if runs else None,
            assessment=self._assessment(key) if runs else None,
            report=self.report if has_no_report(job.status) else None,
            promotion=promotion,
            channel=ChannelSeen("") if self.channel else None,
            slot=self.slot,
            engine_error=self.engine_error,
            submit_error=self.submit_error,
        )

    def _assessment(self, key: str) -> Assessment | NoAssessment | None:
        if self.runs[key].state != "Succeeded":
            return None
        if self.verdict is None:
            return NoAssessment("the evidence is corrupt", "infrastructure")
        return make_assessment(self.verdict)

    def step(self, seen: Observed | None = None, crash_after: int | None = None) -> float | None:
        """Decide and act once, from `seen` or from how it is now.

        Args:
            seen: An older observation.
            crash_after: Stop after so many effects.

        Returns:
            Seconds until the next look; None if only an event can change anything.
        """
        seen = seen or self.observe()
        decision = decide(seen, self.now, LIMITS)
        version = seen.job.resource_version
        for number, action in enumerate(decision.actions):
            if number == crash_after:
                return 0.0
            try:
                version = self._do(action, version)
            except StaleError:
                return 0.0
        return 0.0 if decision.actions and decision.after_s is None else decision.after_s

    def settle(self, steps: int = 60) -> None:
        """Let time pass and act until nothing is left to do."""
        for _ in range(steps):
            after_s = self.step()
            if after_s is None or not self.exists:
                return
            self.finish_runs()
            self.now += timedelta(seconds=max(after_s, 0.1))
        raise AssertionError(f"the job does not come to rest: {self.status}")

    def finish_runs(self) -> None:
        """Let runs that are going end as they are to end."""
        for number, (key, run) in enumerate(self.runs.items()):
            if not run.finished:
                self.runs[key] = self.outcomes[min(number, len(self.outcomes) - 1)]
        for name, seen in self.promotions.items():
            if seen.phase == "Pending":
                self.promotions[name] = PromotionSeen(name, self.promotes, self.why, "because", "x")

    def _write(self, version: str, patch: dict[str, Any]) -> str:
        if version != self.body["metadata"]["resourceVersion"]:
            raise StaleError
        self.body = merged(self.body, patch)
        self.body["metadata"]["resourceVersion"] = str(int(version) + 1)
        return str(int(version) + 1)

    def _do(self, action: Action, version: str) -> str:
        finalizers = list(self.body["metadata"].get("finalizers", []))
        match action:
            case WriteStatus():
                new = action.status.model_dump(mode="json", by_alias=True, exclude_defaults=True)
                version = self._write(version, {"status": merge_patch(self.status, new)})
                self.written.append(json.loads(json.dumps(self.status)))
            case AddFinalizer():
                held = {"metadata": {"finalizers": [*finalizers, RUN_FINALIZER]}}
                version = self._write(version, held)
            case RemoveFinalizer():
                version = self._write(version, {"metadata": {"finalizers": []}})
                self.exists = "deletionTimestamp" not in self.body["metadata"]
            case CreateSnapshot():
                if self.snapshot is None:
                    content = action.spec.model_dump(mode="json", by_alias=True)
                    digest = digest_of(canonical_json(content))
                    self.snapshot = Snapshot(action.spec, digest, action.sources)
            case Submit() | Cancel() | SetDeadline() if (
                version != self.body["metadata"]["resourceVersion"]
            ):
                raise StaleError
            case Submit() if self.submit_error:
                raise StaleError  # any error ends it here
            case Submit():
                if action.plan.run not in self.runs:  # engines start one run a key
                    self.submitted.append(action.plan.run)
                    self.runs[action.plan.run] = RunStatus("Running")
            case Cancel():
                self.cancelled.append(action.handle.key)
                if not self.runs[action.handle.key].finished:
                    self.runs[action.handle.key] = RunStatus("Cancelled", "Cancelled", "it was")
            case SetDeadline():
                key = action.handle.key
                self.runs[key] = replace(self.runs[key], deadline_s=action.seconds)
            case CreatePromotion():
                if action.name not in self.promotions:
                    self.asked.append(action.name)
                    self.promotions[action.name] = PromotionSeen(
                        action.name, "Pending", "", "", "x"
                    )
            case DeleteJob():
                self.exists = False
            case Announce():
                self.announced.append(action.reason)
        return version

    def delete(self) -> None:
        """Ask for the deletion of the job."""
        self.body["metadata"]["deletionTimestamp"] = write_time(self.now)
        version = self.body["metadata"]["resourceVersion"]
        self.body["metadata"]["resourceVersion"] = str(int(version) + 1)
        self.exists = bool(self.body["metadata"].get("finalizers"))

    def change(self, **spec: Any) -> None:
        """Edit the specification as a user would."""
        self.body["metadata"]["generation"] += 1
        self._write(self.body["metadata"]["resourceVersion"], {"spec": spec})


def merged(old: Any, patch: dict[str, Any]) -> dict[str, Any]:
    """Apply a JSON merge patch (RFC 7386)."""
    result = dict(old) if isinstance(old, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            result[name] = merged(result.get(name), value)
        else:
            result[name] = value
    return result
