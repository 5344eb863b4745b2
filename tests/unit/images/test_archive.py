"""Write an archive from the first difference, and recover after every kind of interruption."""

from __future__ import annotations

import hashlib
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from images.archive import HollowError, update
from images.layout import Layout

NAME = "localhost/example:dev"
SYSTEM, WHEELS, CODE, NEWER = b"system" * 9000, b"wheels" * 9000, b"code" * 9000, b"newer" * 9000


def write_layout(folder: Path, layers: list[bytes]) -> Layout:
    """Write a layout as a builder does: blobs that are there by name and size are left alone."""
    (folder / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
    entries = [_blob(folder, layer) for layer in layers]
    diffs = {"rootfs": {"diff_ids": [entry["digest"] for entry in entries]}}
    config = _blob(folder, json.dumps(diffs).encode())
    manifest = _blob(folder, json.dumps({"config": config, "layers": entries}).encode())
    (folder / "index.json").write_text(json.dumps({"manifests": [manifest]}))
    return Layout.read(folder)


def _blob(folder: Path, content: bytes) -> dict[str, str | int]:
    digest = hashlib.sha256(content).hexdigest()
    path = folder / "blobs" / "sha256" / digest
    if not path.exists():
        path.write_bytes(content)
    return {"digest": f"sha256:{digest}", "size": len(content)}


def layers_in(archive: Path) -> list[bytes]:
    """Return the layers that `docker load` finds; every blob must be what its name says."""
    with tarfile.open(archive) as tar:
        blobs = {member.name: tar.extractfile(member) for member in tar}
        read = {name: blob.read() for name, blob in blobs.items() if blob}
    for name, content in read.items():
        if name.startswith("blobs/"):
            assert name == f"blobs/sha256/{hashlib.sha256(content).hexdigest()}"
    (entry,) = json.loads(read["manifest.json"])
    assert entry["RepoTags"] == [NAME]
    (named,) = json.loads(read["index.json"])["manifests"]
    assert f"blobs/sha256/{named['digest'].removeprefix('sha256:')}" in read
    assert named["annotations"]["io.containerd.image.name"] == NAME
    return [read[layer] for layer in entry["Layers"]]


@dataclass(frozen=True)
class Rebuild:
    """The outputs of two builds, one after the other."""

    name: str
    first: list[bytes]
    second: list[bytes]


UPDATES = [
    Rebuild("nothing changed", [SYSTEM, CODE], [SYSTEM, CODE]),
    Rebuild("the last layer changed", [SYSTEM, WHEELS, CODE], [SYSTEM, WHEELS, NEWER]),
    Rebuild("a layer more", [SYSTEM, WHEELS], [SYSTEM, WHEELS, CODE]),
    Rebuild("a layer less", [SYSTEM, WHEELS, CODE], [SYSTEM, WHEELS]),
    Rebuild("all changed", [SYSTEM], [CODE]),
]


@pytest.mark.parametrize("case", UPDATES, ids=lambda case: case.name)
def test_update(case: Rebuild, tmp_path: Path) -> None:
    archive, folder = tmp_path / "image.tar", tmp_path / "layout"
    update(archive, write_layout(folder, case.first), NAME)
    assert layers_in(archive) == case.first
    update(archive, write_layout(folder, case.second), NAME)
    assert layers_in(archive) == case.second


def test_layers_that_stay_are_not_written_again(tmp_path: Path) -> None:
    """Shown by their content, which the layout no longer has when the archive is updated."""
    archive, folder = tmp_path / "image.tar", tmp_path / "layout"
    update(archive, write_layout(folder, [SYSTEM, WHEELS, CODE]), NAME)
    layout = write_layout(folder, [SYSTEM, WHEELS, NEWER])
    assert [layer.is_hollow for layer in layout.layers] == [True, True, False]
    assert set(layout.layers[0].path.read_bytes()) == {0}
    update(archive, layout, NAME)
    assert layers_in(archive) == [SYSTEM, WHEELS, NEWER]


def test_layer_that_comes_back_is_written(tmp_path: Path) -> None:
    """A change that is taken back brings the blob of an earlier build."""
    archive, folder = tmp_path / "image.tar", tmp_path / "layout"
    for code in (CODE, NEWER, CODE):
        update(archive, write_layout(folder, [SYSTEM, code]), NAME)
    assert layers_in(archive) == [SYSTEM, CODE]


def test_layer_above_a_changed_one_must_be_there(tmp_path: Path) -> None:
    archive, folder = tmp_path / "image.tar", tmp_path / "layout"
    update(archive, write_layout(folder, [SYSTEM, WHEELS, CODE]), NAME)
    with pytest.raises(HollowError):
        update(archive, write_layout(folder, [SYSTEM, NEWER, CODE]), NAME)
    assert not archive.exists()


@pytest.mark.parametrize("left", [0, 100, 700, 20_000, len(SYSTEM) + 512])
def test_archive_that_was_cut_short_is_not_believed(left: int, tmp_path: Path) -> None:
    archive, folder = tmp_path / "image.tar", tmp_path / "layout"
    update(archive, write_layout(folder, [SYSTEM, CODE]), NAME)
    with archive.open("r+b") as file:
        file.truncate(left)
    with pytest.raises(HollowError):
        update(archive, write_layout(folder, [SYSTEM, CODE]), NAME)
