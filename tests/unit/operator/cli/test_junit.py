"""JUnit XML: any text stays well-formed, and no run without a Pass is shown as one."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from builders.evidence import make_evidence
from builders.plans import make_digest, make_plan
from gate_situations import RUN_SITUATIONS, accuracy_gate
from gate_subjects import make_gate

from fulcrum_operator.cli.junit import to_junit
from fulcrum_operator.cli.printing import RunResult
from fulcrum_operator.controllers.publisher import Published
from fulcrum_operator.resources.compressionjob import Outcome
from fulcrum_pipelines.evidence import Evidence
from fulcrum_pipelines.gates import decide
from fulcrum_pipelines.gates.assessment import Assessment
from fulcrum_pipelines.gates.verdict import Verdict
from fulcrum_pipelines.states import StageState

NASTY = "a<b>&\"'\x00\x1b[31m\x0b\ud800\ufffe]]>\u202ez"
END = Outcome(phase="Failed", reason="StageFailed", message=NASTY, time="2026-11-24T09:00:00Z")


def result_of(verdict: Verdict, evidence: Evidence) -> RunResult:
    """Return the end of a run with `verdict`."""
    assessment = Assessment(
        evidence=evidence,
        verdict=verdict,
        evidence_digest=make_digest("evidence"),
        evidence_uri="evidence.json",
        candidate_digest=make_digest("candidate"),
        candidate_uri="candidate.onnx",
        candidate_bytes=1,
    )
    published = Published(assessment, "report.html", "candidate.onnx")
    return RunResult(make_plan(), END, (), published, "")


def suite_of(text: str) -> Any:
    """Return the one suite of a document that an XML parser reads."""
    (suite,) = ElementTree.fromstring(text.encode())
    assert suite.tag == "testsuite"
    for mark, attribute in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        assert int(suite.get(attribute, "")) == len(list(suite.iter(mark)))
    assert int(suite.get("tests", "")) == len(list(suite.iter("testcase")))
    return suite


@pytest.mark.parametrize("name", RUN_SITUATIONS)
def test_only_a_pass_has_neither_failure_nor_error(name: str) -> None:
    evidence, gates = RUN_SITUATIONS[name]()
    verdict = decide(evidence, gates)
    suite = suite_of(to_junit(result_of(verdict, evidence), "models"))
    blocked = [*suite.iter("failure"), *suite.iter("error")]
    assert (verdict.outcome == "Pass") == (not blocked)
    assert {gate.name for gate in verdict.gates} <= {case.get("name") for case in suite}


def test_any_text_is_well_formed() -> None:
    evidence = make_evidence()
    verdict = decide(evidence, [accuracy_gate(), make_gate("size", name="size", max=0.001)])
    changed = [gate.model_copy(update={"reason": NASTY, "name": NASTY}) for gate in verdict.gates]
    nasty = verdict.model_copy(update={"gates": tuple(changed), "anomalies": (NASTY,)})
    suite = suite_of(to_junit(result_of(nasty, evidence), NASTY))
    texts = [str(each.get("message")) for each in suite.iter() if each.get("message")]
    texts += [str(each.text) for each in suite.iter("system-out")]
    assert len(texts) == 3
    assert all(text.startswith("a<b>&\"'") and text.endswith("z") for text in texts)
    assert not any(character in "".join(texts) for character in "\x1b\x0b\u202e")


@pytest.mark.parametrize("stage_failed", [True, False])
def test_run_without_a_verdict_is_an_error(tmp_path: Path, stage_failed: bool) -> None:
    state = StageState(
        stage="convert",
        state="Failed",
        started_at="2026-11-24T09:00:00Z",
        finished_at="2026-11-24T09:00:02Z",
        message=NASTY,
        failure_class="user",
    )
    states = (state,) if stage_failed else ()
    suite = suite_of(to_junit(RunResult(make_plan(), END, states, None, ""), "models"))
    (error,) = suite.iter("error")
    assert error.get("type") == ("user" if stage_failed else "Failed")
    assert suite.get("time") == ("2.000" if stage_failed else "0.000")


def test_interrupted_run_is_an_error() -> None:
    suite = suite_of(to_junit(RunResult(make_plan(), None, (), None, ""), "models"))
    (error,) = suite.iter("error")
    assert error.get("message") == "it was cancelled"
