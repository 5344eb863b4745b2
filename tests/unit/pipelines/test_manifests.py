"""Manifests that are accepted and refused, one row each, and what is said about them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from manifest_tables.all import (
    CHANNEL,
    JOB,
    PROMOTION,
    SCHEDULE,
    TABLES,
    accepted,
    name_of,
    refused,
    updates,
)
from manifest_tables.job import FASTER, GOOD, SHARES
from manifest_tables.job_updates import BY_REFERENCE
from manifest_tables.rows import DROP, Row, Table, Update, changed

from fulcrum_operator.controllers.planner import resolve_references
from fulcrum_pipelines.contract import ResolvedSpec
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.manifests import (
    check_file,
    check_resolved,
    load_gates,
    load_job,
    needs_cluster,
    unsupported,
)
from fulcrum_pipelines.resources.compressionjob import CompressionJobSpec
from fulcrum_pipelines.validation.documents import read_documents
from fulcrum_pipelines.validation.problem import Problem
from fulcrum_pipelines.validation.rules import broken_rules
from fulcrum_pipelines.validation.schemas import known_kinds
from fulcrum_pipelines.validation.structure import UNDERSTOOD, UNSUPPORTED_STAGES, check
from fulcrum_pipelines.validation.structure import accepted as accepted_by

ROOT = Path(__file__).parents[3]
JOB_SCHEMA = known_kinds()["fulcrum.dev/v1alpha1", "CompressionJob"]


def problems_of_manifest(tmp_path: Path, manifest: dict[str, Any]) -> list[Problem]:
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(manifest))
    return check_file(path)


def problems_of_update(tmp_path: Path, table: Table, row: Update) -> list[Problem]:
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    before = changed(table.good, row.before)
    old.write_text(yaml.safe_dump(before))
    new.write_text(yaml.safe_dump(changed(before, row.after)))
    return check_file(new, old)


def problems_of(tmp_path: Path, changes: dict[str, Any]) -> list[Problem]:
    return problems_of_manifest(tmp_path, changed(GOOD, changes))


@pytest.mark.parametrize(("table", "row"), accepted(), ids=name_of)
def test_accepted(table: Table, row: Row, tmp_path: Path) -> None:
    assert problems_of_manifest(tmp_path, changed(table.good, row.changes)) == []


@pytest.mark.parametrize(("table", "row"), refused(), ids=name_of)
def test_refused(table: Table, row: Row, tmp_path: Path) -> None:
    found = problems_of_manifest(tmp_path, changed(table.good, row.changes))
    assert found
    matching = [str(each) for each in found if not row.at or each.path == row.at]
    wanted = (*row.words, *row.hints)
    assert any(all(word in text for word in wanted) for text in matching), found


@pytest.mark.parametrize(("table", "row"), updates(), ids=name_of)
def test_updates(table: Table, row: Update, tmp_path: Path) -> None:
    found = problems_of_update(tmp_path, table, row)
    if not row.words:
        assert found == []
        return
    (problem,) = found
    assert problem.path == row.at
    assert all(word in problem.message for word in row.words)


def test_another_object_is_no_change_of_this_one(tmp_path: Path) -> None:
    row = Update("another", {}, {"metadata.name": "other", "spec.seed": 1})
    assert problems_of_update(tmp_path, JOB, row) == []


def test_what_is_wrong_itself_is_not_compared_with(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be compared with: spec\.seed: must not"):
        problems_of_update(tmp_path, JOB, Update("wrong", {"spec.seed": -1}))


def rules(schema: Any) -> Iterator[dict[str, str]]:
    if isinstance(schema, dict):
        yield from schema.get("x-kubernetes-validations", [])
        for inner in schema.values():
            yield from rules(inner)


@pytest.mark.parametrize("table", [JOB, CHANNEL, PROMOTION], ids=name_of)
def test_every_rule_refuses_a_row(table: Table, tmp_path: Path) -> None:
    """Recipes and gate policies have the job's rules: their schemas are parts of the job's."""
    said = set()
    for row in table.refused:
        found = problems_of_manifest(tmp_path, changed(table.good, row.changes))
        said |= {text for each in found for text in (each.message, f"{each.path} {each.message}")}
    for update in table.updates:
        said |= {problem.message for problem in problems_of_update(tmp_path, table, update)}
    schema = known_kinds()["fulcrum.dev/v1alpha1", table.kind]
    assert {rule["message"] for rule in rules(schema)} - said == set()


def test_every_kind_has_a_table() -> None:
    assert {table.kind for table in TABLES} == {kind for _, kind in known_kinds()}


def test_no_field_is_called_like_a_boolean() -> None:
    """Kubectl's reader takes these for true and false; their contents would be lost."""

    def names(schema: Any) -> Iterator[str]:
        for name, inner in schema.get("properties", {}).items():
            yield name.lower()
            yield from names(inner)
        yield from names(schema.get("items", {})) if "items" in schema else ()

    used = {name for schema in known_kinds().values() for name in names(schema)}
    assert used & {"y", "n", "yes", "no", "on", "off", "true", "false"} == set()


