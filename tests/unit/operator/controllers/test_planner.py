"""A plan means the same wherever it is read, and equal jobs have equal keys."""

from __future__ import annotations

from pathlib import Path

from builders.plans import make_spec

from fulcrum_operator.controllers.planner import make_plan, missing_files, resolve

SPEC = make_spec(
    model={"uri": "model"},
    data={
        "task": "classification",
        "train": {"uri": "s3://bucket/train.npz"},
        "test": {"uri": "x.npy", "targetUri": "y.npy"},
    },
)


def test_paths_are_relative_to_the_manifest(tmp_path: Path) -> None:
    resolved = resolve(SPEC, f"file://{tmp_path}")
    assert resolved.model.uri == f"file://{tmp_path}/model"
    assert resolved.data.train is not None
    assert resolved.data.train.uri == "s3://bucket/train.npz"
    assert resolved.data.test.target_uri == f"file://{tmp_path}/y.npy"
    assert resolve(resolved, "file:///elsewhere") == resolved


def test_equal_jobs_have_equal_keys_and_others_have_not(tmp_path: Path) -> None:
    plan = make_plan("job", SPEC, tmp_path)
    assert plan.run == make_plan("job", SPEC, tmp_path).run
    assert plan.run != make_plan("job", SPEC, tmp_path / "other").run
    assert plan.run != make_plan("job", SPEC.model_copy(update={"seed": 1}), tmp_path).run
    assert plan.run != make_plan("another", SPEC, tmp_path).run


def test_value_that_equals_its_default_changes_nothing(tmp_path: Path) -> None:
    explicit = make_spec(model=SPEC.model, data=SPEC.data, seed=0)
    assert make_plan("job", SPEC, tmp_path).run == make_plan("job", explicit, tmp_path).run


def test_missing_files_are_named_by_field(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "x.npy").touch()
    assert missing_files(resolve(SPEC, f"file://{tmp_path}")) == [
        ("spec.data.test.targetUri", f"{tmp_path}/y.npy")
    ]


def test_patterns_are_left_to_who_reads_them(tmp_path: Path) -> None:
    spec = make_spec(
        model={"uri": "https://host/model.onnx"},
        data={"task": "classification", "test": {"uri": "part-*.parquet"}},
    )
    assert missing_files(resolve(spec, f"file://{tmp_path}")) == []


def test_each_of_several_addresses_is_relative_to_the_manifest(tmp_path: Path) -> None:
    uris = ["a.csv", "s3://bucket/b.csv", "c/*.csv", "d.csv"]
    data = {"task": "classification", "train": {"uris": uris}, "test": {"uri": "t.csv"}}
    spec = make_spec(model={"uri": "https://host/model.onnx"}, data=data)
    resolved = resolve(spec, f"file://{tmp_path}")
    base = f"file://{tmp_path}"
    assert resolved.data.train is not None
    assert resolved.data.train.uris == (
        f"{base}/a.csv",
        "s3://bucket/b.csv",
        f"{base}/c/*.csv",
        f"{base}/d.csv",
    )
    assert resolve(resolved, "file:///elsewhere") == resolved
    (tmp_path / "a.csv").touch()
    (tmp_path / "t.csv").touch()
    assert missing_files(resolved) == [("spec.data.train.uris[3]", f"{tmp_path}/d.csv")]
    train = {"uris": uris, "missing": "Skip", "minimum": 1}
    allowed = make_spec(model={"uri": "https://host/model.onnx"}, data=data | {"train": train})
    assert missing_files(resolve(allowed, base)) == []
