"""Manifests that are accepted and refused, one row each, and what is said about them."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from fulcrum_operator.manifests import (
    check_file,
    check_resolved,
    load_gates,
    load_job,
    needs_cluster,
    unsupported,
)
from fulcrum_operator.validation.problem import Problem
from fulcrum_operator.validation.schemas import known_kinds
from fulcrum_operator.validation.structure import UNDERSTOOD, check
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.resources.compressionjob import CompressionJobSpec

ROOT = Path(__file__).parents[3]
JOB_SCHEMA = known_kinds()["fulcrum.dev/v1alpha1", "CompressionJob"]
DROP = object()
SHARES = {"name": "acc", "kind": "nonInferiority", "metric": "accuracy", "margin": 0.01}
FASTER = {"name": "fast", "kind": "speedup", "min": 2}

GOOD: dict[str, Any] = {
    "apiVersion": "fulcrum.dev/v1alpha1",
    "kind": "CompressionJob",
    "metadata": {"name": "mnist"},
    "spec": {
        "model": {"uri": "model"},
        "data": {
            "task": "classification",
            "train": {"uri": "train.npz"},
            "validation": {"uri": "validation.npz"},
            "test": {"uri": "test.npz"},
        },
        "recipe": {"prune": {"structured": {"sparsity": 0.5}}, "quantize": {"method": "auto"}},
        "gates": [SHARES],
    },
}


@dataclass(frozen=True)
class Row:
    """A change of a good manifest.

    `changes` sets values by path, written `spec.gates.0.margin`; `DROP` takes the field away.
    `at` and `words` are the path of a problem and words in what is said about it.
    """

    name: str
    changes: dict[str, Any] = field(default_factory=dict)
    at: str = ""
    words: tuple[str, ...] = ()


def changed(changes: dict[str, Any]) -> dict[str, Any]:
    manifest = copy.deepcopy(GOOD)
    for path, value in changes.items():
        *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        at: Any = manifest
        for part in parents:
            at = at[part] if isinstance(at, list) else at.setdefault(part, {})
        if value is DROP:
            del at[last]
        elif isinstance(at, list) and last == len(at):
            at.append(copy.deepcopy(value))
        else:
            at[last] = copy.deepcopy(value)
    return manifest


def problems_of(tmp_path: Path, changes: dict[str, Any]) -> list[Problem]:
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(changed(changes)))
    return check_file(path)


def gate(**fields: Any) -> dict[str, Any]:
    return {"spec.gates.0": {"name": "g", **fields}}


def prune(**fields: Any) -> dict[str, Any]:
    return {"spec.recipe.prune": fields}


def quantize(**fields: Any) -> dict[str, Any]:
    return {"spec.recipe.quantize": fields}


REGRESSION = {"spec.data.task": "regression"}
NO_TRAIN = {"spec.data.train": DROP}

RULES_REFUSED = (
    Row("no gates", {"spec.gates": DROP}, "spec.gates", ("exactly one of gates, gatePolicyRef",)),
    Row(
        "recipe and reference",
        {"spec.recipeRef": {"name": "small"}},
        "spec.recipe",
        ("exactly one of recipe, recipeRef",),
    ),
    Row("name too long", {"metadata.name": "x" * 53}, "", ("52 characters",)),
    Row(
        "finetune without train",
        {**NO_TRAIN, "spec.data.calibration.uri": "c.npz", "spec.recipe.finetune.epochs": 1},
        "spec.recipe.finetune",
        ("needs data.train",),
    ),
    Row(
        "taylor without train",
        {
            **NO_TRAIN,
            "spec.data.calibration.uri": "c.npz",
            "spec.recipe.prune.structured.importance": "taylor",
        },
        "spec.recipe.prune",
        ("taylor needs data.train",),
    ),
    Row(
        "static without calibration or train",
        {**NO_TRAIN, **quantize(method="static")},
        "spec.recipe.quantize",
        ("data.calibration or data.train",),
    ),
    Row(
        "auto without validation",
        {"spec.data.validation": DROP},
        "spec.recipe.quantize",
        ("auto needs data.validation",),
    ),
    Row(
        "early stopping without validation",
        {
            "spec.data.validation": DROP,
            "spec.recipe.quantize": DROP,
            "spec.recipe.finetune": {"epochs": 1, "earlyStopping": {}},
        },
        "spec.recipe.finetune",
        ("earlyStopping needs data.validation",),
    ),
    Row(
        "rmse of a classifier",
        gate(kind="threshold", metric="rmse", max=1),
        "spec.gates",
        ("rmse", "regression"),
    ),
    Row("accuracy of a regression", REGRESSION, "spec.gates", ("accuracy", "classification")),
    Row(
        "churn of a regression",
        {**REGRESSION, **gate(kind="churn", max=0.1)},
        "spec.gates",
        ("churn and calibration need",),
    ),
    Row(
        "slice that is not among the declared",
        {
            "spec.data.slices": [{"name": "site", "column": "site"}],
            "spec.gates.0.slices": [{"by": "region"}],
        },
        "spec.gates",
        ("slices.by must be class or a name",),
    ),
    Row(
        "slice where none is declared",
        {"spec.gates.0.slices": [{"by": "region"}]},
        "spec.gates",
        ("slices.by must be class or a name",),
    ),
    Row("scheme not allowed", {"spec.model.uri": "ftp://x/m"}, "spec.model.uri", ("scheme",)),
    Row("http is not https", {"spec.data.test.uri": "http://x/t.npz"}, "spec.data.test.uri", ()),
    Row("path out of the folder", {"spec.model.uri": "a/../../b"}, "spec.model.uri", ("'..'",)),
    Row("absolute path", {"spec.model.uri": "/models/m"}, "spec.model.uri", ("file:///",)),
    Row(
        "credentials in the URL",
        {"spec.model.uri": "https://me:secret@host/m.onnx"},
        "spec.model.uri",
        ("credentials",),
    ),
    Row(
        "python without function",
        {"spec.data.train": {"uri": "d.py", "format": "python"}},
        "spec.data.train",
        ("needs function",),
    ),
    Row(
        "function without python",
        {"spec.data.train.function": "load"},
        "spec.data.train",
        ("only for format python",),
    ),
    Row("scale 0", {"spec.data.test.scale": 0}, "spec.data.test.scale", ("must not be 0",)),
    Row(
        "slice named class",
        {"spec.data.slices": [{"name": "class", "column": "y"}]},
        "spec.data.slices[0].name",
        ("built in",),
    ),
    Row("no stage at all", {"spec.recipe": {}}, "spec.recipe", ("at least one of",)),
    Row("prune nothing", prune(), "spec.recipe.prune", ("exactly one of",)),
    Row(
        "prune in two ways",
        prune(structured={"sparsity": 0.5}, nm={}),
        "spec.recipe.prune",
        ("exactly one of",),
    ),
    Row(
        "round 0",
        prune(structured={"sparsity": 0.5, "round": 0}),
        "spec.recipe.prune.structured.round",
        ("auto or an integer",),
    ),
    Row(
        "round by a word",
        prune(structured={"sparsity": 0.5, "round": "even"}),
        "spec.recipe.prune.structured.round",
        ("auto or an integer",),
    ),
    Row("4 of 4", prune(nm={"n": 4}), "spec.recipe.prune.nm", ("n must be less than m",)),
    Row(
        "weightOnly without bits",
        quantize(method="weightOnly"),
        "spec.recipe.quantize",
        ("bits belongs",),
    ),
    Row("bits of auto", quantize(bits=4), "spec.recipe.quantize", ("bits belongs",)),
    Row(
        "percentile of min-max",
        quantize(percentile=99),
        "spec.recipe.quantize",
        ("only for calibration percentile",),
    ),
    Row("metric missing", gate(kind="threshold", min=1), "spec.gates[0]", ("metric is needed",)),
    Row(
        "metric too much",
        gate(kind="size", max=1, metric="accuracy"),
        "spec.gates[0]",
        ("metric is needed",),
    ),
    Row(
        "margin missing",
        gate(kind="nonInferiority", metric="accuracy"),
        "spec.gates[0]",
        ("margin is needed",),
    ),
    Row(
        "maxGain of a size",
        gate(kind="size", max=1, maxGain=1),
        "spec.gates[0]",
        ("maxGain is only for",),
    ),
    Row(
        "neither min nor max",
        gate(kind="threshold", metric="accuracy"),
        "spec.gates[0]",
        ("min or max is needed",),
    ),
    Row("size with min", gate(kind="size", min=0.1), "spec.gates[0]", ("take max, not min",)),
    Row("speedup with max", gate(kind="speedup", max=3), "spec.gates[0]", ("takes min, not max",)),
    Row(
        "margin and min",
        {"spec.gates.0.min": 0.1},
        "spec.gates[0]",
        ("takes margin, not min or max",),
    ),
    Row(
        "min above max",
        gate(kind="change", metric="accuracy", min=0.1, max=-0.1),
        "spec.gates[0]",
        ("min must be at most max",),
    ),
    Row("batch of a size", gate(kind="size", max=1, batch=2), "spec.gates[0]", ("batch is only",)),
    Row(
        "slices of a speedup",
        {"spec.gates.0": {**FASTER, "slices": [{"by": "class"}]}},
        "spec.gates[0]",
        ("slices are not for",),
    ),
    Row(
        "p99 of 400 pairs",
        {"spec.measure.percentiles": [99]},
        "spec.measure.pairs",
        ("at least 1000",),
    ),
)

STRUCTURE_REFUSED = (
    Row("another kind", {"kind": "CompresionJob"}, "kind", ("did you mean CompressionJob?",)),
    Row("no kind", {"kind": DROP}, "kind", ("required", "CompressionJob")),
    Row("another version", {"apiVersion": "fulcrum.dev/v1"}, "apiVersion", ("v1alpha1",)),
    Row("no version", {"apiVersion": DROP}, "apiVersion", ("required",)),
    Row("unknown field at the top", {"specs": {}}, "specs", ("did you mean spec?",)),
    Row("no metadata", {"metadata": DROP}, "metadata", ("required",)),
    Row("metadata as text", {"metadata": "mnist"}, "metadata", ("must be a mapping",)),
    Row("no name", {"metadata": {}}, "metadata.name", ("required",)),
    Row("name with capitals", {"metadata.name": "MNIST"}, "metadata.name", ("lower-case",)),
    Row("name with underscore", {"metadata.name": "a_b"}, "metadata.name", ("lower-case",)),
    Row("name that ends in a dash", {"metadata.name": "a-"}, "metadata.name", ("ending with",)),
    Row("namespace", {"metadata.namespace": "a.b"}, "metadata.namespace", ("63",)),
    Row("label as number", {"metadata.labels": {"a": 1}}, "metadata.labels.a", ("quotes",)),
    Row(
        "metadata misspelled", {"metadata.lables": {}}, "metadata.lables", ("did you mean labels?",)
    ),
    Row("no spec", {"spec": DROP}, "spec", ("required",)),
    Row("spec as list", {"spec": []}, "spec", ("must be a mapping, not a list",)),
    Row("no model", {"spec.model": DROP}, "spec.model", ("required",)),
    Row("null gates", {"spec.gates": None}, "spec.gates", ("exactly one of",)),
    Row("misspelled field", {"spec.modle": {}}, "spec.modle", ("did you mean model?",)),
    Row(
        "misspelled field deep inside",
        {"spec.recipe.prune.structured.sparcity": 0.5},
        "spec.recipe.prune.structured.sparcity",
        ("did you mean sparsity?",),
    ),
    Row(
        "snake case",
        {"spec.data.calibration_samples": 5},
        "spec.data.calibration_samples",
        ("did you mean calibrationSamples?",),
    ),
    Row("field unlike any", {"spec.zzz": 1}, "spec.zzz", ("is not a field", "recipe")),
    Row("unknown task", {"spec.data.task": "ranking"}, "spec.data.task", ("regression",)),
    Row(
        "misspelled value",
        {"spec.recipe.quantize.method": "statik"},
        "spec.recipe.quantize.method",
        ("did you mean static?", "weightOnly"),
    ),
    Row("unknown metric", {"spec.gates.0.metric": "f1"}, "spec.gates[0].metric", ("macroF1",)),
    Row(
        "sparsity 0",
        prune(structured={"sparsity": 0}),
        "spec.recipe.prune.structured.sparsity",
        ("must not be 0", "above 0 and below 1"),
    ),
    Row(
        "sparsity 1",
        prune(unstructured={"sparsity": 1}),
        "spec.recipe.prune.unstructured.sparsity",
        ("must not be 1", "above 0 and below 1"),
    ),
    Row(
        "sparsity as text",
        prune(structured={"sparsity": "50%"}),
        "spec.recipe.prune.structured.sparsity",
        ("must be a number, not '50%'",),
    ),
    Row("seed below 0", {"spec.seed": -1}, "spec.seed", ("at least 0",)),
    Row("seed too large", {"spec.seed": 2**32}, "spec.seed", ("4294967295",)),
    Row("seed beyond 64 bits", {"spec.seed": 2**70}, "spec.seed", ("an integer",)),
    Row("seed with a fraction", {"spec.seed": 0.5}, "spec.seed", ("an integer, not 0.5",)),
    Row("true as number", {"spec.seed": True}, "spec.seed", ("not true",)),
    Row("text as flag", {"spec.suspend": "yes"}, "spec.suspend", ("true or false",)),
    Row("epochs 0", {"spec.recipe.finetune.epochs": 0}, "spec.recipe.finetune.epochs", ("1",)),
    Row("epochs missing", {"spec.recipe.finetune": {}}, "spec.recipe.finetune.epochs", ()),
    Row("margin below 0", {"spec.gates.0.margin": -0.1}, "spec.gates[0].margin", ("at least 0",)),
    Row("margin infinite", {"spec.gates.0.margin": float("inf")}, "spec.gates[0].margin", ()),
    Row("margin NaN", {"spec.gates.0.margin": float("nan")}, "spec.gates[0].margin", ("finite",)),
    Row("confidence 1", {"spec.gates.0.confidence": 1}, "spec.gates[0].confidence", ("0.9999",)),
    Row("gate named badly", {"spec.gates.0.name": "A b"}, "spec.gates[0].name", ("matches",)),
    Row(
        "gate named twice", {"spec.gates.1": SHARES}, "spec.gates[1].name", ("already at gates[0]",)
    ),
    Row(
        "65 gates",
        {"spec.gates": [{**SHARES, "name": f"g{i}"} for i in range(65)]},
        "spec.gates",
        ("65 entries", "0 to 64"),
    ),
    Row("gates as mapping", {"spec.gates": {}}, "spec.gates", ("must be a list",)),
    Row("gate as text", {"spec.gates": ["acc"]}, "spec.gates[0]", ("must be a mapping",)),
    Row("null gate", {"spec.gates": [None]}, "spec.gates[0]", ("not null",)),
    Row(
        "penalty twice",
        {
            "spec.recipe.finetune": {
                "epochs": 1,
                "penalties": [{"kind": "l1", "weight": 1}, {"kind": "l1", "weight": 2}],
            }
        },
        "spec.recipe.finetune.penalties[1].kind",
        ("already",),
    ),
    Row(
        "batch size twice",
        {"spec.measure.batchSizes": [1, 1]},
        "spec.measure.batchSizes[1]",
        ("already at batchSizes[0]",),
    ),
    Row("no batch size", {"spec.measure.batchSizes": []}, "spec.measure.batchSizes", ("1 to 8",)),
    Row("too few pairs", {"spec.measure.pairs": 100}, "spec.measure.pairs", ("at least 200",)),
    Row("empty address", {"spec.model.uri": ""}, "spec.model.uri", ("0 characters",)),
    Row("long address", {"spec.model.uri": "x" * 1025}, "spec.model.uri", ("1025", "1024")),
    Row("digest", {"spec.model.digest": "md5:1"}, "spec.model.digest", ("sha256",)),
    Row(
        "argument as number",
        {
            "spec.data.train": {
                "uri": "d.py",
                "format": "python",
                "function": "load",
                "arguments": {"n": 5},
            }
        },
        "spec.data.train.arguments.n",
        ("must be text, not 5",),
    ),
    Row(
        "33 inputs",
        {"spec.data.test.inputs": {f"i{i}": "x" for i in range(33)}},
        "spec.data.test.inputs",
        ("33 entries",),
    ),
    Row(
        "deadline of a stage that is none",
        {"spec.stageDeadlineSeconds": {"train": 5}},
        "spec.stageDeadlineSeconds.train",
        ("is not a field",),
    ),
    Row("round as fraction", prune(structured={"sparsity": 0.5, "round": 1.5}), "", ()),
)

ACCEPTED = (
    Row("the good one"),
    Row("name of 52 characters", {"metadata.name": "x" * 52}),
    Row("finetune with train", {"spec.recipe.finetune.epochs": 1}),
    Row("taylor with train", {"spec.recipe.prune.structured.importance": "taylor"}),
    Row(
        "static with calibration only",
        {**NO_TRAIN, "spec.data.calibration.uri": "c.npz", **quantize(method="static")},
    ),
    Row("static with train only", quantize(method="static")),
    Row("dynamic with neither", {**NO_TRAIN, **quantize(method="dynamic")}),
    Row(
        "early stopping with validation",
        {"spec.recipe.finetune": {"epochs": 1, "earlyStopping": {}}},
    ),
    Row("rmse of a regression", {**REGRESSION, **gate(kind="threshold", metric="rmse", max=1)}),
    Row("mse of a classifier", gate(kind="threshold", metric="mse", max=1)),
    Row("churn of a classifier", gate(kind="churn", max=0.1)),
    Row(
        "declared slice",
        {
            "spec.data.slices": [{"name": "site", "column": "site"}],
            "spec.gates.0.slices": [{"by": "site"}, {"by": "class"}],
        },
    ),
    Row("slice by class, none declared", {"spec.gates.0.slices": [{"by": "class"}]}),
    *(
        Row(f"scheme {scheme}", {"spec.model.uri": f"{scheme}://bucket/m.onnx"})
        for scheme in ("file", "s3", "gs", "abfs", "https")
    ),
    Row("dots within a name", {"spec.model.uri": "a..b/c"}),
    Row("absolute URL", {"spec.model.uri": "file:///models/m"}),
    Row("at sign after the host", {"spec.model.uri": "https://host/m@1.onnx"}),
    Row(
        "python with function",
        {"spec.data.train": {"uri": "d.py", "format": "python", "function": "load"}},
    ),
    Row("negative scale", {"spec.data.test.scale": -1}),
    Row("slice named kind", {"spec.data.slices": [{"name": "kind", "column": "y"}]}),
    Row("retrain alone", {"spec.recipe": {"retrain": {"epochs": 1}}}),
    Row("nm with defaults", prune(nm={})),
    Row("truncate", prune(truncate={"threshold": 1})),
    Row("round auto", prune(structured={"sparsity": 0.5, "round": "auto"})),
    Row("round 256", prune(structured={"sparsity": 0.5, "round": 256})),
    Row("weightOnly with bits", quantize(method="weightOnly", bits=4)),
    Row("percentile of percentile", quantize(calibration="percentile", percentile=99.9)),
    Row("size", gate(kind="size", max=0.5)),
    Row("speedup at batch 8", {"spec.gates.0": {**FASTER, "batch": 8}}),
    Row("threshold between", gate(kind="threshold", metric="accuracy", min=0.5, max=0.5)),
    Row("change from below", gate(kind="change", metric="logLoss", min=-0.1)),
    Row("calibration with maxGain", gate(kind="calibration", max=0.1, maxGain=0.2)),
    Row("churn by class", gate(kind="churn", max=0.1, slices=[{"by": "class"}])),
    Row("p99 of 1000 pairs", {"spec.measure": {"percentiles": [99], "pairs": 1000}}),
    Row("integer written as float", {"spec.seed": 5.0}),
    Row("null is absent", {"spec.recipe.prune.unstructured": None, "spec.seed": None}),
    Row("no gates in the list", {"spec.gates": []}),
    Row("status of a cluster", {"status": {"phase": "Running", "anything": 1}}),
)

REFUSED = RULES_REFUSED + STRUCTURE_REFUSED


@pytest.mark.parametrize("row", ACCEPTED, ids=lambda row: row.name)
def test_accepted(row: Row, tmp_path: Path) -> None:
    assert problems_of(tmp_path, row.changes) == []


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row.name)
def test_refused(row: Row, tmp_path: Path) -> None:
    found = problems_of(tmp_path, row.changes)
    assert found
    matching = [each for each in found if not row.at or each.path == row.at]
    assert any(all(word in str(each) for word in row.words) for each in matching), found


def rules(schema: Any) -> Iterator[dict[str, str]]:
    if isinstance(schema, dict):
        yield from schema.get("x-kubernetes-validations", [])
        for inner in schema.values():
            yield from rules(inner)


def test_every_rule_of_the_schema_refuses_a_row(tmp_path: Path) -> None:
    said = {
        problem.message for row in RULES_REFUSED for problem in problems_of(tmp_path, row.changes)
    }
    schema = JOB_SCHEMA
    messages = {rule["message"] for rule in rules(schema) if "oldSelf" not in rule["rule"]}
    assert len(messages) > 30
    assert messages - said == set()


def test_the_schema_uses_nothing_that_the_check_ignores() -> None:
    def keys(schema: Any) -> Iterator[str]:
        for key, inner in schema.items():
            yield key
            if key == "properties":
                for each in inner.values():
                    yield from keys(each)
            elif key in ("items", "additionalProperties"):
                yield from keys(inner)

    for schema in known_kinds().values():
        assert set(keys(schema["properties"]["spec"])) <= UNDERSTOOD


def test_defaults_are_those_of_the_generated_types() -> None:
    """Two readers of one schema: the offline check, and the generator of the types."""
    filled = check(GOOD["spec"], JOB_SCHEMA["properties"]["spec"]).value
    spec = CompressionJobSpec.model_validate(GOOD["spec"])
    dumped = json.loads(spec.model_dump_json(by_alias=True, exclude_none=True))
    assert filled == dumped


def test_generated_files_are_not_stale() -> None:
    command = [sys.executable, str(ROOT / "crds" / "generate_types.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", sorted(ROOT.glob("examples/*/job.yaml")), ids=str)
def test_examples_are_valid(path: Path) -> None:
    assert check_file(path) == []


TEXTS_REFUSED = (
    ("nothing", "", "the file is empty"),
    ("comments only", "# nothing\n---\n", "the file is empty"),
    ("a sentence", "hello there", "is 'hello there', not a manifest"),
    ("a list", "- a\n- b\n", "is a list, not a manifest"),
    ("broken YAML", "a: [1, 2\nb: 3\n", "is not valid YAML"),
    ("a tab", "a:\n\tb: 1\n", "is not valid YAML"),
    ("an unknown anchor", "a: *b\n", "is not valid YAML"),
    ("broken JSON", '{"a": 1,}', "is not valid JSON"),
    ("a Python object", "a: !!python/object/apply:os.system [id]\n", "tag"),
    ("a Python name", "a: !!python/name:os.system ''\n", "tag"),
    ("a binary", "a: !!binary aGk=\n", "tag"),
    ("an own tag", "a: !secret x\n", "tag !secret is not allowed"),
    ("a list as key", "? [a, b]\n: 1\n", "a key must be a name"),
    ("deep lists", "a: " + "[" * 5000, "nest"),
    ("deep JSON", '{"a":' * 5000 + "1" + "}" * 5000, "nest"),
    ("a key twice", "apiVersion: a\napiVersion: b\n", "apiVersion: is given twice [line 2]"),
    ("a key twice in JSON", '{"kind": "a", "kind": "b"}', "duplicate key kind"),
    ("an alias in itself", "a: &a [*a]\n", "nested deeper"),
)


@pytest.mark.parametrize(("text", "words"), [row[1:] for row in TEXTS_REFUSED])
def test_texts_that_are_no_manifest(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(text)
    assert words in "\n".join(map(str, check_file(path)))


def test_a_bomb_of_aliases_is_not_expanded(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    path = tmp_path / "bomb.yaml"
    path.write_text("\n".join(lines))
    (problem,) = check_file(path)
    assert "aliases" in problem.message


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    large, binary = tmp_path / "large.yaml", tmp_path / "binary.yaml"
    large.write_text("# " + "x" * (1 << 20))
    binary.write_bytes(b"\xff\xfe\x00model")
    for path, words in (
        (tmp_path / "none.yaml", "no such file"),
        (tmp_path, "is a directory"),
        (large, "larger than"),
        (binary, "UTF-8"),
    ):
        (problem,) = check_file(path)
        assert words in problem.message


def test_values_are_read_as_kubernetes_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    text = yaml.safe_dump(changed({"spec.recipe.finetune": {"epochs": 1}}))
    path.write_text(text.replace("epochs: 1", "epochs: 1e1\n      learningRate: 1e-3"))
    finetune = load_job(path).spec.recipe.finetune
    assert finetune is not None
    assert (finetune.epochs, finetune.learning_rate) == (10, 0.001)


def test_dates_and_quoted_numbers_stay_text(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    text = yaml.safe_dump(changed({"metadata.labels": {"a": "x", "b": "y"}}))
    path.write_text(text.replace("a: x", "a: 2026-01-02").replace("b: y", 'b: "5"'))
    assert load_job(path).labels == {"a": "2026-01-02", "b": "5"}


def test_merge_keys_work(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    manifest = changed({"spec.data.test": "THERE"})
    text = yaml.safe_dump(manifest).replace("test: THERE", "test:\n      <<: {uri: t.npz, take: 5}")
    path.write_text(text)
    test = load_job(path).spec.data.test
    assert (test.uri, test.take) == ("t.npz", 5)


def test_problems_name_the_line_and_the_document(tmp_path: Path) -> None:
    path = tmp_path / "jobs.yaml"
    good, bad = yaml.safe_dump(GOOD), yaml.safe_dump(changed({"spec.seed": -1}))
    path.write_text(f"{good}---\n{bad}")
    (problem,) = check_file(path)
    line = path.read_text().splitlines().index("  seed: -1") + 1
    assert (problem.document, problem.line) == (2, line)
    assert str(problem) == (
        "document 2: spec.seed: must not be -1 "
        f"(allowed: an integer of at least 0 and at most 4294967295) [line {line}]"
    )


def test_json_manifests_are_read(tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    path.write_text(json.dumps(GOOD, indent="\t"))
    assert check_file(path) == []


def test_a_job_is_loaded_with_its_defaults(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(changed({"metadata.namespace": "team"})))
    job = load_job(path)
    assert (job.name, job.namespace, job.directory) == ("mnist", "team", tmp_path)
    assert job.spec.measure.pairs == 400
    assert job.spec.model.uri == "model"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (yaml.safe_dump(changed({"spec.seed": -1})), "spec.seed: must not be -1"),
        (f"{yaml.safe_dump(GOOD)}---\n{yaml.safe_dump(GOOD)}", "has 2 documents"),
        (yaml.safe_dump(changed({"spec.seed": -1, "kind": "X"})), "kind: must not be 'X'"),
    ],
)
def test_a_job_that_is_wrong_is_an_error_of_the_user(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as raised:
        load_job(path)
    assert words in str(raised.value)
    assert str(path) in str(raised.value)


NOT_YET = (
    ("spec.recipe.retrain", {"epochs": 1}),
    ("spec.placement", {"compute": "gpu"}),
    ("spec.engine", "kubeflow"),
    ("spec.engine", "job"),
    ("spec.baseline.kind", "Channel"),
)

ON_CLUSTER: tuple[tuple[str, dict[str, Any]], ...] = (
    ("spec.promotion", {"spec.promotion": {"channel": "production"}}),
    ("spec.ttlSecondsAfterFinished", {"spec.ttlSecondsAfterFinished": 0}),
    ("spec.managedBy", {"spec.managedBy": "kueue"}),
    ("spec.suspend", {"spec.suspend": True}),
    ("spec.recipeRef", {"spec.recipe": DROP, "spec.recipeRef": {"name": "small"}}),
    ("spec.gatePolicyRef", {"spec.gates": DROP, "spec.gatePolicyRef": {"name": "strict"}}),
)


@pytest.mark.parametrize(("path", "changes"), ON_CLUSTER, ids=[path for path, _ in ON_CLUSTER])
def test_what_needs_a_cluster_is_valid_but_not_run_here(
    path: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    assert problems_of(tmp_path, changes) == []
    spec = load_job(tmp_path / "job.yaml").spec
    (problem,) = needs_cluster(spec)
    assert problem.path == path
    assert unsupported(spec) == []


def test_what_came_by_reference_is_checked_with_the_rest() -> None:
    spec = changed({"spec.data.train": DROP, "spec.recipe": {"finetune": {"epochs": 1}}})["spec"]
    assert [str(problem) for problem in check_resolved(spec)] == [
        "spec.recipe.finetune: recipe.finetune needs data.train"
    ]
    assert check_resolved(GOOD["spec"]) == []


@pytest.mark.parametrize(("path", "value"), NOT_YET)
def test_what_comes_later_is_valid_but_said_to_be_unsupported(
    path: str, value: Any, tmp_path: Path
) -> None:
    assert problems_of(tmp_path, {path: value}) == []
    (problem,) = unsupported(load_job(tmp_path / "job.yaml").spec)
    assert problem.path == path
    assert "not supported yet by this version" in problem.message


def test_a_good_job_is_supported(tmp_path: Path) -> None:
    assert problems_of(tmp_path, {}) == []
    spec = load_job(tmp_path / "job.yaml").spec
    assert unsupported(spec) == []
    assert needs_cluster(spec) == []


@pytest.mark.parametrize(
    "policy",
    [
        {"gates": [SHARES, FASTER]},
        {"apiVersion": "x", "kind": "GatePolicy", "spec": {"gates": [SHARES, FASTER]}},
        changed({"spec.gates": [SHARES, FASTER]}),
    ],
)
def test_gates_are_read_from_policies_and_jobs(policy: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "gates.yaml"
    path.write_text(yaml.safe_dump(policy))
    first, second = load_gates(path)
    assert (first.name, first.confidence, second.min) == ("acc", 0.95, 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the file is empty"),
        ("spec: {}", "has no gates"),
        ("gates: 5", "gates: must be a list"),
        ("gates: [{name: a, kind: size}]", "gates[0]: min or max is needed"),
        ("gates: [{name: a, kind: sise, max: 1}]", "did you mean size?"),
        ("gates: []\n---\ngates: []", "has 2 documents"),
        ("gates: [", "is not valid YAML"),
    ],
)
def test_policies_that_are_wrong(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "gates.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"gates\.yaml") as raised:
        load_gates(path)
    assert words in str(raised.value)