def test_every_field_is_described() -> None:
    def undescribed(schema: Any, path: str) -> Iterator[str]:
        for name, inner in schema.get("properties", {}).items():
            if not inner.get("description") and name != "metadata":  # Kubernetes describes it
                yield f"{path}.{name}"
            yield from undescribed(inner, f"{path}.{name}")
        items = schema.get("items", {})
        if items.get("type") == "object" and not items.get("description"):
            yield f"{path}[]"
        yield from undescribed(items, f"{path}[]") if items else ()

    found = [
        each for (_, kind), schema in known_kinds().items() for each in undescribed(schema, kind)
    ]
    assert found == []


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
    text = yaml.safe_dump(changed(GOOD, {"spec.recipe.finetune": {"epochs": 1}}))
    path.write_text(text.replace("epochs: 1", "epochs: 1e1\n      learningRate: 1e-3"))
    finetune = load_job(path).spec.recipe.finetune
    assert finetune is not None
    assert (finetune.epochs, finetune.learning_rate) == (10, 0.001)


WORDS = (
    *(("y", "y"), ("on", True), ("Yes", True), ("N", "N"), ("Off", False), ("nO", "nO")),
    *(("~", None), ("null", None), ("", None), ("=", "="), ("2024-01-01", "2024-01-01")),
    *(("1:30", "1:30"), ("1 000", "1 000"), ("_1", "_1"), ("0o8", "0o8"), ("0b2", "0b2")),
    *(("0x", "0x"), ("0xZZ", "0xZZ"), ("1_000", 1000), ("1_", 1), ("1_0.5", 10.5), ("+1", 1)),
    *(("08", 8), ("0800", 800), ("007", 7), ("00", 0), ("0.10", 0.1), ("010.5", 10.5)),
    *(("0o10", 8), ("0O17", 15), ("0o_17", 15), ("0x1F", 31), ("-0x1F", -31), ("0b101", 5)),
    *((".5", 0.5), ("-.5", -0.5), ("5.", 5.0), ("1e3", 1000.0), ("1E+2", 100.0), ("1.e3", 1000.0)),
    *(("!!str 1e3", "1e3"), ("!!str yes", "yes"), ('!!int "8"', 8), ('"010"', "010"), ("'y'", "y")),
    *(("&a on", True), ("&a !!str on", "on"), ("|-\n  010", "010")),
)
"""As sigs.k8s.io/yaml 1.6.0, which kubectl is built with, turns them into JSON; but y and n."""


@pytest.mark.parametrize(("word", "value"), WORDS)
def test_words_are_read_as_kubectl_reads_them(word: str, value: object, tmp_path: Path) -> None:
    path = tmp_path / "word.yaml"
    path.write_text(f"a: {word}\n")
    (document,) = read_documents(path)
    assert document.problems == []
    assert (document.value["a"], type(document.value["a"])) == (value, type(value))


