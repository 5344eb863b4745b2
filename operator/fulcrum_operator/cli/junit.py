"""The result of a run as JUnit XML, which CI systems show test by test: one test case a gate."""

from __future__ import annotations

from typing import Literal
from xml.etree import ElementTree

from fulcrum_operator.cli.displays import elapsed_s
from fulcrum_operator.cli.printing import RunResult
from fulcrum_pipelines.gates import GateResult, Verdict
from fulcrum_pipelines.runner.results import failed_stage
from fulcrum_pipelines.texts import printable

Mark = Literal["failure", "error", "skipped"]
"""Elements by which JUnit says that a test case did not pass."""

MARKS: dict[str, Mark] = {"Fail": "failure", "Inconclusive": "failure", "Anomalous": "error"}
COUNTED: dict[Mark, str] = {"failure": "failures", "error": "errors", "skipped": "skipped"}


def to_junit(result: RunResult, name: str) -> str:
    """Return the XML document of one suite.

    A gate that does not pass is a failure, or an error if it is anomalous. One of mode DryRun is
    skipped then, since it does not count. What is wrong with the whole run is a test case too, so
    that no run without a Pass is shown as one.

    Args:
        result: How the run ended.
        name: Of the suite.
    """
    if result.published is None:
        failed = failed_stage(result.states)
        kind = failed.failure_class if failed is not None and failed.failure_class else "Failed"
        return refusal_to_junit(failed.message if failed else result.reason, name, kind, result)
    suite = ElementTree.Element("testsuite", name=printable(name))
    _add_verdict(suite, result.published.verdict)
    return _document(suite, result)


def refusal_to_junit(why: str, name: str, kind: str, result: RunResult | None = None) -> str:
    """Return the XML document of a suite without a verdict.

    Args:
        why: The reason.
        name: Of the suite.
        kind: Class of the failure.
        result: How the run ended; None if nothing was run.
    """
    suite = ElementTree.Element("testsuite", name=printable(name))
    _case(suite, "run", "fulcrum", "error", kind, why)
    return _document(suite, result)


def _document(suite: ElementTree.Element, result: RunResult | None) -> str:
    suite.set("tests", str(len(suite)))
    for mark, attribute in COUNTED.items():
        suite.set(attribute, str(len(suite.findall(f"testcase/{mark}"))))
    seconds = sum(map(elapsed_s, () if result is None else result.states))
    suite.set("time", f"{seconds:.3f}")
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True)


def _add_verdict(suite: ElementTree.Element, verdict: Verdict) -> None:
    for gate in verdict.gates:
        _add_gate(suite, gate)
    for anomaly in verdict.anomalies:
        _case(suite, "evidence", "fulcrum", "error", "Anomalous", anomaly)
    blocked = suite.findall("testcase/failure") + suite.findall("testcase/error")
    if verdict.outcome != "Pass" and not blocked:
        mark, why = MARKS[verdict.outcome], "; ".join(verdict.reasons)
        _case(suite, "verdict", "fulcrum", mark, verdict.outcome, why)


def _add_gate(suite: ElementTree.Element, gate: GateResult) -> None:
    mark = MARKS.get(gate.verdict)
    if mark is not None and gate.mode == "DryRun":
        mark = "skipped"
    _case(suite, gate.name, f"fulcrum.{gate.kind}", mark, gate.verdict, gate.reason)


def _case(
    suite: ElementTree.Element, name: str, group: str, mark: Mark | None, kind: str, text: str
) -> None:
    """Add a test case; without a mark it passed, and `text` is its output."""
    case = ElementTree.SubElement(suite, "testcase", name=printable(name), classname=group)
    if mark is None:
        ElementTree.SubElement(case, "system-out").text = printable(text)
    else:
        ElementTree.SubElement(case, mark, type=kind, message=printable(text))
