"""Map labels to classes once, over all data sets, and only if the mapping is unambiguous."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from model_files import SIGNATURE
from PIL import Image
from pyarrow import parquet

from fulcrum_components.data import find_labels, from_record, open_dataset
from fulcrum_components.data.label_values import Observed, Seen
from fulcrum_components.models.signature import Signature, TensorSpec
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.resources.compressionjob import DataSource

WHERE = "spec.data.test"
PETS = ("small", "medium", "large")


@dataclass(frozen=True)
class TestCase:
    """Labels of some data sets.

    Attributes:
        name: What is special about them.
        data: Labels of each data set.
        classes: Declared names.
        count: Classes of the model.
        folders: Data sets whose labels are names of folders.
        mapped: Class of each label.
        names: Names of the classes, if the labels contain them.
        notes: Words of the notes, one a note.
        error: Words of the error.
    """

    __test__ = False

    name: str
    data: dict[str, Sequence[Any]]
    classes: tuple[str, ...] | None = None
    count: int | None = 3
    folders: tuple[str, ...] = ()
    mapped: dict[str, int] = field(default_factory=dict)
    names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    error: str = ""


def folders(name: str, data: dict[str, Sequence[Any]], **changes: Any) -> TestCase:
    """Return a case in which all data sets are folders of images."""
    return TestCase(name, data, folders=tuple(data), **changes)


NUMBERS = [*map(str, range(12))]
TEXT_ORDER = "torchvision's ImageFolder sorts them as text (0, 1, 10 and 9 more)"
TEN_TO = {number: int(number) for number in NUMBERS}

CASES = (
    TestCase("positions", {"train": [0, 1, 2], "test": [0, 1, 2]}, mapped={"0": 0, "1": 1, "2": 2}),
    TestCase(
        "a class that test lacks",
        {"train": [0, 1, 2], "test": [0, 2]},
        mapped={"0": 0, "1": 1, "2": 2},
        notes=("the test data have no example of class 1",),
    ),
    TestCase(
        "a class that all lack",
        {"train": [1, 2], "test": [1, 2]},
        mapped={"1": 1, "2": 2},
        notes=("no data set has an example of class 0",),
    ),
    TestCase("text of numbers", {"test": ["0", "2", "1"]}, mapped={"0": 0, "2": 2, "1": 1}),
    TestCase(
        "text of fractions", {"test": ["0.0", "2.0", "1."]}, mapped={"0.0": 0, "2.0": 2, "1.": 1}
    ),
    TestCase(
        "unknown count",
        {"test": [0, 7]},
        count=None,
        mapped={"0": 0, "7": 7},
    ),
    TestCase(
        "from 1",
        {"train": [1, 2, 3], "test": [1, 3]},
        mapped={"1": 0, "2": 1, "3": 2},
        names=("1", "2", "3"),
        notes=("1 is class 0, 2 is class 1, 3 is class 2", "test data have no example of class 2"),
    ),
    TestCase(
        "plus and minus",
        {"test": [-1, 1]},
        count=2,
        mapped={"-1": 0, "1": 1},
        names=("-1", "1"),
        notes=("-1 is class 0, 1 is class 1",),
    ),
    TestCase(
        "two and four",
        {"test": [2, 4]},
        count=2,
        mapped={"2": 0, "4": 1},
        names=("2", "4"),
        notes=("2 is class 0, 4 is class 1",),
    ),
    TestCase(
        "signs of three",
        {"test": [-1, 0, 1]},
        mapped={"-1": 0, "0": 1, "1": 2},
        names=("-1", "0", "1"),
        notes=("-1 is class 0",),
    ),
    TestCase(
        "words of booleans", {"test": ["False", "True"]}, count=2, mapped={"False": 0, "True": 1}
    ),
    TestCase(
        "from 1, one lacking everywhere",
        {"test": [1, 3]},
        error="label of example 1 is 3, but the model's classes are 0 to 2",
    ),
    TestCase(
        "gaps",
        {"test": [0, 1, 3]},
        error="0, 1, 3, mean other classes, name them in spec.data.classes",
    ),
    TestCase("too many", {"test": [0, 1, 2, 3]}, error="label of example 3 is 3"),
    TestCase("unlabelled", {"test": [0, 1, -1]}, count=2, error="label of example 2 is -1"),
    TestCase("negative, unknown count", {"test": [0, -1]}, count=None, error="0 or more"),
    TestCase("text", {"test": ["cat", "dog"]}, error="the labels are text ('cat', 'dog')"),
    TestCase(
        "text among numbers", {"test": ["0", "1", "NaN"]}, error="'NaN' of example 2 is no whole"
    ),
    TestCase(
        "names",
        {"test": ["large", "small"]},
        PETS,
        mapped={"large": 2, "small": 0},
        names=PETS,
        notes=("no data set has an example of class medium",),
    ),
    TestCase(
        "names in part",
        {"train": PETS, "test": ["large", "small"]},
        PETS,
        mapped={"small": 0, "medium": 1, "large": 2},
        names=PETS,
        notes=("test data have no example of class medium",),
    ),
    TestCase(
        "named positions", {"test": [0, 1, 2]}, PETS, mapped={"0": 0, "1": 1, "2": 2}, names=PETS
    ),
    TestCase(
        "names of numbers",
        {"test": [7, 3, 5]},
        ("3", "5", "7"),
        mapped={"7": 2, "3": 0, "5": 1},
        names=("3", "5", "7"),
    ),
    TestCase(
        "names of equal numbers",
        {"test": ["03", "5.0", "7"]},
        ("3", "5", "7"),
        mapped={"03": 0, "5.0": 1, "7": 2},
        names=("3", "5", "7"),
    ),
    TestCase(
        "from 1 with names",
        {"test": [1, 2, 3]},
        PETS,
        mapped={"1": 0, "2": 1, "3": 2},
        names=PETS,
        notes=("3 is class 2",),
    ),
    TestCase(
        "names in another order",
        {"test": ["False", "True"]},
        ("True", "False"),
        2,
        mapped={"False": 1, "True": 0},
        names=("True", "False"),
    ),
    TestCase(
        "two readings",
        {"test": [1, 2]},
        ("1", "2", "0"),
        error="label 1 may be the class named '1' or class number 1, which is named '2'",
    ),
    TestCase(
        "not a name",
        {"test": ["small", "lage"]},
        PETS,
        error="the label 'lage' of example 1 is not in spec.data.classes (did you mean 'large'?)",
    ),
    TestCase(
        "names and numbers",
        {"test": ["small", "1"]},
        PETS,
        error="the label '1' of example 1 is not in spec.data.classes",
    ),
    TestCase(
        "too few names",
        {"test": [0, 1]},
        PETS[:2],
        error="has 2 names, 2 of them different; the model distinguishes 3 classes",
    ),
    TestCase(
        "a name twice", {"test": [0, 1]}, ("a", "b", "a"), error="3 names, 2 of them different"
    ),
    folders(
        "folders", {"test": ["b", "a", "c"]}, mapped={"a": 0, "b": 1, "c": 2}, names=("a", "b", "c")
    ),
    folders(
        "folders that test lacks",
        {"train": ["b", "a", "c"], "test": ["c", "b"]},
        mapped={"a": 0, "b": 1, "c": 2},
        names=("a", "b", "c"),
        notes=("test data have no example of class a",),
    ),
    folders(
        "folders in a declared order",
        {"test": PETS[::-1]},
        classes=PETS,
        mapped={"small": 0, "medium": 1, "large": 2},
        names=PETS,
    ),
    folders(
        "folders of numbers",
        {"test": NUMBERS},
        count=12,
        mapped=TEN_TO,
        names=tuple(NUMBERS),
        notes=(TEXT_ORDER,),
    ),
    folders(
        "folders with leading zeros",
        {"test": ["00", "02", "01"]},
        mapped={"00": 0, "01": 1, "02": 2},
        names=("00", "01", "02"),
    ),
    folders(
        "folders from 1",
        {"test": ["1", "3", "2"]},
        mapped={"1": 0, "2": 1, "3": 2},
        names=("1", "2", "3"),
    ),
    folders(
        "folders of positions",
        {"test": ["0", "2"]},
        classes=PETS,
        mapped={"0": 0, "2": 2},
        names=PETS,
        notes=("no data set has an example of class medium",),
    ),
    folders(
        "too few folders",
        {"train": ["a", "b"], "test": ["b"]},
        error="there are 2 folders of classes in all data sets (a, b; 'a' only in train)",
    ),
    folders(
        "a folder too many",
        {"train": PETS, "test": [*PETS, "tiny"]},
        error="4 folders of classes in all data sets (small, medium, large, tiny; 'tiny' only",
    ),
    folders(
        "an unknown folder",
        {"test": ["small", "midium"]},
        classes=PETS,
        error="folder 'midium' is not in spec.data.classes (did you mean 'medium'?)",
    ),
    TestCase(
        "folders and numbers",
        {"train": ["b", "a", "c"], "test": [0, 1, 2]},
        folders=("train",),
        mapped={"a": 0, "b": 1, "c": 2, "0": 0, "1": 1, "2": 2},
        names=("a", "b", "c"),
    ),
)


def observed(case: TestCase) -> dict[str, Observed]:
    """Return the labels of a case as data sets report them."""
    found = {}
    for name, labels in case.data.items():
        seen = {str(label): Seen(example, 1) for example, label in enumerate(labels)}
        found[name] = Observed(f"spec.data.{name}", name in case.folders, seen)
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_labels_are_mapped_or_refused(case: TestCase) -> None:
    if case.error:
        with pytest.raises(UserError) as caught:
            find_labels(observed(case), case.classes, case.count)
        assert case.error in str(caught.value)
        assert str(caught.value).startswith("spec.data.")
        return
    labels = find_labels(observed(case), case.classes, case.count)
    assert {**labels.values, **labels.folders} == case.mapped
    assert labels.names == case.names
    assert len(labels.notes) == len(case.notes), labels.notes
    for words, note in zip(case.notes, labels.notes, strict=True):
        assert words in note
    recorded = {entry.label: entry.index for entry in labels.record.labels}
    assert recorded == case.mapped
    again = from_record(labels.record, case.classes, case.count)
    assert (again.values, again.folders, again.names) == (labels.values, labels.folders, case.names)


X = np.arange(24, dtype=np.float32).reshape(6, 4)
ROUND = [0, 2, 1, 0, 1, 2]
KINDS: tuple[tuple[str, Any], ...] = (
    ("int64", np.array(ROUND)),
    ("uint8", np.array(ROUND, np.uint8)),
    ("uint64", np.array(ROUND, np.uint64)),
    ("big endian", np.array(ROUND, ">i4")),
    ("a column", np.array(ROUND)[:, None]),
    ("two more axes", np.array(ROUND)[:, None, None]),
    ("float32", np.array(ROUND, np.float32)),
    ("float64 column", np.array(ROUND, np.float64)[:, None]),
    ("float16", np.array(ROUND, np.float16)),
    ("one-hot", np.eye(3, dtype=np.float32)[ROUND]),
    ("one-hot booleans", np.eye(3, dtype=bool)[ROUND]),
    ("text", np.array([*map(str, ROUND)])),
    ("bytes", np.array([*map(str, ROUND)], "S")),
    ("text with blanks", np.array([f" {label} " for label in ROUND])),
    ("from 1", np.array(ROUND) + 1),
)
CONVERTED = {"float32", "float64 column", "float16", "one-hot", "one-hot booleans"}


def opened(root: Path, y: Any, classes: Sequence[str] | None = None, **arrays: Any) -> Any:
    """Return a data set of `X` with the labels `y`."""
    np.savez(root / "d.npz", x=X, y=y, **arrays)
    source = DataSource(uri=f"file://{root}/d.npz")
    return open_dataset(
        source, SIGNATURE, "classification", where=WHERE, cache_dir=root / "c", classes=classes
    )


@pytest.mark.parametrize(("name", "y"), KINDS, ids=[name for name, _ in KINDS])
def test_kinds_of_labels_give_the_same_classes(name: str, y: Any, tmp_path: Path) -> None:
    dataset = opened(tmp_path, y)
    assert dataset.targets.tolist() == ROUND
    assert dataset.targets.dtype == np.int64
    assert [batch.targets.tolist() for batch in dataset.batches(4)] == [ROUND[:4], ROUND[4:]]
    assert bool(list(dataset.notes)) == (name in CONVERTED)


def test_boolean_labels(tmp_path: Path) -> None:
    two = np.array([True, False, True, True, False, False])
    assert opened(tmp_path, two).targets.tolist() == [1, 0, 1, 1, 0, 0]


def test_text_labels_follow_the_declared_names(tmp_path: Path) -> None:
    dataset = opened(tmp_path, np.array(PETS)[ROUND], PETS)
    assert dataset.targets.tolist() == ROUND


REFUSED: tuple[tuple[str, Any, str], ...] = (
    ("fractions", np.array([0, 1, 2, 0.5, 1, 1]), "label of example 3 is 0.5"),
    ("NaN", np.array([0, 1, np.nan, 0, 1, 1]), "label of example 2 is nan"),
    ("soft labels", np.full((6, 3), 1 / 3), "row of example 0 is not one-hot"),
    ("several classes", np.array([[1, 0, 0]] * 5 + [[1, 1, 0]]), "row of example 5 is not one-hot"),
    ("no class", np.array([[0, 0, 1], [0, 0, 0]] * 3), "row of example 1 is not one-hot"),
    ("one-hot of another width", np.eye(6, 4), "class labels have 2 axes, [n, 4]"),
    ("masks", np.zeros((6, 2, 2), int), "class labels have 3 axes, [n, 2, 2]"),
    ("dates", np.zeros(6, "M8[s]"), "class labels are datetime64[s]"),
    ("complex", np.zeros(6, complex), "class labels are complex128"),
    ("empty text", np.array(["0", "1", "", "0", "1", "1"]), "example 2 has no label"),
    ("bytes of another coding", np.array([b"\xe4"] * 6), "no UTF-8 text"),
    ("too large", np.full(6, 2**64 - 1, np.uint64), "too large for a class"),
)


@pytest.mark.parametrize(("y", "words"), [row[1:] for row in REFUSED], ids=[r[0] for r in REFUSED])
def test_labels_that_are_none(y: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        opened(tmp_path, y)
    assert words in str(caught.value)
    assert WHERE in str(caught.value)


def table_of(root: Path, kind: str, labels: Sequence[Any]) -> str:
    """Write `X` with labels in a CSV or Parquet file, and return its name."""
    columns: dict[str, Any] = {name: X[:, i] for i, name in enumerate("abcd")}
    if kind == "csv":
        rows = [",".join(map(str, [*x, label])) for x, label in zip(X, labels, strict=True)]
        (root / "d.csv").write_text("\n".join(["a,b,c,d,y", *rows]))
        return "d.csv"
    parquet.write_table(pa.table(columns | {"y": labels}), root / "d.parquet")
    return "d.parquet"


TABLES: tuple[tuple[str, str, Any], ...] = (
    ("CSV of numbers", "csv", ROUND),
    ("CSV of fractions", "csv", [float(label) for label in ROUND]),
    ("CSV of text", "csv", [PETS[label] for label in ROUND]),
    ("Parquet of numbers", "parquet", pa.array(ROUND, pa.int8())),
    ("Parquet of fractions", "parquet", pa.array(ROUND, pa.float64())),
    ("Parquet of text", "parquet", pa.array([PETS[label] for label in ROUND])),
    ("Parquet of long text", "parquet", pa.array([PETS[i] for i in ROUND], pa.large_string())),
    ("categories", "parquet", pa.array([PETS[label] for label in ROUND]).dictionary_encode()),
    ("categories of numbers", "parquet", pa.array(ROUND).dictionary_encode()),
    ("decimals", "parquet", pa.array(ROUND, pa.decimal128(5, 0))),
    ("lists of one", "parquet", pa.array([[label] for label in ROUND])),
    ("one-hot lists", "parquet", pa.array(np.eye(3, dtype=int)[ROUND].tolist())),
)


@pytest.mark.parametrize(
    ("kind", "labels"), [row[1:] for row in TABLES], ids=[r[0] for r in TABLES]
)
def test_labels_in_tables(kind: str, labels: Any, tmp_path: Path) -> None:
    source = DataSource(
        uri=f"file://{tmp_path}/{table_of(tmp_path, kind, labels)}", inputs={"x": "a:d"}
    )
    dataset = open_dataset(
        source, SIGNATURE, "classification", where=WHERE, cache_dir=tmp_path / "c", classes=PETS
    )
    assert dataset.targets is not None
    assert dataset.targets.tolist() == ROUND


def test_empty_folders_are_classes(tmp_path: Path) -> None:
    inputs = (TensorSpec("image", ("batch", 1, 6, 5), "float32"),)
    signature = Signature(inputs, SIGNATURE.outputs, "logits")
    for name in (*PETS, ".hidden", "__MACOSX"):
        (tmp_path / "im" / name).mkdir(parents=True)
    for name in ("large", "small"):
        for number in (0, 1):
            Image.new("L", (5, 6)).save(tmp_path / "im" / name / f"{number}.png")
        (tmp_path / "im" / name / "._0.png").write_bytes(b"of an archiver")
    source = DataSource(uri=f"file://{tmp_path}/im")
    dataset = open_dataset(
        source, signature, "classification", where=WHERE, cache_dir=tmp_path / "c", classes=PETS
    )
    assert dataset.targets is not None
    assert dataset.targets.tolist() == [2, 2, 0, 0]
