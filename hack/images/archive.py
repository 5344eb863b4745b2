"""Keeps an image's archive up to date by writing only what changed at its end.

An archive with CUDA has 5 GB and a change of our code changes 3 MB of it. Layers are stored from
the lowest to the highest, so the unchanged ones are its beginning: it is cut after them, and the
rest is rewritten. The layout beside it then keeps only the names of layers (they are *hollow*),
so that their bytes are not on disk twice and are not written again by the next build.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from images.layout import Blob, Layout


class HollowError(Exception):
    """A layer is neither in the archive's beginning nor in the layout: both must be rebuilt."""


def update(archive: Path, layout: Layout, name: str) -> None:
    """Make `archive` hold the image of `layout` as `name`, then give up the layout's layers.

    Raises:
        HollowError: A layer that has to be written was given up before.
    """
    partial = archive.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    if archive.exists():
        archive.rename(partial)
    with partial.open("r+b" if partial.exists() else "w+b") as file:
        kept = _cut(file, layout.layers)
        _append(file, layout, layout.layers[kept:], name)
    partial.rename(archive)
    layout.forget_others()
    for layer in layout.layers:
        layer.hollow()


def _cut(file: BinaryIO, layers: tuple[Blob, ...]) -> int:
    """Cut the archive behind the first layers that it shares with `layers`; return their number."""
    ends = list(_common(file, layers))
    end = ends[-1] if ends else 0
    file.truncate(end)
    file.seek(end)
    return len(ends)


def _common(file: BinaryIO, layers: tuple[Blob, ...]) -> Iterator[int]:
    """Yield where each layer ends that is the archive's next member, and there to its end."""
    size = os.fstat(file.fileno()).st_size
    with contextlib.suppress(tarfile.ReadError), tarfile.open(fileobj=file, mode="r:") as tar:
        for layer in layers:
            member = tar.next()
            if member is None or (member.name, member.size) != (layer.name, layer.size):
                return
            if tar.offset > size:  # its writer was stopped in the middle
                return
            yield tar.offset


def _append(file: BinaryIO, layout: Layout, layers: tuple[Blob, ...], name: str) -> None:
    hollow = [layer.name for layer in layers if layer.is_hollow]
    if hollow:
        message = f"{hollow[0]} was given up"
        raise HollowError(message)
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for blob in (*layers, layout.config, layout.manifest):
            with blob.path.open("rb") as content:
                tar.addfile(_member(blob.name, blob.size), content)
        documents: dict[str, Any] = {
            "oci-layout": {"imageLayoutVersion": "1.0.0"},
            "index.json": layout.index(name),
            "manifest.json": layout.docker_manifest(name),
        }
        for document, content in documents.items():
            data = json.dumps(content).encode()
            tar.addfile(_member(document, len(data)), io.BytesIO(data))


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    return member
