"""The same examples in every format give the same data set."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from model_files import SIGNATURE
from PIL import Image
from pyarrow import parquet

from fulcrum_components.data import column_values, fingerprint, from_arrays, open_dataset
from fulcrum_components.data.dataset import TableDataset
from fulcrum_components.models.signature import Signature, TensorSpec
from fulcrum_pipelines.resources.compressionjob import DataSource

COUNT = 50
GENERATOR = np.random.default_rng(3)
X = GENERATOR.normal(size=(COUNT, 4)).astype(np.float32)
Y = np.arange(COUNT) % 3
WHO = np.array([f"user {i % 7}" for i in range(COUNT)])


def csv_text() -> str:
    """Return the examples as CSV; shortest exact decimals, so that nothing is lost."""
    rows = [",".join([*map(str, x), str(y), who]) for x, y, who in zip(X, Y, WHO, strict=True)]
    return "\n".join(["a,b,c,d,y,who", *rows])


def write_csv(root: Path) -> str:
    """Write a CSV file."""
    (root / "d.csv").write_text(csv_text())
    return "d.csv"


def write_gzip(root: Path) -> str:
    """Write a gzipped CSV file."""
    (root / "d.csv.gz").write_bytes(gzip.compress(csv_text().encode()))
    return "d.csv.gz"


def write_csv_parts(root: Path) -> str:
    """Write three CSV files."""
    header, *rows = csv_text().splitlines()
    for number, part in enumerate(np.array_split(rows, 3)):
        (root / f"part-{number}.csv").write_text("\n".join([header, *part]))
    return "part-*.csv"


def write_parquet(root: Path) -> str:
    """Write a Parquet file with a column a number, in several row groups."""
    columns = {name: X[:, i] for i, name in enumerate("abcd")} | {"y": Y, "who": WHO}
    parquet.write_table(pa.table(columns), root / "d.parquet", row_group_size=17)
    return "d.parquet"


def write_parquet_lists(root: Path) -> str:
    """Write a Parquet file with a column of lists."""
    lists = pa.FixedSizeListArray.from_arrays(pa.array(X.ravel()), 4)
    parquet.write_table(pa.table({"x": lists, "y": Y, "who": WHO}), root / "l.parquet")
    return "l.parquet"


def write_npz(save: Callable[..., None]) -> Callable[[Path], str]:
    """Return a writer of an `.npz` file, plain or compressed."""

    def write(root: Path) -> str:
        save(root / "d.npz", x=X, y=Y, who=WHO, unrelated=np.arange(3))
        return "d.npz"

    return write


def write_npz_parts(root: Path) -> str:
    """Write a directory of `.npz` files."""
    (root / "parts").mkdir()
    for number, rows in enumerate(np.array_split(np.arange(COUNT), 3)):
        np.savez(root / "parts" / f"{number}.npz", x=X[rows], y=Y[rows], who=WHO[rows])
    return "parts"


def write_fortran(root: Path) -> str:
    """Write an array in column order."""
    np.savez(root / "f.npz", x=np.asfortranarray(X), y=Y, who=WHO)
    return "f.npz"


def write_wide(root: Path) -> str:
    """Write wider types than the model takes."""
    np.savez(root / "w.npz", x=X.astype(np.float64), y=Y.astype(np.uint8), who=WHO)
    return "w.npz"


PYTHON = """
import csv

from helper import FILE


class Items:
    def __init__(self, path):
        with open(path + FILE) as stream:
            self.rows = list(csv.DictReader(stream))

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        row = self.rows[i]
        import numpy as np
        x = np.array([row[k] for k in "abcd"], np.float32)
        return {"x": x, "y": int(row["y"]), "who": row["who"]}


def load(root):
    return Items(root)


def arrays(root):
    items = Items(root)
    return {k: [items[i][k] for i in range(len(items))] for k in ("x", "y", "who")}
