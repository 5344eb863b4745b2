"""Names with control characters reach neither terminal nor report: people see escapes instead."""

from __future__ import annotations

import ast
import io
import json
import logging
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import yaml
from builders.details import make_quantize, make_validate
from builders.evidence import make_evidence, make_stage
from builders.figures import make_comparison, make_fidelity, make_metric
from manifest_tables.job import GOOD
from rich.console import Console
from typer.testing import CliRunner

import fulcrum_operator.cli
from fulcrum_operator.cli.displays import Display
from fulcrum_operator.cli.displays.live import LiveDisplay
from fulcrum_operator.cli.displays.plain import PlainDisplay
from fulcrum_operator.cli.displays.silent import SilentDisplay
from fulcrum_operator.cli.main import app, main
from fulcrum_operator.cli.terminal import print_result
from fulcrum_operator.logs import TextFormatter
from fulcrum_pipelines.errors import InfrastructureError, UserError
from fulcrum_pipelines.evidence import (
    ConfusionMatrix,
    Evidence,
    Overlap,
    UnquantizedNode,
)
from fulcrum_pipelines.gates import decide
from fulcrum_pipelines.gates.verdict import SliceResult
from fulcrum_pipelines.report import render
from fulcrum_pipelines.resources.compressionjob import Gate
from fulcrum_pipelines.runner.exit_codes import LastWords, last_words
from fulcrum_pipelines.states import StageState

HOSTILE = {
    "clears the screen": "cat\x1b[2J",
    "sets the title": "cat\x1b]0;owned\x07",
    "colour by one character": "cat\x9b31m",
    "writes over the line": "cat\rPass",
    "goes back": "cat\b\b\bdog",
    "right to left": "cat\u202egod",
    "isolated": "cat\u2066dog",
    "right-to-left mark": "cat\u200fdog",
    "another end of line": "cat\u2028dog",
    "invisible": "cat\u200bdog",
}
LINES = {"a line of its own": "cat\ndog", "a line over another": "cat\r\ndog"}
"""A page has lines of its own; in messages and names each would look like one of Fulcrum's."""
IN_PAGES = pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
HOSTILE_IN_LINES = HOSTILE | LINES
NAMES = pytest.mark.parametrize("name", HOSTILE_IN_LINES.values(), ids=HOSTILE_IN_LINES)
HARMLESS = frozenset("\n\u00a0")


