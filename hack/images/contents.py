"""Read an archive: the files as a container sees them, and every byte of every layer."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

CHUNK = 1 << 22


@dataclass(frozen=True)
class Contents:
    """An image's configuration, the sizes of its layers in bytes, and its files by path."""

    archive: Path
    configuration: dict[str, Any]
    layer_names: tuple[str, ...]
    layer_sizes: tuple[int, ...]
    files: dict[str, tarfile.TarInfo]

    @classmethod
    def read(cls, archive: Path) -> Contents:
        """Return the contents of `archive`; layers of it are not compressed."""
        with tarfile.open(archive) as tar:
            (entry,) = json.load(_open(tar, "manifest.json"))
            names = tuple(entry["Layers"])
            files: dict[str, tarfile.TarInfo] = {}
            for name in names:
                with tarfile.open(fileobj=_open(tar, name)) as layer:
                    for member in layer:
                        files[member.name.rstrip("/")] = member
            sizes = tuple(tar.getmember(name).size for name in names)
            return cls(archive, json.load(_open(tar, entry["Config"])), names, sizes, files)

    @property
    def size_mb(self) -> float:
        """Its size, in millions of bytes."""
        return sum(self.layer_sizes) / 1e6

    def named(self, name: str) -> list[str]:
        """Return the paths whose last part is `name`."""
        return [path for path in self.files if PurePosixPath(path).name == name]

    def layers_with(self, words: set[bytes]) -> set[bytes]:
        """Return those of `words` that occur in any layer."""
        with tarfile.open(self.archive) as tar:
            return {
                word
                for name in self.layer_names
                for chunk in _chunks(_open(tar, name), max(map(len, words), default=1))
                for word in words
                if word in chunk
            }


def _open(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    file = tar.extractfile(name)
    assert file is not None, name
    return file


def _chunks(file: IO[bytes], overlap: int) -> Iterator[bytes]:
    """Yield the file in pieces, each with the end of the one before."""
    before = b""
    while piece := file.read(CHUNK):
        yield before + piece
        before = piece[-overlap:]
