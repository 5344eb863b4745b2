"""`fulcrum validate` and `fulcrum gate` as a user calls them."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from builders.evidence import make_evidence
from builders.figures import make_comparison
from gate_subjects import GOOD_DETAILS, with_details
from typer.testing import CliRunner, Result

from fulcrum_operator.cli.main import app, main
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.gates import Verdict

EXAMPLE = Path(__file__).parents[4] / "examples" / "mnist" / "job.yaml"


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments])


@pytest.fixture
def evidence(tmp_path: Path) -> Path:
    path = tmp_path / "evidence.json"
    path.write_text(make_evidence().model_dump_json())
    return path


def policy(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "gates.yaml"
    path.write_text(text)
    return path


def test_valid_manifests() -> None:
    second = EXAMPLE.parents[1] / "digits" / "job.yaml"
    result = call("validate", EXAMPLE, second)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [f"{EXAMPLE}: valid", f"{second}: valid"]


def test_problems_go_to_standard_error_with_file_and_field(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(EXAMPLE.read_text().replace("sparsity: 0.5", "sparsity: 1.5"))
    result = call("validate", EXAMPLE, bad)
    assert result.exit_code == 2
    assert (
        f"{bad}: spec.recipe.prune.structured.sparsity: must not be 1.5 "
        "(allowed: a number above 0 and below 1)"
    ) in result.stderr
    assert f"{EXAMPLE}: valid" in result.stdout


def test_changes_that_are_not_allowed(tmp_path: Path) -> None:
    new = tmp_path / "new.yaml"
    new.write_text(EXAMPLE.read_text().replace("sparsity: 0.5", "sparsity: 0.4"))
    result = call("validate", new, "--against", EXAMPLE)
    assert result.exit_code == 2
    assert f"{new}: spec.recipe: is immutable" in result.stderr
    assert call("validate", EXAMPLE, "--against", EXAMPLE).exit_code == 0


def test_problems_as_json(tmp_path: Path) -> None:
    missing = tmp_path / "none.yaml"
    result = call("validate", missing, "--output", "json")
    assert result.exit_code == 2
    (problem,) = json.loads(result.stdout)[str(missing)]
    assert problem["message"] == "cannot be read: no such file or directory"


@pytest.mark.parametrize(
    ("gates", "exit_code", "outcome"),
    [
        ("{name: a, kind: nonInferiority, metric: accuracy, margin: 0.01}", 0, "Pass"),
        ("{name: a, kind: size, max: 0.01}", 3, "Fail"),
        ("{name: a, kind: nonInferiority, metric: accuracy, margin: 0.001}", 4, "Inconclusive"),
        ("{name: a, kind: size, max: 0.01, mode: DryRun}", 4, "Inconclusive"),
        ("", 4, "Inconclusive"),
    ],
)
def test_gate_decides_again(
    gates: str, exit_code: int, outcome: str, evidence: Path, tmp_path: Path
) -> None:
    path = policy(tmp_path, f"gates: [{gates}]")
    result = call("gate", evidence, "--policy", path)
    assert result.exit_code == exit_code
    assert result.stdout.startswith(outcome)
    as_json = call("gate", evidence, "--policy", path, "--output", "json")
    assert as_json.exit_code == exit_code
    assert Verdict.model_validate_json(as_json.stdout).outcome == outcome


def test_altered_evidence_is_anomalous(tmp_path: Path) -> None:
    altered = make_comparison(delta=0.02)
    details = GOOD_DETAILS.model_copy(update={"comparisons": (altered,)})
    path = tmp_path / "evidence.json"
    path.write_text(with_details(details).model_dump_json())
    gates = policy(
        tmp_path, "gates: [{name: a, kind: nonInferiority, metric: accuracy, margin: 0.01}]"
    )
    result = call("gate", path, "--policy", gates)
    assert result.exit_code == 4
    assert "altered evidence" in result.stdout


@pytest.mark.parametrize("text", ["", "{}", "not json", '{"schema_version": "other"}', "[1, NaN]"])
def test_what_is_no_evidence_is_an_error_of_the_user(text: str, tmp_path: Path) -> None:
    path = tmp_path / "evidence.json"
    path.write_text(text)
    gates = policy(tmp_path, "gates: []")
    result = call("gate", path, "--policy", gates)
    assert isinstance(result.exception, UserError)


@pytest.mark.parametrize(
    "url",
    [
        "s3://",
        "s3://key:secret-word@bucket/runs/x",
        "nosuch://bucket/runs/x",
        "github://owner/repository",
        "zip://x::file://{tmp}/evidence.json",
        "file://{tmp}",
        "file://{tmp}/",
        "file://{tmp}/evidence.json/",
        "file://{tmp}/nothing/evidence.json",
        "memory://runs/x",
        "://x",
    ],
)
def test_error_about_a_url_without_evidence_is_one_line(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other.json").touch()
    gates = policy(tmp_path, "gates: []")
    words = ["fulcrum", "gate", url.format(tmp=tmp_path), "--policy", str(gates)]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        main()
    error = capsys.readouterr().err
    assert ended.value.code in (1, 2)
    assert error.startswith("error: ")
    assert len(error.splitlines()) == 1
    assert "defect" not in error
    assert "secret-word" not in error


def run_and_list_modules(*arguments: str) -> tuple[set[str], float]:
    """Return the modules that a call loads, and the processor time that it takes."""
    code = (
        "import sys\n"
        "from fulcrum_operator.cli.main import app\n"
        "try: app(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print('\\n' + ' '.join(sys.modules))\n"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return set(done.stdout.splitlines()[-1].split()), spent_s


@pytest.mark.parametrize("arguments", [("--help",), ("validate", str(EXAMPLE))])
def test_the_command_starts_at_once(arguments: tuple[str, ...]) -> None:
    modules, spent_s = run_and_list_modules(*arguments)
    heavy = {"torch", "onnxruntime", "onnx", "numpy", "kfp", "fsspec", "prompt_toolkit"}
    assert not modules & heavy
    # Processor time, since wall time depends on who else is there. 0.45-0.65 s in 10 runs on a
    # loaded AMD EPYC; twice that is a module that should have been imported later.
    assert spent_s < 1.2