def control_characters(text: str) -> set[str]:
    """Return the characters of `text` that move, paint or reorder."""
    return {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp")} - HARMLESS


def evidence_of(name: str) -> Evidence:
    """Return evidence in which all that users name has `name`."""
    matrix = ConfusionMatrix(labels=(name, "dog"), counts=((90, 10), (10, 90)))
    whole, part = make_comparison(), make_comparison(slice=f"class={name}")
    validate = make_validate(
        comparisons=(whole, part),
        metrics_baseline=(make_metric(), make_metric(slice=f"class={name}")),
        confusion_baseline=matrix,
        confusion_candidate=matrix,
        output_names=("logits", name),
        fidelity=(make_fidelity(output=name),),
        overlaps=(Overlap(other=name, examples=3),),
    )
    nodes = (UnquantizedNode(name=name, op_type=name, reason=name),)
    quantize = make_stage("quantize", details=make_quantize(unquantized=nodes), warnings=(name,))
    return make_evidence(records=(quantize, make_stage(details=validate)))


@IN_PAGES
def test_report_shows_escapes(name: str) -> None:
    evidence = evidence_of(name)
    page = render(evidence, decide(evidence, GATES), title=name)
    assert control_characters(page) == set()
    assert name.encode("unicode_escape").decode() in page
    assert page.count("cat") > 5  # each place shows the name in some way


GATES = (Gate(name="accuracy", kind="nonInferiority", metric="accuracy", margin=0.01),)


@NAMES
@pytest.mark.parametrize("width", [40, 100])
def test_result_in_a_terminal_shows_escapes(name: str, width: int) -> None:
    output, evidence = io.StringIO(), evidence_of(name)
    console = Console(file=output, width=width, color_system=None)
    print_result(console, evidence, decide(evidence, GATES), report_path=name)
    assert "Report: " + name.encode("unicode_escape").decode() in output.getvalue()
    assert control_characters(output.getvalue()) == set()


@NAMES
@pytest.mark.parametrize("kind", ["plain", "silent", "live"])
def test_notes_show_escapes(name: str, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    output = io.StringIO()
    displays: dict[str, Display] = {
        "plain": PlainDisplay(output),
        "silent": SilentDisplay(),
        "live": LiveDisplay(Console(file=output, width=200, color_system=None)),
    }
    displays[kind].note(name)
    assert (output.getvalue() or capsys.readouterr().err) == (
        name.encode("unicode_escape").decode() + "\n"
    )


def called(*arguments: object) -> str:
    """Return what a command prints."""
    return CliRunner().invoke(app, [str(each) for each in arguments], color=True).output


@NAMES
def test_problems_of_a_manifest_are_one_line_each(name: str, tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    wrong: dict[str, Any] = {"data": {**GOOD["spec"]["data"], "task": name}, name: name}
    labels = {"name": "mnist", "labels": {name: name}}
    path.write_text(yaml.safe_dump(GOOD | {"metadata": labels, "spec": GOOD["spec"] | wrong}))

    text = called("validate", path)
    assert control_characters(text) == set()
    lines = text.splitlines()
    assert len(lines) == 4
    assert all(line.startswith(f"{path}: ") for line in lines)

    shown = called("validate", path, "--output", "json")
    assert control_characters(shown) == set()
    assert f"spec.{name}" in {each["path"] for each in json.loads(shown)[str(path)]}

    assert control_characters(called("run", path)) == set()


@pytest.mark.parametrize("name", LINES.values(), ids=LINES)
def test_missing_files_are_one_line_each(name: str, tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(
        yaml.safe_dump(GOOD | {"spec": GOOD["spec"] | {"model": {"uri": f"file:///no/{name}"}}})
    )
    lines = called("run", path).splitlines()
    assert any("no file or directory '/no/cat" in line for line in lines)
    assert all(line.startswith("error: ") for line in lines)


@pytest.mark.parametrize("name", LINES.values(), ids=LINES)
def test_messages_and_reasons_are_one_line_each(name: str) -> None:
    error = InfrastructureError(f"cannot open '{name}'; try again", where=name)
    state = StageState(
        stage="prune", state="Failed", started_at="", message=name, last_lines=(name,)
    )
    words = last_words(LastWords("user", "Failed", name).as_text())
    assert words is not None
    result = SliceResult(slice="all", verdict="Fail", reason=name)
    record = logging.LogRecord("fulcrum", logging.INFO, "", 1, "read %s", (name,), None)
    texts = [
        *(str(error), error.message, error.where, state.message, *state.last_lines),
        *(words.message, result.reason, TextFormatter().format(record)),
    ]
    assert [text for text in texts if len(text.splitlines()) != 1] == []
    assert all("cat" in text and "dog" in text for text in texts)


@NAMES
def test_gate_shows_escapes(name: str, tmp_path: Path) -> None:
    results, policy = tmp_path / "evidence.json", tmp_path / "gates.yaml"
    results.write_text(evidence_of(name).model_dump_json())
    gate = {"name": "acc", "kind": "nonInferiority", "metric": "accuracy", "margin": 0.01}
    policy.write_text(yaml.safe_dump({"gates": [gate | {"slices": [{"by": "class"}]}]}))
    for form in ("text", "json"):
        shown = called("gate", results, "--policy", policy, "--output", form)
        assert "also in cat" in shown
        assert control_characters(shown) == set()
        assert not any(line.lstrip().startswith("dog") for line in shown.splitlines())


@NAMES
@pytest.mark.parametrize("failure", [UserError, RuntimeError])
def test_errors_show_escapes(
    name: str,
    failure: type[Exception],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fails() -> None:
        raise failure(name)

    monkeypatch.setattr("fulcrum_operator.cli.main.app", fails)
    with pytest.raises(SystemExit):
        main()
    shown = capsys.readouterr().err
    assert name.encode("unicode_escape").decode() in shown
    assert control_characters(shown) == set()


def test_commands_print_in_one_way() -> None:
    """What a command prints in another way is not made harmless."""
    folder = Path(fulcrum_operator.cli.__file__).parent
    found = {
        f"{path.relative_to(folder)}:{call.lineno}"
        for path in folder.rglob("*.py")
        if path.name != "saying.py"
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and ast.unparse(call.func) in ("print", "typer.echo")
    }
    assert found == set()
