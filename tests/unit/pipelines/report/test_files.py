"""A report made again from the files of a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders.evidence import make_evidence, make_stage
from typer.testing import CliRunner

from fulcrum_operator.cli.main import app
from fulcrum_pipelines.contract import Plan, ResolvedSpec, digest_of, to_json
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.evidence import Evidence
from fulcrum_pipelines.report.files import write_report

SPEC = {
    "model": {"uri": "model.onnx"},
    "data": {"task": "classification", "test": {"uri": "test.npz"}},
    "recipe": {"quantize": {}},
    "gates": [{"name": "size", "kind": "size", "max": 0.125}],
}


@pytest.fixture
def plan() -> Plan:
    spec = ResolvedSpec.model_validate(SPEC)
    return Plan(name="digits", uid="0123456789ab", spec=spec, fulcrum_version="0.1.0")


@pytest.fixture
def run_folder(tmp_path: Path, plan: Plan) -> Path:
    evidence = make_evidence(plan=digest_of(to_json(plan)))
    (tmp_path / "evidence.json").write_bytes(to_json(evidence))
    (tmp_path / "plan.json").write_bytes(to_json(plan))
    return tmp_path


def test_the_verdict_is_decided_from_the_plans_gates(run_folder: Path) -> None:
    target = write_report(run_folder)
    page = target.read_text(encoding="utf-8")
    assert target == run_folder / "report.html"
    assert "digits" in page
    assert "size" in page
    assert "No verdict" not in page


def test_evidence_alone_has_no_verdict(tmp_path: Path) -> None:
    source = tmp_path / "evidence.json"
    source.write_bytes(to_json(make_evidence()))
    page = write_report(source, tmp_path / "out.html").read_text(encoding="utf-8")
    assert "No verdict" in page


def test_a_run_that_did_not_end_shows_the_stages_that_did(tmp_path: Path) -> None:
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "evaluate.json").write_bytes(to_json(make_stage("evaluate")))
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert "Validate left no evidence." in page


def test_evidence_of_another_plan_is_refused(run_folder: Path, plan: Plan) -> None:
    other = plan.model_copy(update={"name": "other"})
    (run_folder / "plan.json").write_bytes(to_json(other))
    with pytest.raises(UserError, match=r"plan\.json: is not the plan sha256:"):
        write_report(run_folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a valid Evidence record: Invalid JSON"),
        (b"{}", "is not a valid Evidence record: run: Field required"),
        (b'{"run": "x", "plan": "md5:1", "stages": []}', "plan: String should match"),
        (b"\xff\xfe\x00", "is not a valid Evidence record"),
    ],
)
def test_what_is_no_evidence_is_one_clear_error(
    tmp_path: Path, content: bytes, message: str
) -> None:
    source = tmp_path / "evidence.json"
    source.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        write_report(source)
    assert str(source) in str(caught.value)


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    text = make_evidence().model_dump_json().replace('"seconds":3.8', '"seconds":NaN')
    source = tmp_path / "evidence.json"
    source.write_text(text)
    with pytest.raises(UserError, match="seconds"):
        write_report(source)


def test_an_empty_folder_says_what_it_should_hold(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds neither evidence\.json nor stages"):
        write_report(tmp_path)


def test_a_target_that_cannot_be_written(run_folder: Path) -> None:
    with pytest.raises(UserError, match="cannot write the report"):
        write_report(run_folder, run_folder / "no such folder" / "report.html")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        write_report(tmp_path / "evidence.json")


def test_evidence_survives_json(run_folder: Path) -> None:
    read = Evidence.model_validate_json((run_folder / "evidence.json").read_bytes())
    assert read.stage("validate") == make_evidence().stage("validate")


def test_the_command_prints_where_the_report_is(run_folder: Path) -> None:
    target = run_folder / "mine.html"
    outcome = CliRunner().invoke(app, ["report", str(run_folder), "-o", str(target)])
    assert outcome.exit_code == 0
    assert outcome.stdout.strip() == str(target)
    assert target.exists()
