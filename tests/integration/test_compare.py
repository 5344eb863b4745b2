"""`fulcrum compare`, by the command line: what a build reads of two models, and its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
import yaml
from one_process import fulcrum_run, run_in_this_process
from onnx import TensorProto, helper, numpy_helper

from fulcrum_operator.cli import comparing, main
from fulcrum_pipelines.evidence import Evidence, ValidateDetails
from fulcrum_pipelines.storage.store import file_digest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

FEATURES, CLASSES, EXAMPLES = 8, 3, 600
RANDOM = np.random.default_rng(3)
WEIGHT = RANDOM.normal(size=(CLASSES, FEATURES)).astype(np.float32)
NOISE = RANDOM.normal(size=WEIGHT.shape).astype(np.float32)

PASS, FAILED, USAGE, REJECTED, UNDECIDED = 0, 1, 2, 3, 4


def write_linear(
    path: Path, weight: np.ndarray, *, takes: str = "x", gives: str = "scores", last: str = ""
) -> Path:
    """Write a linear classifier as ONNX, with `last` as a further operator over `axis` 1 or 0."""
    kind, _, axis = last.partition(" ")
    nodes = [helper.make_node("Gemm", [takes, "weight"], ["raw" if kind else gives], transB=1)]
    if kind:
        nodes.append(helper.make_node(kind, ["raw"], [gives], axis=int(axis)))
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info(takes, TensorProto.FLOAT, ["n", weight.shape[1]])],
        [helper.make_tensor_value_info(gives, TensorProto.FLOAT, ["n", len(weight)])],
        [numpy_helper.from_array(weight, "weight")],
    )
    opset = helper.make_opsetid("", 20)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=10), path)
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a model and data of which it gets a few wrong."""
    x = RANDOM.normal(size=(EXAMPLES, FEATURES)).astype(np.float32)
    noise = RANDOM.normal(size=(EXAMPLES, CLASSES)) / 4
    y = (x @ WEIGHT.T + noise).argmax(axis=1)
    np.savez(tmp_path / "test.npz", x=x, y=y)
    np.savez(tmp_path / "few.npz", x=x[:20], y=y[:20])
    write_linear(tmp_path / "model.onnx", WEIGHT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@dataclass(frozen=True)
class Said:
    """What the command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found


Compare = Callable[..., Said]


@pytest.fixture
def compare(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Compare:
    """Run `fulcrum compare model.onnx` with its stages in this process."""
    monkeypatch.setattr(comparing, "run_here", run_in_this_process)

    def run(candidate: str, *options: str, data: str = "test.npz") -> Said:
        asked = ["compare", "model.onnx", candidate, "--data", data, *options]
        task = [] if "--task" in options else ["--task", "classification"]
        monkeypatch.setattr(sys, "argv", ["fulcrum", *asked, *task])
        with pytest.raises(SystemExit) as ended:
            main.main()
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        return Said(int(ended.value.code or 0), said.out, said.err)

    return run


@pytest.mark.parametrize("data", ["test.npz", "few.npz"])
def test_equal_files_pass_without_a_difference(compare: Compare, folder: Path, data: str) -> None:
    """Of equal files any number of examples is enough."""
    (folder / "copy.onnx").write_bytes((folder / "model.onnx").read_bytes())

    said = compare("copy.onnx", "--report", "report.html", data=data)

    assert said.code == PASS, said.err
    assert "Pass" in said.out
    assert "Both files hold the same model: there is no difference." in said.out
    assert "fulcrum" in (folder / "report.html").read_text().lower()


def test_worse_candidate_is_rejected_with_the_numbers(compare: Compare, folder: Path) -> None:
    write_linear(folder / "worse.onnx", WEIGHT + NOISE * np.float32(0.7))

    said = compare("worse.onnx", "--output", "json")

    result = said.document
    assert (said.code, result["exit_code"], result["outcome"]) == (REJECTED, REJECTED, "Fail")
    assert result["same_model"] is False
    (gate,) = result["verdict"]["gates"]
    assert gate["verdict"] == "Fail"
    assert gate["value"] < -0.05
    assert gate["interval"]["high"] < -0.01
    evidence = Evidence.model_validate_json(Path(result["evidence"]).read_bytes())
    convert, validate = evidence.stage("convert"), evidence.stage("validate")
    assert convert is not None
    assert validate is not None
    assert isinstance(validate.details, ValidateDetails)
    assert convert.inputs["candidate"] == file_digest(folder / "worse.onnx")
    assert [output.digest for output in convert.outputs] == [validate.details.candidate_model]
    assert [each["stage"] for each in result["stages"]] == ["evaluate", "convert", "validate"]


def test_too_few_examples_are_inconclusive(compare: Compare, folder: Path) -> None:
    write_linear(folder / "close.onnx", WEIGHT + NOISE * np.float32(0.001))

    said = compare("close.onnx", "--margin", "0.02", data="few.npz")

    assert said.code == UNDECIDED
    assert "Inconclusive" in said.out


def test_test_examples_in_training_data_are_anomalous(compare: Compare, folder: Path) -> None:
    write_linear(folder / "close.onnx", WEIGHT + NOISE * np.float32(0.001))

    said = compare("close.onnx", "--train", "few.npz", "--output", "junit")

    assert said.code == UNDECIDED
    suite = ElementTree.fromstring(said.out).find("testsuite")
    assert suite is not None
    errors = {case.get("name"): case.find("error") for case in suite.iter("testcase")}
    assert errors["evidence"] is not None
    assert "20 of 600 test examples are also in train" in str(errors["evidence"].get("message"))
    assert (suite.get("errors"), suite.get("failures")) == ("1", "0")


def test_each_gate_is_a_junit_case(compare: Compare, folder: Path) -> None:
    write_linear(folder / "worse <&>.onnx", WEIGHT + NOISE * np.float32(0.7))
    gates = [
        {"name": "accuracy", "kind": "nonInferiority", "metric": "accuracy", "margin": 0.01},
        {"name": "floor", "kind": "threshold", "metric": "accuracy", "min": 0.5},
        {"name": "smaller", "kind": "size", "max": 0.5, "mode": "DryRun"},
    ]
    (folder / "gates.yaml").write_text(yaml.safe_dump({"gates": gates}))

    said = compare("worse <&>.onnx", "--gates", "gates.yaml", "--output", "junit")

    assert said.code == REJECTED
    suite = ElementTree.fromstring(said.out).find("testsuite")
    assert suite is not None
    assert suite.get("name") == "fulcrum compare: worse <&>.onnx"
    marks = {case.get("name"): [part.tag for part in case] for case in suite.iter("testcase")}
    assert marks == {"accuracy": ["failure"], "floor": ["system-out"], "smaller": ["skipped"]}
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert "points" in str(failure.get("message"))


def test_columns_of_inputs_and_answers_can_be_named(compare: Compare, folder: Path) -> None:
    arrays = np.load(folder / "test.npz")
    np.savez(folder / "named.npz", pixels=arrays["x"], label=arrays["y"])
    (folder / "copy.onnx").write_bytes((folder / "model.onnx").read_bytes())

    said = compare("copy.onnx", "--input", "x=pixels", "--target", "label", data="named.npz")

    assert said.code == PASS, said.err


@dataclass(frozen=True)
class Unfit:
    """A candidate that cannot be compared with the model, and what is said of it."""

    name: str
    write: Callable[[Path], object]
    words: tuple[str, ...]


UNFIT = (
    Unfit(
        "another number of classes",
        lambda path: write_linear(path, np.vstack([WEIGHT, WEIGHT[:1]])),
        ("scores float32[?, 4]", "scores float32[?, 3]", "output 'scores' differs"),
    ),
    Unfit(
        "another number of features",
        lambda path: write_linear(path, WEIGHT[:, :4]),
        ("x float32[?, 4]", "x float32[?, 8]", "input 'x' differs"),
    ),
    Unfit(
        "input of another name",
        lambda path: write_linear(path, WEIGHT, takes="features"),
        ("features float32[?, 8]", "x float32[?, 8]", "rename them to x"),
    ),
    Unfit(
        "output of another name",
        lambda path: write_linear(path, WEIGHT, gives="logits"),
        ("logits float32[?, 3]", "scores float32[?, 3]", "rename them to scores"),
    ),
    Unfit(
        "probabilities in the place of logits",
        lambda path: write_linear(path, WEIGHT, last="Softmax 1"),
        ("taken for probabilities", "for logits", "export both alike"),
    ),
    Unfit(
        "classes in another order",
        lambda path: write_linear(path, WEIGHT[[1, 2, 0]]),
        ("classes in another order", "it answers 2 for 0", "the baseline on"),
    ),
    Unfit(
        "two classes exchanged",
        lambda path: write_linear(path, WEIGHT[[0, 2, 1]]),
        ("classes in another order", "2 for 1", "1 for 2"),
    ),
    Unfit(
        "answers that depend on the batch",
        lambda path: write_linear(path, WEIGHT * 3, last="LogSoftmax 0"),
        ("the candidate's answer to an example depends on the others in its batch",),
    ),
    Unfit("no model", lambda path: path.write_bytes(b"text"), ("no ONNX file, or is truncated",)),
    Unfit("no file", lambda path: None, ("CANDIDATE: no file or directory",)),
)


@pytest.mark.parametrize("unfit", UNFIT, ids=lambda unfit: unfit.name)
def test_candidate_that_cannot_be_compared_is_refused(
    compare: Compare, folder: Path, unfit: Unfit
) -> None:
    unfit.write(folder / "other.onnx")

    said = compare("other.onnx", "--quiet")

    assert said.code == USAGE, said.out + said.err
    assert all(word in said.err for word in unfit.words), said.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--task", "ranking"], ("--task: must not be 'ranking'", "regression")),
        (["--metric", "f1"], ("--metric: must not be 'f1'", "macroF1")),
        (["--metric", "rmse", "--margin", "1"], ("--metric: gates", "data.task regression")),
        (["--metric", "logLoss"], ("--margin: is needed for logLoss",)),
        (["--margin", "-1"], ("--margin", "0")),
        (["--input", "x"], ("--input: is 'x'; expected NAME=COLUMN",)),
        (["--input", "z=pixels"], ("'z'",)),
        (["--batch-size", "0"], ("--batch-size: must not be 0", "at least 1")),
        (["--train", "none.npz"], ("--train: no file or directory",)),
        (["--gates", "g.yaml", "--margin", "0.1"], ("leave out --metric and --margin",)),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_wrong_option_is_named(
    compare: Compare, folder: Path, options: list[str], words: tuple[str, ...]
) -> None:
    said = compare("model.onnx", *options)

    assert said.code == USAGE, said.out + said.err
    assert all(word in said.err for word in words), said.err
    assert said.err.count("error:") <= 1, said.err


@pytest.mark.parametrize(
    ("options", "words"),
    [((), "CANDIDATE: no file or directory"), (("--metric", "logLoss"), "--margin: is needed")],
    ids=["file", "option"],
)
def test_wrong_option_is_one_document_too(
    compare: Compare, options: tuple[str, ...], words: str
) -> None:
    said = compare("none.onnx", *options, "--output", "json")

    assert (said.code, said.document["exit_code"]) == (USAGE, USAGE)
    assert words in said.document["reason"]

    said = compare("none.onnx", *options, "--output", "junit")

    assert said.code == USAGE
    error = ElementTree.fromstring(said.out).find("testsuite/testcase/error")
    assert error is not None
    assert words in str(error.get("message"))


BUILDER = """
import sys
from pathlib import Path

import torch

with Path({log!r}).open("a") as log:
    log.write(sys.argv[sys.argv.index("--stage") + 1] + "\\n")


def build():
    return torch.nn.Linear({features}, {classes}, bias=False)
"""


def write_bundle(path: Path, log: Path) -> None:
    """Write the model as a bundle whose code notes each stage that it runs in."""
    from safetensors.numpy import save_file

    path.mkdir()
    (path / "model.py").write_text(BUILDER.format(log=str(log), features=FEATURES, classes=CLASSES))
    save_file({"weight": WEIGHT}, path / "weights.safetensors")
    signature = {
        "entryPoint": "model.py:build",
        "weights": "weights.safetensors",
        "inputs": [{"name": "x", "shape": ["batch", FEATURES]}],
        "outputs": [{"name": "scores", "shape": ["batch", CLASSES]}],
        "meaning": "logits",
    }
    (path / "fulcrum.yaml").write_text(yaml.safe_dump(signature))


def fulcrum(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command with its stages in processes of their own."""
    return subprocess.run(
        [sys.executable, "-m", "fulcrum_operator.cli.main", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )


def test_code_of_a_candidate_runs_in_its_own_stage_alone(folder: Path) -> None:
    log = folder / "stages.txt"
    write_bundle(folder / "bundle", log)

    ended = fulcrum(
        folder, "compare", "model.onnx", "bundle", "--data", "test.npz",
        "--task", "classification", "--output", "json",
    )  # fmt: skip

    assert ended.returncode == PASS, ended.stderr
    assert set(log.read_text().split()) == {"convert"}
    evidence = json.loads(Path(json.loads(ended.stdout)["evidence"]).read_text())
    convert = next(each for each in evidence["stages"] if each["stage"] == "convert")
    assert convert["details"]["format"] == "bundle"
    assert convert["details"]["export_max_difference"] < 1e-4


def write_job(folder: Path, **spec: Any) -> Path:
    """Write a job without a recipe."""
    job = {
        "apiVersion": "fulcrum.dev/v1alpha1",
        "kind": "CompressionJob",
        "metadata": {"name": "job"},
        "spec": {
            "model": {"uri": "model.onnx"},
            "data": {"task": "classification", "test": {"uri": "test.npz"}},
            "measure": {"batchSizes": [1], "pairs": 200},
            **spec,
        },
    }
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(job))
    return path


ACCURACY = {"name": "accuracy", "kind": "nonInferiority", "metric": "accuracy", "margin": 0.01}


def test_candidate_of_another_digest_is_refused_before_anything_is_measured(folder: Path) -> None:
    write_linear(folder / "new.onnx", WEIGHT)
    candidate = {"uri": "new.onnx", "digest": f"sha256:{'0' * 64}"}
    job = write_job(folder, candidate=candidate, gates=[ACCURACY])

    ended = fulcrum_run(job)

    assert ended.exit_code == FAILED
    (stage,) = ended.result["stages"]
    assert (stage["stage"], stage["failure_class"]) == ("evaluate", "user")
    assert "spec.candidate.digest" in stage["message"]
    assert f"expected sha256:{'0' * 64}" in stage["message"]


def test_candidate_that_was_allowed_once_is_refused_without_the_permission(folder: Path) -> None:
    """What validate found with `allowWeakBaseline` is not taken from the cache."""
    write_linear(folder / "new.onnx", WEIGHT * 3, last="LogSoftmax 0")
    asked = {"candidate": {"uri": "new.onnx"}, "gates": [ACCURACY]}

    allowed = fulcrum_run(write_job(folder, **asked, allowWeakBaseline=True))
    refused = fulcrum_run(write_job(folder, **asked))

    assert allowed.evidence.stage("validate") is not None
    assert refused.exit_code == FAILED
    assert "depends on the others in its batch" in refused.line


@pytest.mark.parametrize(("least", "code"), [(0.9, PASS), (0.999, REJECTED)])
def test_model_without_a_candidate_is_measured(folder: Path, least: float, code: int) -> None:
    gate = {"name": "good", "kind": "threshold", "metric": "accuracy", "min": least}

    ended = fulcrum_run(write_job(folder, gates=[gate]))

    assert ended.exit_code == code, ended.said
    assert [each.stage for each in ended.evidence.stages] == ["evaluate", "validate"]