UNCLEAR = (
    (
        "an octal number",
        "a: 010",
        'kubectl reads 010 as 8, other readers as 10; write 8 or 10, or "010"',
    ),
    ("with a sign", "a: -010", "reads -010 as -8, other readers as -10"),
    ("with a line", "a: 0_10", "reads 0_10 as 8, other readers as 10"),
    ("in a list", "a: [1, 0777]", "a[1]: kubectl reads 0777 as 511"),
    ("infinity", "a: .inf", "'.inf' is not a finite number"),
    ("too large", "a: 1e400", "'1e400' is not a finite number"),
    ("no number", "a: .NaN", "'.NaN' is not a finite number"),
    ("on as a key", "a: {on: 1}", 'a.on: kubectl reads the key on as true; write "on" in quotes'),
    ("a number as a key", "1e3: 1", "kubectl reads the key 1e3 as 1000"),
    ("an octal key", "010: 1", "reads 010 as 8"),
    ("null as a key", "~: 1", "a key must be a name, not null"),
    ("a late merge", "a: &x {b: 1}\nc: {b: 2, <<: *x}", "c.b: stands before << that holds it too"),
    (
        "YAML 1.2",
        "%YAML 1.2\n---\na: 1",
        "%YAML 1.2 is a version that kubectl does not read [line 1]",
    ),
)


@pytest.mark.parametrize(
    ("text", "words"), [row[1:] for row in UNCLEAR], ids=[r[0] for r in UNCLEAR]
)
def test_what_kubectl_reads_otherwise_is_refused(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "word.yaml"
    path.write_text(text)
    (problem,) = read_documents(path)[0].problems
    assert words in str(problem)


@pytest.mark.parametrize(
    ("key", "name"), [("1", "1"), ("true", "true"), ("y", "y"), ('"on"', "on"), ("1.25", "1.25")]
)
def test_keys_that_kubectl_keeps(key: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / "word.yaml"
    path.write_text(f"{key}: 1\n")
    (document,) = read_documents(path)
    assert (document.value, document.problems) == ({name: 1}, [])


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("epochs: 8", "epochs: 010", "spec.recipe.finetune.epochs: kubectl reads 010 as 8"),
        ("target: label", "target: on", "spec.data.test.target: must be text, not true; put it in"),
    ],
)
def test_a_value_is_refused_once(old: str, new: str, words: str, tmp_path: Path) -> None:
    changes = {"spec.recipe.finetune": {"epochs": 8}, "spec.data.test.target": "label"}
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(changed(GOOD, changes)).replace(old, new))
    (problem,) = check_file(path)
    assert words in str(problem)


