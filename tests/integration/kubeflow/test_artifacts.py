"""Kubeflow's launcher takes the artifacts of every stage, and a person can open the model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from builders.details import make_evaluate, make_validate
from builders.evidence import make_stage
from kubeflow.launcher import Stored, launch

from fulcrum_components.stages import ui
from fulcrum_pipelines.contract import STAGES
from fulcrum_pipelines.evidence import Artifact, ConfusionMatrix, StageEvidence, StageName
from fulcrum_pipelines.storage.store import Store, object_path

CONTENT = b"an ONNX file, for all that matters here"
RUN_ID = "d54f5ddb-b287-4598-b9b6-d80bcf20cdda"


@pytest.fixture
def model(store: Store, tmp_path: Path) -> Artifact:
    """A model in the store."""
    path = tmp_path / "model.onnx"
    path.write_bytes(CONTENT)
    return store.put(path, "model.onnx", "application/vnd.onnx")


def evidence_of(stage: StageName, model: Artifact) -> StageEvidence:
    """Return evidence of `stage` that names `model`."""
    if stage != "validate":
        return make_stage(stage, outputs=(model,))
    details = make_validate(candidate_model=model.digest)
    size = details.size.model_copy(update={"candidate_bytes": model.size_bytes})
    return make_stage(stage, details=details.model_copy(update={"size": size}), outputs=())


@pytest.mark.parametrize("stage", STAGES)
def test_launcher_stores_model_of_every_stage(
    stage: StageName, model: Artifact, store: Store
) -> None:
    stored = launch(stage, [evidence_of(stage, model)], store, RUN_ID)
    assert stored["model"].content == CONTENT
    assert stored["model"].metadata == {
        "address": store.locate(object_path(model.digest)),
        "digest": model.digest,
        "size_bytes": len(CONTENT),
        "format": "onnx",
    }
    assert stored["summary"].content is not None
    assert stored["metrics"].metadata


def test_pod_of_several_stages_shows_all_of_them(model: Artifact, store: Store) -> None:
    matrix = ConfusionMatrix(labels=("cat", "dog"), counts=((3, 1), (0, 4)))
    first = make_stage("evaluate", details=make_evaluate(confusion=matrix), outputs=())
    records = [first, evidence_of("prune", model), make_stage("quantize", outputs=())]
    stored = launch("compute", records, store, RUN_ID)
    assert stored["model"].content == CONTENT
    assert {"evaluate_accuracy", "prune_achieved_sparsity", "quantize_int8_coverage"} <= set(
        stored["metrics"].metadata
    )
    assert "confusionMatrix" in stored["confusion"].metadata
    page = (stored["summary"].content or b"").decode()
    assert [f"<h1>{each.stage} of" in page for each in records] == [True, True, True]


def pointer(stored: Stored) -> dict[str, object]:
    """Return the content of a small file that replaces a model."""
    assert stored.content is not None
    assert stored.content != CONTENT
    found: dict[str, object] = json.loads(stored.content)
    assert found == stored.metadata
    return found


def test_large_model_is_pointed_to(
    model: Artifact, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ui, "MODEL_BYTES", len(CONTENT) - 1)
    stored = launch("prune", [evidence_of("prune", model)], store, RUN_ID)
    assert pointer(stored["model"])["digest"] == model.digest


@pytest.mark.parametrize("damage", [b"other bytes", None], ids=["damaged", "gone"])
def test_model_that_cannot_be_read_fails_no_stage(
    damage: bytes | None, model: Artifact, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    store.delete(object_path(model.digest))
    if damage is not None:
        store.write(object_path(model.digest), damage)
    stored = launch("prune", [evidence_of("prune", model)], store, RUN_ID)
    assert pointer(stored["model"])["size_bytes"] == len(CONTENT)
    assert "the UI gets no copy of the model" in capsys.readouterr().out


def test_stage_without_a_model_has_no_model_to_open(store: Store) -> None:
    record = make_stage("evaluate", details=make_evaluate(), outputs=())
    stored = launch("evaluate", [record], store, RUN_ID)
    assert (stored["model"].content, stored["model"].metadata) == (None, {})
