"""`fulcrum init` writes what `fulcrum validate` accepts, and never over what is there."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import yaml

from fulcrum_operator.scaffolding import scaffold
from fulcrum_operator.scaffolding.description import Description, Tensor, read_safetensors_header
from fulcrum_operator.scaffolding.guessing import guess_input, guess_output
from fulcrum_operator.scaffolding.writing import quoted
from fulcrum_pipelines.errors import InfrastructureError, UserError
from fulcrum_pipelines.manifests import check_file, load_job

SHAPES = {"conv1.weight": [8, 3, 3, 3], "conv1.bias": [8], "fc.weight": [10, 128], "fc.bias": [10]}


def make_safetensors(path: Path, shapes: dict[str, list[int]] | None = None) -> Path:
    """Write a file whose header lists tensors; their values are not there, and not needed."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    for name, shape in (SHAPES if shapes is None else shapes).items():
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}
    data = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(data)) + data)
    return path


def test_weights_get_a_bundle_and_a_valid_manifest(tmp_path: Path) -> None:
    weights = make_safetensors(tmp_path / "My Net_v2.safetensors")
    written = scaffold(weights, tmp_path / "job", force=False)
    manifest = tmp_path / "job" / "job.yaml"
    assert written.files[-1] == manifest
    assert check_file(manifest) == []
    job = load_job(manifest)
    assert (job.name, job.spec.model.uri) == ("my-net-v2", "model")
    bundle = tmp_path / "job" / "model"
    assert (bundle / weights.name).read_bytes() == weights.read_bytes()
    value = yaml.safe_load((bundle / "fulcrum.yaml").read_text())
    assert value["weights"] == weights.name
    assert value["inputs"] == [{"name": "x", "shape": ["batch", 3, 32, 32], "dtype": "float32"}]
    assert value["outputs"] == [{"name": "output", "shape": ["batch", 10], "dtype": "float32"}]
    assert "#   conv1.weight  float32[8, 3, 3, 3]" in (bundle / "fulcrum.yaml").read_text()
    compile((bundle / "model.py").read_text(), "model.py", "exec")


def test_nothing_is_overwritten_without_force(tmp_path: Path) -> None:
    weights = make_safetensors(tmp_path / "net.safetensors")
    scaffold(weights, tmp_path, force=False)
    (tmp_path / "model" / "model.py").write_text("mine")
    with pytest.raises(UserError, match=r"model\.py.* would be overwritten; give"):
        scaffold(weights, tmp_path, force=False)
    assert (tmp_path / "model" / "model.py").read_text() == "mine"
    scaffold(weights, tmp_path, force=True)
    assert (tmp_path / "model" / "model.py").read_text() != "mine"


def test_weights_that_are_in_the_bundle_stay(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    weights = make_safetensors(tmp_path / "model" / "net.safetensors")
    before = weights.read_bytes()
    written = scaffold(weights, tmp_path, force=False)
    assert weights not in written.files
    assert weights.read_bytes() == before


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x00\x01", id="shorter than its length field"),
        pytest.param(struct.pack("<Q", 1 << 60), id="absurd length"),
        pytest.param(struct.pack("<Q", 50) + b'{"a": ', id="truncated"),
        pytest.param(struct.pack("<Q", 4) + b"[[]]", id="a list"),
        pytest.param(struct.pack("<Q", 9) + b'{"a": {}}', id="fields are missing"),
        pytest.param(b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00.", id="a pickle"),
    ],
)
def test_damaged_safetensors_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError, match="is damaged, truncated or no safetensors file"):
        read_safetensors_header(path)


@pytest.mark.parametrize(
    ("name", "message"),
    [("nowhere.onnx", "no such file"), ("folder", "is a directory"), ("a.h5", "no known kind")],
)
def test_what_is_no_model_file_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "a.h5").touch()
    with pytest.raises(UserError, match=message):
        scaffold(tmp_path / name, tmp_path, force=False)


def test_model_elsewhere_is_named_by_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "a model.onnx"
    model.touch()
    monkeypatch.setattr("fulcrum_operator.scaffolding.writing.describe", lambda path: KNOWN)
    scaffold(model, tmp_path / "job", force=False)
    scaffold(model, tmp_path, force=False)
    assert check_file(tmp_path / "job" / "job.yaml") == []
    assert load_job(tmp_path / "job" / "job.yaml").spec.model.uri == f"file://{model}"
    job = load_job(tmp_path / "job.yaml")
    assert job.spec.model.uri == "a model.onnx"
    assert job.spec.recipe.prune is None


KNOWN = Description(
    inputs=(Tensor('odd "name"\n', ("batch", 4), "float32"),),
    outputs=(Tensor("out", ("batch",), "float32"),),
    meaning="value",
)


@pytest.mark.parametrize(("ending", "offered"), [(".pt2", True), (".onnx", False)])
def test_recipe_names_what_a_program_can_have(
    ending: str, offered: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / f"m{ending}"
    model.touch()
    monkeypatch.setattr("fulcrum_operator.scaffolding.writing.describe", lambda path: KNOWN)
    scaffold(model, tmp_path, force=False)
    text = (tmp_path / "job.yaml").read_text()
    assert ("    # prune: {unstructured" in text) == offered
    if offered:
        (tmp_path / "job.yaml").write_text(text.replace("    # prune", "    prune"))
    assert (load_job(tmp_path / "job.yaml").spec.recipe.prune is not None) == offered


def test_regression_gets_its_own_gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.onnx").touch()
    monkeypatch.setattr("fulcrum_operator.scaffolding.writing.describe", lambda path: KNOWN)
    scaffold(tmp_path / "m.onnx", tmp_path, force=False)
    spec = load_job(tmp_path / "job.yaml").spec
    assert (spec.data.task, spec.gates[0].metric) == ("regression", "rmse")


def test_missing_components_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.onnx").touch()
    monkeypatch.setattr("fulcrum_operator.scaffolding.description.DESCRIBE", "fulcrum_absent")
    with pytest.raises(InfrastructureError, match="needs fulcrum-components"):
        scaffold(tmp_path / "m.onnx", tmp_path, force=False)


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ([("fc", (5, 7))], ("batch", 7)),
        ([("conv", (8, 1, 5, 5))], ("batch", 1, 32, 32)),
        ([("conv", (8, 2, 5))], ("batch", 2, "length")),
        ([("tok_embedding", (1000, 64))], ("batch", "length")),
        ([("bias", (3,))], ("batch", 1)),
        ([], ("batch", 1)),
    ],
)
def test_input_is_guessed_from_the_first_weight(
    shapes: list[tuple[str, tuple[int, ...]]], expected: tuple[int | str, ...]
) -> None:
    tensors = [Tensor(name, shape, "float32") for name, shape in shapes]
    assert guess_input(tensors).shape == expected
    assert guess_output(tensors).shape[0] == "batch"


@pytest.mark.parametrize("text", ["plain", "no", "a: b", 'q"\\', "line\nend", "é", "1.5", "", "#x"])
def test_quoted_text_comes_back_from_yaml(text: str) -> None:
    assert yaml.safe_load(f"key: {quoted(text)}") == {"key": text}
