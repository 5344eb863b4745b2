"""Several addresses are one data set in the order of the list, or an error that names the fault."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from model_files import SIGNATURE
from pyarrow import parquet

from fulcrum_components.data import fingerprint, from_arrays, open_dataset
from fulcrum_components.data.dataset import TableDataset
from fulcrum_pipelines.errors import FulcrumError, UserError
from fulcrum_pipelines.resources.compressionjob import DataSource

DAYS = 4
SIZES = (3, 5, 2, 4)
GENERATOR = np.random.default_rng(11)
X = [GENERATOR.normal(size=(size, 4)).astype(np.float32) for size in SIZES]
Y = [np.arange(size) % 3 for size in SIZES]
SITE = [np.array([f"site {'x' * day}{i}" for i in range(size)]) for day, size in enumerate(SIZES)]
"""Text that is longer on later days."""

Columns = Mapping[str, np.ndarray[Any, Any]]
Writer = Callable[[Path, Columns], object]


def columns_of(day: int) -> dict[str, np.ndarray[Any, Any]]:
    """Return the columns a, b, c, d, y and site of a day."""
    return {name: X[day][:, i] for i, name in enumerate("abcd")} | {"y": Y[day], "site": SITE[day]}


def write_csv(path: Path, columns: Columns) -> None:
    """Write a CSV file, gzipped if its name says so."""
    rows = zip(*(values.tolist() for values in columns.values()), strict=True)
    text = "\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def write_parquet(path: Path, columns: Columns) -> None:
    """Write a Parquet file."""
    parquet.write_table(pa.table(dict(columns)), path)


def write_npz(path: Path, columns: Columns) -> None:
    """Write an `.npz` file, with the columns a to d as the array x."""
    inputs = [columns[name] for name in "abcd" if name in columns]
    others = {name: values for name, values in columns.items() if name not in "abcd"}
    np.savez(path, x=np.stack(inputs, axis=1), **others)


RANGE = {"inputs": {"x": "a:d"}}


@dataclass(frozen=True)
class Format:
    """A way to write a day."""

    ending: str
    write: Writer
    source: dict[str, Any] = field(default_factory=dict)


FORMATS = (
    Format("csv", write_csv, RANGE),
    Format("csv.gz", write_csv, RANGE),
    Format("parquet", write_parquet, RANGE),
    Format("npz", write_npz),
)
EACH_FORMAT = pytest.mark.parametrize("kind", FORMATS, ids=lambda kind: kind.ending)


def write_days(root: Path, kind: Format) -> list[str]:
    """Write each day to a file in a folder of its own, all with one name; return the addresses."""
    addresses = []
    for day in range(DAYS):
        folder = root / f"day={day}"
        folder.mkdir()
        kind.write(folder / f"part.{kind.ending}", columns_of(day))
        addresses.append(f"file://{folder}/part.{kind.ending}")
    return addresses


def opened(root: Path, kind: Format, uris: list[str], **more: Any) -> TableDataset:
    """Open `uris` as one data set."""
    source = DataSource(uris=tuple(uris), **(kind.source | more))
    return open_dataset(
        source, SIGNATURE, "classification", where="spec.data.train", cache_dir=root / "cache"
    )


def expected(order: list[int]) -> str:
    """Return the digest of days in an order."""
    arrays = [np.concatenate([each[day] for day in order]) for each in (X, Y, SITE)]
    x, y, site = arrays
    whole = from_arrays({"x": x}, y, SIGNATURE, "classification", columns={"site": site})
    return fingerprint(whole, ["site"])


@EACH_FORMAT
@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 0, 2, 1], [2]], ids=str)
def test_files_are_read_in_the_order_of_the_list(
    kind: Format, order: list[int], tmp_path: Path
) -> None:
    addresses = write_days(tmp_path, kind)
    dataset = opened(tmp_path, kind, [addresses[day] for day in order])
    assert fingerprint(dataset, ["site"]) == expected(order)
    assert [each.examples for each in dataset.addresses()] == [SIZES[day] for day in order]


@EACH_FORMAT
def test_globs_and_directories_are_addresses(kind: Format, tmp_path: Path) -> None:
    write_days(tmp_path, kind)
    uris = [f"file://{tmp_path}/day=3", f"file://{tmp_path}/day=[01]/*.{kind.ending}"]
    dataset = opened(tmp_path, kind, uris, format=kind.ending.removesuffix(".gz"))
    assert fingerprint(dataset, ["site"]) == expected([3, 0, 1])
    first, second = dataset.addresses()
    assert (first.files, first.examples) == (1, SIZES[3])
    assert (second.files, second.examples) == (2, SIZES[0] + SIZES[1])


@EACH_FORMAT
def test_record_holds_the_digest_and_size_of_each_file(kind: Format, tmp_path: Path) -> None:
    addresses = write_days(tmp_path, kind)
    contents = [Path(each.removeprefix("file://")).read_bytes() for each in addresses]
    found = opened(tmp_path, kind, addresses).addresses()
    assert [each.address for each in found] == addresses
    digests = [f"sha256:{hashlib.sha256(content).hexdigest()}" for content in contents]
    assert [each.digest for each in found] == digests
    assert [each.size_bytes for each in found] == list(map(len, contents))


@EACH_FORMAT
def test_the_digest_follows_from_the_content_and_its_order(kind: Format, tmp_path: Path) -> None:
    """Not from the files that it is cut into, nor from their names."""
    one, other, third = write_days(tmp_path, kind)[:3]
    there = fingerprint(opened(tmp_path, kind, [one, other]))
    assert fingerprint(opened(tmp_path, kind, [other, one])) != there
    assert fingerprint(opened(tmp_path, kind, [one, third])) != there
    both = {name: np.concatenate([columns_of(0)[name], columns_of(1)[name]]) for name in "abcd"}
    both["y"] = np.concatenate(Y[:2])
    kind.write(tmp_path / f"both.{kind.ending}", both)
    source = DataSource(uri=f"file://{tmp_path}/both.{kind.ending}", **kind.source)
    whole = open_dataset(source, SIGNATURE, "classification", where="", cache_dir=tmp_path / "c")
    assert fingerprint(whole) == there


@EACH_FORMAT
@pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "between", "last"])
def test_day_without_examples_is_read_and_recorded(
    kind: Format, place: int, tmp_path: Path
) -> None:
    addresses = write_days(tmp_path, kind)[:2]
    path = tmp_path / f"none.{kind.ending}"
    kind.write(path, {name: values[:0] for name, values in columns_of(2).items()})
    addresses.insert(place, f"file://{path}")
    dataset = opened(tmp_path, kind, addresses)
    assert fingerprint(dataset, ["site"]) == expected([0, 1])
    assert dataset.addresses()[place].examples == 0


def test_skip_take_and_shuffle_are_over_all_files(tmp_path: Path) -> None:
    addresses = write_days(tmp_path, FORMATS[2])
    dataset = opened(tmp_path, FORMATS[2], addresses, shuffleSeed=3, skip=2, take=9)
    order = np.random.default_rng(3).permutation(sum(SIZES))[2:11]
    (batch,) = dataset.batches(64)
    np.testing.assert_array_equal(batch.inputs["x"], np.concatenate(X)[order])
    np.testing.assert_array_equal(batch.targets, np.concatenate(Y)[order])


DIFFERENCES = {
    "a column less": (lambda c: c.pop("site"), ("'site' is missing", "day=0/part")),
    "a column more": (lambda c: c.update(more=c["y"]), ("'more' is not in", "day=0/part")),
    "another name": (lambda c: c.update(Y=c.pop("y")), ("'y' is missing", "day=0/part")),
}
OF_TYPE = {
    "floats for integers": lambda c: c.update(y=c["y"].astype(np.float64)),
    "text for integers": lambda c: c.update(y=c["y"].astype(str)),
    "other width": lambda c: c.update(y=c["y"].astype(np.int16)),
}


@EACH_FORMAT
@pytest.mark.parametrize("name", DIFFERENCES)
def test_file_with_other_columns_is_named_with_the_column(
    kind: Format, name: str, tmp_path: Path
) -> None:
    change, words = DIFFERENCES[name]
    assert_refused(kind, change, words, tmp_path)


@pytest.mark.parametrize("kind", FORMATS[2:], ids=lambda kind: kind.ending)
@pytest.mark.parametrize("name", OF_TYPE)
def test_file_with_another_type_is_named_with_the_column(
    kind: Format, name: str, tmp_path: Path
) -> None:
    assert_refused(kind, OF_TYPE[name], ("'y' is", "day=0/part", "int64"), tmp_path)


@pytest.mark.parametrize("kind", FORMATS[:3], ids=lambda kind: kind.ending)
def test_file_with_columns_in_another_order_is_named(kind: Format, tmp_path: Path) -> None:
    def swap(columns: dict[str, Any]) -> None:
        names = ["b", "a", "c", "d", "y", "site"]
        moved = {name: columns[name] for name in names}
        columns.clear()
        columns.update(moved)

    assert_refused(kind, swap, ("column 1 is 'b'", "'a'", "day=0/part"), tmp_path)


def test_file_with_another_shape_is_named_with_the_array(tmp_path: Path) -> None:
    words = ("'x' is float32[n, 3]", "day=0/part.npz float32[n, 4]")
    assert_refused(FORMATS[3], lambda c: c.pop("d"), words, tmp_path)


def test_bad_value_is_named_with_its_file_and_row(tmp_path: Path) -> None:
    addresses = write_days(tmp_path, FORMATS[0])
    path = tmp_path / "day=2" / "part.csv"
    path.write_text(path.read_text() + "1,2,oops,4,0,here\n")
    with pytest.raises(UserError, match="column 'c': 'oops'") as caught:
        opened(tmp_path, FORMATS[0], addresses)
    assert caught.value.where == "spec.data.train (day=2/part.csv)"
    columns = columns_of(2) | {"c": pa.array([1.0, None], pa.float32())}
    addresses = write_days_again(tmp_path, columns)
    with pytest.raises(UserError, match="column 'c' has no value in row 1") as caught:
        opened(tmp_path, FORMATS[2], addresses)
    assert caught.value.where == "spec.data.train (b.parquet)"


def write_days_again(root: Path, second: Mapping[str, Any]) -> list[str]:
    """Write a good Parquet file and one with the columns `second`."""
    write_parquet(root / "a.parquet", columns_of(0))
    write_parquet(root / "b.parquet", second)
    return [f"file://{root}/a.parquet", f"file://{root}/b.parquet"]


def assert_refused(
    kind: Format,
    change: Callable[[dict[str, Any]], object],
    words: tuple[str, ...],
    root: Path,
) -> None:
    """Expect an error about the third of four days, whose columns are changed."""
    addresses = write_days(root, kind)
    columns = columns_of(2)
    change(columns)
    kind.write(root / "day=2" / f"part.{kind.ending}", columns)
    with pytest.raises(UserError) as caught:
        opened(root, kind, addresses)
    assert caught.value.where == f"spec.data.train (day=2/part.{kind.ending})"
    assert all(word in str(caught.value) for word in words), caught.value


def test_arrays_cut_at_different_examples_are_refused(tmp_path: Path) -> None:
    """Else inputs would get the answers of their neighbours, though the sums are equal."""
    np.savez(tmp_path / "a.npz", x=X[0], y=np.arange(4) % 3)
    np.savez(tmp_path / "b.npz", x=X[1], y=np.arange(4) % 3)
    uris = [f"file://{tmp_path}/a.npz", f"file://{tmp_path}/b.npz"]
    with pytest.raises(UserError, match="in file 1 of 2: 'x' 3, 'y' 4"):
        opened(tmp_path, FORMATS[3], uris)


@dataclass(frozen=True)
class Missing:
    """Addresses of which some are missing.

    Attributes:
        name: What is missing.
        uris: Ends of addresses; `day=0` and `day=1` have a file, `empty` is a directory.
        skipped: Those of them that are skipped, if all is well.
        words: Parts of the error, if not.
    """

    name: str
    uris: tuple[str, ...]
    more: dict[str, Any] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    words: tuple[str, ...] = ()


ONE, TWO, NONE, GLOB = "day=0/part.csv", "day=1/part.csv", "day=9/part.csv", "day=[89]/*.csv"


def skip(minimum: int) -> dict[str, Any]:
    """Return the fields that allow missing addresses."""
    return {"missing": "Skip", "minimum": minimum}


MISSING = (
    Missing("nothing", (ONE, TWO), skip(2)),
    Missing("a file", (ONE, NONE), words=("uris[1]", NONE)),
    Missing("a glob", (GLOB, ONE), words=("uris[0]", GLOB, "no file matches")),
    Missing("a directory's files", ("empty", ONE), {"format": "csv"}, words=("uris[0]", "no .csv")),
    Missing("several", (NONE, ONE, GLOB), words=("2 of 3 addresses are missing", NONE, GLOB)),
    Missing("a file that may", (ONE, NONE, TWO), skip(2), skipped=(NONE,)),
    Missing("the first that may", (NONE, ONE), skip(1), skipped=(NONE,)),
    Missing("a glob that may", (GLOB, ONE, TWO), skip(1), skipped=(GLOB,)),
    Missing("files that may", ("empty", ONE), {"format": "csv", **skip(1)}, skipped=("empty",)),
    Missing("too many", (ONE, NONE, GLOB), skip(2),
            words=("only 1 of 3 addresses exist", "minimum is 2", NONE, GLOB)),
    Missing("all", (NONE, GLOB), skip(1), words=("only 0 of 2", "minimum is 1")),
)  # fmt: skip


@pytest.mark.parametrize(
    ("case", "remote"),
    [
        pytest.param(case, remote, id=f"{case.name}-{'remote' if remote else 'local'}")
        for case in MISSING
        for remote in (False, True)
        if not remote or "empty" not in case.uris  # object stores have no empty directories
    ],
)
def test_missing_addresses_are_errors_unless_they_may_be_skipped(
    case: Missing, remote: bool, tmp_path: Path
) -> None:
    write_days(tmp_path, FORMATS[0])
    (tmp_path / "empty").mkdir()
    base = f"file://{tmp_path}"
    if remote:
        base = "memory://days"
        filesystem = fsspec.filesystem("memory")
        filesystem.store.clear()
        for path in tmp_path.rglob("*.csv"):
            filesystem.pipe(f"/days/{path.relative_to(tmp_path)}", path.read_bytes())
    uris = [f"{base}/{end}" for end in case.uris]
    if case.words:
        with pytest.raises(UserError) as caught:
            opened(tmp_path, FORMATS[0], uris, **case.more)
        assert "spec.data.train.uris" in str(caught.value)
        words = [word for word in case.words if not (remote and word.startswith("no file"))]
        assert all(word in str(caught.value) for word in words), caught.value
        return
    dataset = opened(tmp_path, FORMATS[0], uris, **case.more)
    assert dataset.skipped == tuple(f"{base}/{end}" for end in case.skipped)
    present = [f"{base}/{end}" for end in case.uris if end not in case.skipped]
    assert [each.address for each in dataset.addresses()] == present


FAULTS = {
    "scheme": ("ssh://d/b.csv", None, "scheme"),
    "local access": ("file:///d/b.csv", PermissionError("no"), "access to 'file:///d/b.csv' was"),
    "access": ("memory://d/b.csv", PermissionError("no"), "access to 'memory://d/b.csv' was"),
    "server": ("memory://d/b.csv", OSError("reset"), "reset"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_other_fault_than_a_missing_file_is_never_skipped(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, fault, words = FAULTS[name]
    write_csv(tmp_path / "a.csv", columns_of(0))
    exists = Path.exists

    def fail(*_: object, **__: object) -> None:
        assert fault is not None
        raise fault

    def local(path: Path) -> bool:
        return exists(path) if path.is_relative_to(tmp_path) else bool(fail())

    monkeypatch.setattr(MemoryFileSystem, "info", fail)
    monkeypatch.setattr(Path, "exists", local)
    with pytest.raises(FulcrumError, match=words):
        opened(tmp_path, FORMATS[0], [f"file://{tmp_path}/a.csv", uri], missing="Skip", minimum=1)


TWICE = {
    "two addresses": ("day=0/part.csv", "day=0/part.csv"),
    "spelled otherwise": ("day=0/part.csv", "./day=0/part.csv"),
    "a glob": ("day=*/part.csv", "day=2/part.csv"),
    "two globs": ("day=[01]/*", "day=[12]/*"),
    "a link": ("day=0/part.csv", "link.csv"),
}


@pytest.mark.parametrize("ends", TWICE.values(), ids=TWICE)
def test_file_that_is_named_twice_is_refused(ends: tuple[str, ...], tmp_path: Path) -> None:
    write_days(tmp_path, FORMATS[0])
    (tmp_path / "link.csv").symlink_to(tmp_path / "day=0" / "part.csv")
    with pytest.raises(UserError, match="is read twice") as caught:
        opened(tmp_path, FORMATS[0], [f"file://{tmp_path}/{end}" for end in ends])
    assert caught.value.where == "spec.data.train.uris"


def test_formats_are_not_mixed(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", columns_of(0))
    write_parquet(tmp_path / "b.parquet", columns_of(1))
    uris = [f"file://{tmp_path}/a.csv", f"file://{tmp_path}/b.parquet"]
    with pytest.raises(UserError, match=r"'b.parquet' is parquet, but 'a.csv' is csv"):
        opened(tmp_path, FORMATS[0], uris)


def test_image_folders_are_not_joined(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(UserError, match="imageFolder reads one address"):
        opened(tmp_path, FORMATS[3], [f"file://{tmp_path}/images"])


def test_inputs_of_npy_are_joined(tmp_path: Path) -> None:
    for day in range(2):
        np.save(tmp_path / f"{day}.npy", X[day])
    source = DataSource(uris=(f"file://{tmp_path}/1.npy", f"file://{tmp_path}/0.npy"))
    dataset = open_dataset(
        source, SIGNATURE, "classification", where="", cache_dir=tmp_path, needs_targets=False
    )
    (batch,) = dataset.batches(64)
    np.testing.assert_array_equal(batch.inputs["x"], np.concatenate([X[1], X[0]]))