def test_dates_and_quoted_numbers_stay_text(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    text = yaml.safe_dump(changed(GOOD, {"metadata.labels": {"a": "x", "b": "y"}}))
    path.write_text(text.replace("a: x", "a: 2026-01-02").replace("b: y", 'b: "5"'))
    assert load_job(path).labels == {"a": "2026-01-02", "b": "5"}


def test_merge_keys_work(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    manifest = changed(GOOD, {"spec.data.test": "THERE"})
    text = yaml.safe_dump(manifest).replace("test: THERE", "test:\n      <<: {uri: t.npz, take: 5}")
    path.write_text(text)
    test = load_job(path).spec.data.test
    assert (test.uri, test.take) == ("t.npz", 5)


def test_problems_name_the_line_and_the_document(tmp_path: Path) -> None:
    path = tmp_path / "jobs.yaml"
    good, bad = yaml.safe_dump(GOOD), yaml.safe_dump(changed(GOOD, {"spec.seed": -1}))
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
    path.write_text(yaml.safe_dump(changed(GOOD, {"metadata.namespace": "team"})))
    job = load_job(path)
    assert (job.name, job.namespace, job.directory) == ("mnist", "team", tmp_path)
    assert job.spec.measure.pairs == 400
    assert job.spec.model.uri == "model"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (yaml.safe_dump(changed(GOOD, {"spec.seed": -1})), "spec.seed: must not be -1"),
        (f"{yaml.safe_dump(GOOD)}---\n{yaml.safe_dump(GOOD)}", "has 2 documents"),
        (yaml.safe_dump(changed(GOOD, {"spec.seed": -1, "kind": "X"})), "kind: must not be 'X'"),
    ],
)
def test_a_job_that_is_wrong_is_an_error_of_the_user(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as raised:
        load_job(path)
    assert words in str(raised.value)
    assert str(path) in str(raised.value)


NOT_YET = (("spec.recipe.retrain", {"epochs": 1}),)


def test_schema_describes_unsupported_stages_as_such() -> None:
    stages = JOB_SCHEMA["properties"]["spec"]["properties"]["recipe"]["properties"]
    said = {name for name, each in stages.items() if "Not supported yet" in each["description"]}
    assert said == UNSUPPORTED_STAGES


def test_fields_of_numbers_or_words_say_what_they_accept() -> None:
    def fields(schema: Any) -> Iterator[Any]:
        if isinstance(schema, dict):
            yield from (schema,) if schema.get("x-kubernetes-int-or-string") else ()
            for inner in schema.values():
                yield from fields(inner)

    assert "an integer or text" not in map(accepted_by, fields(known_kinds()))


@pytest.mark.parametrize("table", TABLES, ids=name_of)
@pytest.mark.parametrize("length", [64, 254])
def test_problem_of_a_long_name_has_the_line_of_the_name(
    table: Table, length: int, tmp_path: Path
) -> None:
    name = "x" * length
    found = problems_of_manifest(tmp_path, changed(table.good, {"metadata.name": name}))
    lines = (tmp_path / "job.yaml").read_text().splitlines()
    if length > 253 or table in (
        JOB,
        CHANNEL,
        PROMOTION,
        SCHEDULE,
    ):  # other kinds have no shorter limit
        (problem,) = found
        assert problem.path == "metadata.name"
        assert problem.line is not None
        assert name in lines[problem.line - 1]


ON_CLUSTER: tuple[tuple[str, dict[str, Any]], ...] = (
    ("spec.promotion", {"spec.promotion": {"channel": "production"}}),
    ("spec.ttlSecondsAfterFinished", {"spec.ttlSecondsAfterFinished": 0}),
    ("spec.managedBy", {"spec.managedBy": "kueue"}),
    ("spec.suspend", {"spec.suspend": True}),
    ("spec.placement", {"spec.placement": {"compute": "gpu"}}),
    ("spec.engine", {"spec.engine": "kubeflow"}),
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


def test_references_are_replaced_by_what_they_name() -> None:
    spec = CompressionJobSpec.model_validate(changed(GOOD, BY_REFERENCE)["spec"])
    whole = ResolvedSpec.model_validate(GOOD["spec"])
    assert resolve_references(spec, whole.recipe, whole.gates) == whole


def test_what_came_by_reference_is_checked_with_the_rest() -> None:
    spec = changed(GOOD, {"spec.data.train": DROP, "spec.recipe": {"finetune": {"epochs": 1}}})[
        "spec"
    ]
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
        changed(GOOD, {"spec.gates": [SHARES, FASTER]}),
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


@pytest.mark.parametrize("rule", ["self.missing > 1", "1 / self.zero > 2", "self.zero"])
def test_rule_that_cannot_be_evaluated_holds_for_nothing(rule: str) -> None:
    schema = {"x-kubernetes-validations": [{"rule": rule, "message": "broken"}]}
    with pytest.raises(ValueError, match="ends in"):
        list(broken_rules({"zero": 0}, schema, set()))