"""


def write_python(root: Path) -> str:
    """Write a Python file and one that it imports."""
    write_csv(root)
    (root / "data.py").write_text(PYTHON)
    (root / "helper.py").write_text("FILE = '/d.csv'")
    return "data.py"


@dataclass(frozen=True)
class TestCase:
    """A format.

    Attributes:
        name: Its name.
        write: Writes the examples below a directory and returns what to put into the URL.
        source: Further fields of the data source.
    """

    __test__ = False

    name: str
    write: Callable[[Path], str]
    source: dict[str, Any] = field(default_factory=dict)


COLUMNS = {"inputs": {"x": "a:d"}}
CASES = [
    TestCase("csv", write_csv, COLUMNS),
    TestCase("csv columns", write_csv, {"inputs": {"x": "a, b,c:d"}}),
    TestCase("csv.gz", write_gzip, COLUMNS),
    TestCase("csv glob", write_csv_parts, COLUMNS),
    TestCase("parquet", write_parquet, COLUMNS),
    TestCase("parquet lists", write_parquet_lists),
    TestCase("npz", write_npz(np.savez)),
    TestCase("npz compressed", write_npz(np.savez_compressed)),
    TestCase("npz directory", write_npz_parts, {"format": "npz"}),
    TestCase("npz in column order", write_fortran),
    TestCase("npz of wide types", write_wide),
    TestCase("python items", write_python, {"format": "python", "function": "load"}),
    TestCase("python arrays", write_python, {"format": "python", "function": "arrays"}),
]


def opened(case: TestCase, root: Path, **changes: Any) -> TableDataset:
    """Write the examples in the format of `case` and open them."""
    fields = case.source | changes
    if fields.get("format") == "python":
        fields["arguments"] = {"root": str(root)}
    source = DataSource(uri=f"file://{root}/{case.write(root)}", **fields)
    return open_dataset(
        source, SIGNATURE, "classification", where="spec.data.test", cache_dir=root / "cache"
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_same_examples_in_every_format(case: TestCase, tmp_path: Path) -> None:
    expected = from_arrays({"x": X}, Y, SIGNATURE, "classification", columns={"who": WHO})
    dataset = opened(case, tmp_path)
    assert len(dataset) == COUNT
    assert fingerprint(dataset, ["who"]) == fingerprint(expected, ["who"])
    values = column_values(dataset, "who", limit=7, where="")
    assert values == tuple(sorted(set(WHO.tolist())))
    sizes = [len(batch.inputs["x"]) for batch in dataset.batches(16)]
    assert sizes == [16, 16, 16, 2]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_order_skip_and_take(case: TestCase, tmp_path: Path) -> None:
    dataset = opened(case, tmp_path, shuffleSeed=5, skip=3, take=20)
    order = np.random.default_rng(5).permutation(COUNT)[3:23]
    (batch,) = dataset.batches(64, columns=["who"])
    np.testing.assert_array_equal(batch.inputs["x"], X[order])
    np.testing.assert_array_equal(batch.targets, Y[order])
    np.testing.assert_array_equal(batch.columns["who"], WHO[order])
    (again,) = dataset.batches(64, shuffle_seed=1)
    assert sorted(map(tuple, again.inputs["x"])) == sorted(map(tuple, X[order]))
    assert not np.array_equal(again.inputs["x"], X[order])


def test_changed_file_is_read_again(tmp_path: Path) -> None:
    case = CASES[0]
    before = fingerprint(opened(case, tmp_path))
    path = tmp_path / "d.csv"
    path.write_text(path.read_text() + "\n1,2,3,4,1,x\n")
    source = DataSource(uri=f"file://{path}", **case.source)
    dataset = open_dataset(
        source, SIGNATURE, "classification", where="", cache_dir=tmp_path / "cache"
    )
    assert len(dataset) == COUNT + 1
    assert fingerprint(dataset) != before


def test_npy_pair(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)
    source = DataSource(uri=f"file://{tmp_path}/x.npy", target_uri=f"file://{tmp_path}/y.npy")
    dataset = open_dataset(source, SIGNATURE, "classification", where="", cache_dir=tmp_path)
    np.testing.assert_array_equal(dataset.targets, Y)


def test_calibration_needs_no_answers(tmp_path: Path) -> None:
    np.savez(tmp_path / "c.npz", x=X)
    source = DataSource(uri=f"file://{tmp_path}/c.npz")
    dataset = open_dataset(
        source, SIGNATURE, "classification", where="", cache_dir=tmp_path, needs_targets=False
    )
    assert dataset.targets is None
    assert next(dataset.batches(5)).targets is None


def test_regression_targets(tmp_path: Path) -> None:
    signature = Signature(SIGNATURE.inputs, (TensorSpec("o", ("batch", 1), "float32"),), "value")
    np.savez(tmp_path / "r.npz", x=X, y=Y * 0.5)
    source = DataSource(uri=f"file://{tmp_path}/r.npz")
    dataset = open_dataset(source, signature, "regression", where="", cache_dir=tmp_path)
    assert dataset.targets is not None
    assert dataset.targets.dtype == np.float64
    np.testing.assert_array_equal(dataset.targets, Y * 0.5)


@pytest.mark.parametrize("channels", [1, 3])
def test_image_folder(channels: int, tmp_path: Path) -> None:
    signature = Signature(
        (TensorSpec("image", ("batch", channels, 6, 5), "float32"),), SIGNATURE.outputs, "logits"
    )
    pixels = GENERATOR.integers(0, 256, (6, 6, 5, channels), dtype=np.uint8)
    for number, image in enumerate(pixels):
        folder = tmp_path / "im" / "cab"[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.squeeze()).save(folder / f"{number}.png")
    source = DataSource(uri=f"file://{tmp_path}/im", scale=1 / 255)
    dataset = open_dataset(source, signature, "classification", where="", cache_dir=tmp_path)
    (batch,) = dataset.batches(10, columns=["file", "class"])
    order = [1, 4, 2, 5, 0, 3]
    expected = pixels[order].transpose(0, 3, 1, 2) / 255
    np.testing.assert_allclose(batch.inputs["image"], expected, rtol=1e-6)
    assert batch.targets is not None
    assert batch.targets.tolist() == [0, 0, 1, 1, 2, 2]
    assert batch.columns["class"].tolist() == ["a", "a", "b", "b", "c", "c"]
    assert batch.columns["file"][0] == "a/1.png"
