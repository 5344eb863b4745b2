"""The composed example runs on this machine as it is compiled, and only a Pass is promoted."""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import dsl
from typer.testing import CliRunner

from fulcrum_operator.cli.main import app
from fulcrum_pipelines.chain import CHAIN_FILE, STORE, read_chain
from fulcrum_pipelines.composed import ChannelFile, judge, promote
from fulcrum_pipelines.errors import FulcrumError
from fulcrum_pipelines.evidence import ConfusionMatrix, Evidence, Metric
from fulcrum_pipelines.resources.compressionjob import Gate
from fulcrum_pipelines.storage.store import Store, file_digest, object_path

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = ROOT / "examples" / "kubeflow"
COMPONENTS = ROOT / "components" / "kubeflow"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # 80 s of CPU time; cores may be shared


@dataclass(frozen=True)
class Ran:
    """Files that one run of the example left.

    Attributes:
        store: The directory in which promote put model, evidence and channel.
        made: The folder of kfp with each task's artifacts.
    """

    store: Path
    made: Path

    @property
    def candidate(self) -> Path:
        return self.made / "quantize" / "compressed"

    @property
    def evidence(self) -> Path:
        return self.made / "validate" / "evidence"


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The example, run once: split, fit, prune, finetune, quantize, validate, promote."""
    folder = tmp_path_factory.mktemp("composed")
    digits, store = folder / "digits.npz", folder / "store"
    for command in (
        [str(ROOT / "examples/digits/data.py"), str(digits)],
        [str(EXAMPLE / "pipeline.py"), str(digits), str(store)],
    ):
        done = subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, check=False, cwd=folder
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    (made,) = (store / "kfp").iterdir()
    return Ran(store, made)


def test_passing_candidate_is_in_the_channel_with_its_evidence(ran: Ran) -> None:
    held = ChannelFile.model_validate_json((ran.store / "channels/digits.json").read_bytes())
    model = ran.store / object_path(held.current.digest)
    assert file_digest(model) == file_digest(ran.candidate / "model.onnx") == held.current.digest
    run = ran.store / "runs" / held.current.run
    verdict = json.loads((run / "verdict.json").read_text())
    assert verdict["outcome"] == "Pass"
    assert verdict["candidate_model"] == held.current.digest
    assert verdict["evidence"] == held.current.evidence
    assert "<svg" in (ran.made / "validate" / "report").read_text()


def _whole_evidence(evidence: Path) -> Evidence:
    chain = read_chain(evidence)
    assert chain is not None
    found = Store(str(evidence / STORE)).evidence(chain.run)
    assert found is not None
    return found


def _of_baseline(evidence: Evidence) -> tuple[tuple[Metric, ...], ConfusionMatrix | None]:
    """Return what the stage evaluate found of the model as it was given."""
    details = evidence.stages[0].details
    assert details.kind == "evaluate"
    return details.metrics, details.confusion


def _of_candidate(evidence: Evidence) -> tuple[tuple[Metric, ...], ConfusionMatrix | None]:
    details = evidence.stages[-1].details
    assert details.kind == "validate"
    return details.metrics_candidate, details.confusion_candidate


@pytest.mark.parametrize(
    ("model", "options", "measured"),
    [
        pytest.param("fit/model", {"task": "classification"}, _of_baseline, id="bundle"),
        pytest.param("quantize/compressed", {}, _of_candidate, id="made by quantize"),
    ],
)
def test_evaluate_shows_what_stages_measure(
    model: str,
    options: dict[str, Any],
    measured: Callable[[Evidence], tuple[tuple[Metric, ...], ConfusionMatrix | None]],
    ran: Ran,
    tmp_path: Path,
) -> None:
    """Of a user's model as the stage evaluate does; of a component's, its ONNX file."""
    figures = dsl.Metrics(uri=str(tmp_path / "metrics"))
    confusion = dsl.ClassificationMetrics(uri=str(tmp_path / "confusion"))
    summary = dsl.HTML(uri=str(tmp_path / "summary"))
    component = runpy.run_path(str(COMPONENTS / "evaluate.py"))["evaluate"]
    component.python_func(
        model=dsl.Model(uri=str(ran.made / model)),
        test=dsl.Dataset(uri=str(ran.made / "split" / "test")),
        metrics=figures,
        confusion=confusion,
        summary=summary,
        **options,
    )
    metrics, matrix = measured(_whole_evidence(ran.evidence))
    expected = {each.name: each.value for each in metrics if each.slice == "all"}
    assert {"accuracy", "macroF1", "logLoss"} <= set(expected)
    assert {name: figures.metadata[name] for name in expected} == expected
    shown = confusion.metadata["confusionMatrix"]
    assert matrix is not None
    assert [each["displayName"] for each in shown["annotationSpecs"]] == list(matrix.labels)
    assert [each["row"] for each in shown["rows"]] == [list(row) for row in matrix.counts]
    page = Path(summary.path).read_text()
    assert f"<tr><th>accuracy</th><td>{expected['accuracy']:g}</td></tr>" in page


def test_gate_decides_the_evidence_again(ran: Ran, tmp_path: Path) -> None:
    """A run that no job owns is judged offline like any other, by other gates too."""
    held = ChannelFile.model_validate_json((ran.store / "channels/digits.json").read_bytes())
    run = str(ran.store / "runs" / held.current.run)
    codes = []
    for largest in (0.5, 0.001):
        policy = tmp_path / "policy.yaml"
        policy.write_text(f"gates: [{{name: size, kind: size, max: {largest}}}]")
        codes.append(CliRunner().invoke(app, ["gate", run, "--policy", str(policy)]).exit_code)
    assert codes == [0, 3]


def _edit_evidence(evidence: Path, change: Callable[[dict[str, Any]], None]) -> None:
    chain = read_chain(evidence)
    assert chain is not None
    path = evidence / STORE / "runs" / chain.run / "evidence.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def _claim_better_accuracy(_: Path, evidence: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        for each in content["stages"][-1]["details"]["comparisons"]:
            each["candidate"] = each["baseline"]

    _edit_evidence(evidence, change)


def _claim_other_baseline(_: Path, evidence: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["stages"][-1]["details"]["baseline_model"] = f"sha256:{'0' * 64}"

    _edit_evidence(evidence, change)


def _leave_out_the_baseline(_: Path, evidence: Path) -> None:
    _edit_evidence(evidence, lambda content: content["stages"].pop(0))


def _weaken_the_gates(_: Path, evidence: Path) -> None:
    chain = read_chain(evidence)
    assert chain is not None
    path = evidence / STORE / object_path(chain.plan)
    plan = json.loads(path.read_text())
    plan["spec"]["gates"] = [{"name": "size", "kind": "size", "max": 2}]
    path.write_text(json.dumps(plan))


def _plan_with(evidence: Path, **changes: object) -> str:
    """Let the artifact name a plan of another specification, and return its digest."""
    chain = read_chain(evidence)
    assert chain is not None
    store = Store(str(evidence / STORE))
    plan = store.plan(chain.plan)
    spec = plan.spec.model_copy(update=changes)
    digest = store.put_record(plan.model_copy(update={"spec": spec}))
    content = json.loads((evidence / CHAIN_FILE).read_text()) | {"plan": digest}
    (evidence / CHAIN_FILE).write_text(json.dumps(content))
    return digest


def _give_another_plan(_: Path, evidence: Path) -> None:
    _plan_with(evidence, gates=())


def _measured_by(evidence: Path, digest: str) -> None:
    """Let the evidence be of the plan `digest`, as if all of it had been run so."""

    def change(content: dict[str, Any]) -> None:
        for record in (content, *content["stages"]):
            record["plan"] = digest

    _edit_evidence(evidence, change)


def _ask_for_what_it_is_not(_: Path, evidence: Path) -> None:
    gates = (Gate(name="size", kind="size", max=0.001),)
    _measured_by(evidence, _plan_with(evidence, gates=gates))


def _compare_with_what_is_not_replaced(_: Path, evidence: Path) -> None:
    _measured_by(evidence, _plan_with(evidence, baseline_model=f"sha256:{'0' * 64}"))


def _exchange_the_candidate(candidate: Path, _: Path) -> None:
    (candidate / "model.onnx").write_bytes(b"another model")


def _exchange_the_measured_file(_: Path, evidence: Path) -> None:
    chain = read_chain(evidence)
    assert chain is not None
    whole = Evidence.model_validate_json(
        (evidence / STORE / "runs" / chain.run / "evidence.json").read_bytes()
    )
    details = whole.stages[-1].details
    assert details.kind == "validate"
    (evidence / STORE / object_path(details.candidate_model)).write_bytes(b"another model")


def _no_artifact_of_validate(_: Path, evidence: Path) -> None:
    (evidence / CHAIN_FILE).unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_ask_for_what_it_is_not, "the verdict is Fail, only Pass is promoted: size: file size"),
        (_compare_with_what_is_not_replaced, "holds nothing, but the candidate was compared with"),
        (_claim_better_accuracy, "the verdict is Anomalous"),
        (_claim_other_baseline, "the verdict is Anomalous"),
        (_leave_out_the_baseline, "the verdict is Anomalous"),
        (_weaken_the_gates, "is corrupt"),
        (_give_another_plan, "the evidence is of plan"),
        (_exchange_the_candidate, "candidate: is not the model that was validated"),
        (_exchange_the_measured_file, "is corrupt"),
        (_no_artifact_of_validate, "is no artifact of validate"),
    ],
    ids=lambda value: getattr(value, "__name__", "").strip("_"),
)
def test_what_was_changed_after_validate_is_not_promoted(
    damage: Callable[[Path, Path], None], words: str, ran: Ran, tmp_path: Path
) -> None:
    candidate, evidence, store = (tmp_path / name for name in ("candidate", "evidence", "store"))
    shutil.copytree(ran.candidate, candidate)
    shutil.copytree(ran.evidence, evidence)
    damage(candidate, evidence)
    with pytest.raises(FulcrumError) as raised:
        promote("digits", str(candidate), str(evidence), str(store), lambda: datetime.now(UTC))
    assert words in str(raised.value)
    assert not store.exists()


def test_unchanged_evidence_is_promoted_again_with_history(ran: Ran, tmp_path: Path) -> None:
    moved = [
        promote(
            "digits",
            str(ran.candidate),
            str(ran.evidence),
            str(tmp_path),
            lambda: datetime.now(UTC),
        )
        for _ in range(2)
    ]
    assert [len(each.history) for each in moved] == [0, 1]
    assert judge(str(ran.evidence), str(tmp_path / "report.html")) == "Pass"


def test_promotion_in_the_compiled_pipeline_needs_a_pass() -> None:
    """The condition that a server decides by; the local run spells its output otherwise."""
    pipeline = next(yaml.safe_load_all((EXAMPLE / "digits.yaml").read_text()))
    tasks = pipeline["root"]["dag"]["tasks"]
    conditions = {
        name: task["triggerPolicy"]["condition"]
        for name, task in tasks.items()
        if "triggerPolicy" in task
    }
    ((name, condition),) = conditions.items()
    assert condition == "inputs.parameter_values['pipelinechannel--validate-verdict'] == 'Pass'"
    inside = pipeline["components"][tasks[name]["componentRef"]["name"]]["dag"]["tasks"]
    assert list(inside) == ["promote"]
    assert "promote" not in tasks
