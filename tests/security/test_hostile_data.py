"""Data sets with evil names and evil files: none is read without end, none writes outside."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_files import SIGNATURE, examples
from PIL import Image

from fulcrum_components.data import Dataset, open_dataset
from fulcrum_components.models.signature import Signature, TensorSpec
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.resources.compressionjob import DataSource

IMAGES = Signature(
    (TensorSpec("image", ("batch", 1, 6, 5), "float32"),),
    (TensorSpec("scores", ("batch", 5), "float32"),),
    "logits",
)
NAMES = ("../../escaped", "/tmp/escaped", "a/../../b", "\x1b[2J", "a\nb", "\u202egnp", "")


def opened(path: Path, cache: Path, signature: Signature = SIGNATURE, **source: Any) -> Dataset:
    return open_dataset(
        DataSource(uri=str(path), **source),
        signature,
        "classification",
        where="spec.data.test",
        cache_dir=cache,
    )


def array(values: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def npz_with(path: Path, name: str, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    """Write an archive with an array of that name beside the ones that are needed."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for member, values in examples().items():
            archive.writestr(f"{member}.npy", array(values))
        archive.writestr(f"{name}.npy", array(np.arange(12)))
    return path


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_members_are_unpacked_into_the_cache_despite_their_names(name: str, tmp_path: Path) -> None:
    path = npz_with(tmp_path / "d.npz", name)
    before = set(tmp_path.parent.rglob("*"))
    dataset = opened(path, tmp_path / "cache" / "deep" / "down")
    assert len(dataset) == 12
    new = set(tmp_path.parent.rglob("*")) - before
    assert all(item.is_relative_to(tmp_path / "cache") for item in new)


@pytest.mark.parametrize("name", NAMES[:3], ids=repr)
def test_a_column_of_an_evil_name_is_a_column(name: str, tmp_path: Path) -> None:
    dataset = opened(npz_with(tmp_path / "d.npz", name), tmp_path / "cache")
    (batch,) = dataset.batches(12, columns=(name,))
    assert list(batch.columns[name]) == [str(number) for number in range(12)]


@dataclass(frozen=True)
class Special:
    """A special file in the place of a data file."""

    name: str
    make: Callable[[Path], object]
    source: dict[str, Any] = field(default_factory=dict)


SPECIAL = (
    Special("npz", lambda root: os.mkfifo(root / "d.npz")),
    Special("npy", lambda root: os.mkfifo(root / "d.npy")),
    Special("csv", lambda root: os.mkfifo(root / "d.csv")),
    Special("parquet", lambda root: os.mkfifo(root / "d.parquet")),
    Special("a device without end", lambda root: (root / "d.csv").symlink_to("/dev/zero")),
    Special("python", lambda root: os.mkfifo(root / "d.py"), {"format": "python", "function": "f"}),
    Special("in a directory", lambda root: os.mkfifo(root / "d.csv"), {"format": "csv"}),
)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("case", SPECIAL, ids=lambda case: case.name)
def test_what_is_no_file_is_not_waited_for(case: Special, tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    case.make(root)
    path = root if case.name == "in a directory" else next(root.iterdir())
    with pytest.raises(UserError, match="no file that can be read"):
        opened(path, tmp_path / "cache", **case.source)


def write_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((6, 5), np.uint8)).save(path, "PNG")


CLASSES = ("a\nb", "\x1b[31mred", "\u202egnp", "<script>alert(1)</script>", "a" * 255)


def test_classes_of_evil_names_are_classes(tmp_path: Path) -> None:
    root = tmp_path / "images"
    for name in CLASSES:
        write_image(root / name.replace("/", "") / "1.png")
    dataset = opened(root, tmp_path / "cache", IMAGES)
    (batch,) = dataset.batches(9, columns=("class",))
    assert list(batch.columns["class"]) == sorted(name.replace("/", "") for name in CLASSES)


@pytest.mark.timeout(30)
def test_an_image_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    root = tmp_path / "images"
    write_image(root / "a" / "1.png")
    os.mkfifo(root / "a" / "2.png")
    with pytest.raises(UserError, match=r"a/2\.png: is no file"):
        opened(root, tmp_path / "cache", IMAGES)


@pytest.mark.timeout(30)
def test_a_folder_that_is_its_own_child_ends(tmp_path: Path) -> None:
    root = tmp_path / "images"
    for name in "abcde":
        write_image(root / name / "1.png")
    (root / "a" / "again").symlink_to(root / "a")
    assert len(opened(root, tmp_path / "cache", IMAGES)) == 5


SCHEMES = ("ssh://host/d.npz", "zip://d.npz::file:///tmp/d.zip", "simplecache::s3://b/d.npz",
           "http://169.254.169.254/latest", "ftp://host/d.npz", "local:///etc/passwd",
           "github://a:b@/d.npz", "s3://b/d.npz::file://x")  # fmt: skip


@pytest.mark.parametrize("uri", SCHEMES)
def test_schemes_that_reach_elsewhere_are_refused(uri: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="scheme"):
        open_dataset(
            DataSource.model_construct(
                uri=uri, format="npz", target="y", inputs=None, scale=None, skip=0, take=None,
                shuffle_seed=None, target_uri=None, function=None, arguments=None,
            ),  # as if the manifest's own rules had let it through
            SIGNATURE,
            "classification",
            where="spec.data.test",
            cache_dir=tmp_path,
        )  # fmt: skip
