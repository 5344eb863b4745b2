"""Kind fidelity, and the gate that stands in where none is declared."""

from __future__ import annotations

from typing import Any

import pytest
from builders.details import make_validate
from builders.figures import make_fidelity, make_interval
from gate_situations import accuracy_gate
from gate_subjects import GOOD, make_gate, with_details

from fulcrum_pipelines.evidence import Evidence, OutputFidelity
from fulcrum_pipelines.fidelity_limits import MAX_RELATIVE_ERROR, MIN_AGREEMENT
from fulcrum_pipelines.gates import Verdict, decide
from fulcrum_pipelines.resources.compressionjob import Gate

WHOLE = {"relative_error": None, "relative_error_interval": None, "kind": "int64"}
NO_ANSWER = {"answer": "", "agreement": None, "agreement_interval": None}


def decided(*records: OutputFidelity, gates: tuple[Gate, ...] = (), **changes: Any) -> Verdict:
    """Return the verdict over outputs logits and those of `records`."""
    names = ("logits", *dict.fromkeys(record.output for record in records))
    details = make_validate(**{"output_names": names, "fidelity": records} | changes)
    return decide(with_details(details), [accuracy_gate(), *gates])


def gate(output: str = "embedding", **limits: Any) -> Gate:
    return make_gate("fidelity", name="kept", output=output, **limits)


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        pytest.param({"error": 0.01}, "Pass", id="eight-bit-noise"),
        pytest.param({"error": MAX_RELATIVE_ERROR}, "Inconclusive", id="at-the-limit"),
        pytest.param({"error": 0.101, "half_width": 0.002}, "Fail", id="few-negative-values-lost"),
        pytest.param({"error": 0.9}, "Fail", id="all-negative-values-lost"),
        pytest.param(
            {"agreement": 0.83, "agreement_interval": make_interval(0.76, 0.88)},
            "Fail",
            id="agreement-83-percent",
        ),
        pytest.param(
            {"agreement": MIN_AGREEMENT, "agreement_interval": make_interval(0.85, 0.94)},
            "Inconclusive",
            id="agreement-at-the-limit",
        ),
        pytest.param(WHOLE, "Pass", id="whole-numbers"),
        pytest.param(NO_ANSWER, "Pass", id="hidden-states"),
        pytest.param({**WHOLE, **NO_ANSWER}, "Inconclusive", id="no-figure-at-all"),
        pytest.param({"agreement_interval": None}, "Inconclusive", id="no-interval"),
        pytest.param({"agreement": 1.2}, "Anomalous", id="no-share"),
        pytest.param({"not_finite": -1}, "Anomalous", id="negative-count"),
        pytest.param(
            {"relative_error_interval": make_interval(0.03, 0.04)}, "Anomalous", id="outside"
        ),
        pytest.param({"groups": 12}, "Inconclusive", id="few-groups"),
    ],
)
def test_default_limits(changes: dict[str, Any], outcome: str) -> None:
    found = decided(make_fidelity(**changes))
    assert found.outcome == outcome, found.reasons
    assert [each.name for each in found.gates] == ["under-test", "other-outputs"]


def test_every_output_counts() -> None:
    found = decided(make_fidelity("a"), make_fidelity("b", error=0.5), make_fidelity("c"))
    assert found.outcome == "Fail"
    assert "output 'b'" in found.reasons[0]
    assert len(found.gates[-1].slices) == 6


def test_output_without_a_record_among_others_is_inconclusive() -> None:
    found = decided(make_fidelity("a"), output_names=("logits", "a", "b"))
    assert found.outcome == "Inconclusive"
    assert "no comparison of output 'b'" in found.reasons[0]


@pytest.mark.parametrize(
    ("limits", "outcome"),
    [
        pytest.param({"max": 0.4}, "Pass", id="error"),
        pytest.param({"max": 0.2}, "Fail", id="error-too-large"),
        pytest.param({"min": 0.9}, "Pass", id="agreement-alone"),
        pytest.param({"min": 0.999}, "Fail", id="agreement-too-small"),
        pytest.param({"max": 0.4, "min": 0.999}, "Fail", id="both-must-be-kept"),
        pytest.param({"max": 0.4, "confidence": 0.99}, "Inconclusive", id="another-confidence"),
    ],
)
def test_declared_gate_replaces_the_default_one(limits: dict[str, Any], outcome: str) -> None:
    found = decided(make_fidelity(error=0.3), gates=(gate(**limits),))
    assert found.outcome == outcome, found.reasons
    assert [each.name for each in found.gates] == ["under-test", "kept"]


def test_declared_gate_finds_its_confidence() -> None:
    wide = make_interval(0.01, 0.06, level=0.99)
    records = (make_fidelity(), make_fidelity(relative_error_interval=wide))
    found = decided(*records, gates=(gate(max=0.05, confidence=0.99),))
    assert found.outcome == "Inconclusive"
    assert found.gates[-1].interval == wide


def test_contradicting_records_are_anomalous() -> None:
    assert decided(make_fidelity(), make_fidelity(error=0.03)).outcome == "Anomalous"


@pytest.mark.parametrize("limits", [{"max": 0.1}, {"min": 0.9}])
def test_figure_that_an_output_lacks_is_inconclusive(limits: dict[str, Any]) -> None:
    lacking = WHOLE if "max" in limits else NO_ANSWER
    found = decided(make_fidelity(**lacking), gates=(gate(**limits),))
    assert found.outcome == "Inconclusive"
    assert "use the other of max and min" in found.reasons[0]


def test_default_gate_takes_a_name_that_is_free() -> None:
    named = accuracy_gate(name="other-outputs")
    details = make_validate(output_names=("logits", "embedding"), fidelity=(make_fidelity(),))
    names = [each.name for each in decide(with_details(details), [named]).gates]
    assert len(set(names)) == 2


def test_evidence_of_before_still_loads_and_does_not_pass() -> None:
    raw = GOOD.model_dump(mode="json")
    for field in ("output_names", "ignored_outputs", "fidelity"):
        del raw["stages"][-1]["details"][field]
    found = decide(Evidence.model_validate(raw), [accuracy_gate()])
    assert found.outcome == "Inconclusive"
    assert "run the job again" in found.reasons[0]
