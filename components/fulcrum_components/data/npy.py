"""Arrays in `.npy` and `.npz` files, mapped into memory so that only what is used is read.

Members of an `.npz` that are not compressed are mapped where they lie in the archive; compressed
ones are unpacked once into the cache, piece by piece. Sizes are checked before anything is
unpacked, since a few kilobytes of archive can claim terabytes.
"""

from __future__ import annotations

import shutil
import struct
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from tokenize import TokenError
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy_format

from fulcrum_components.data.label_values import Array
from fulcrum_components.sources.archives import DAMAGE, check_archive
from fulcrum_components.sources.digest import file_digest
from fulcrum_pipelines.errors import UserError

LOCAL_HEADER_BYTES = 30
"""Fixed part of the header in front of each member of a zip file."""


def open_npy(path: Path, where: str) -> Array:
    """Map the array in `path` into memory.

    Raises:
        UserError: It is no `.npy` file, truncated, or holds Python objects.
    """
    with path.open("rb") as stream:
        shape, fortran, dtype, offset = _header(stream, path.name, where)
    size = path.stat().st_size - offset
    return _mapped(path, shape, fortran, dtype, offset, size, path.name, where)


def open_npz(path: Path, *, cache_dir: Path, where: str) -> dict[str, Array]:
    """Map the arrays in the archive `path` into memory.

    Args:
        path: An `.npz` file.
        cache_dir: Directory for unpacked members.
        where: Field path and file, for messages.

    Raises:
        UserError: It is no zip file, damaged, expands beyond reason, or holds Python objects.
    """
    check_archive(path, where)
    with zipfile.ZipFile(path) as archive:
        members = [item for item in archive.infolist() if item.filename.endswith(".npy")]
        if not members:
            raise UserError("holds no arrays", where=where)
        compressed = [item for item in members if item.compress_type != zipfile.ZIP_STORED]
        unpacked = _unpack(archive, compressed, path, cache_dir, where) if compressed else path
        return {
            item.filename.removesuffix(".npy"): (
                open_npy(unpacked / f"{members.index(item)}.npy", where)
                if item in compressed
                else _open_stored(path, item, where)
            )
            for item in members
        }


def _unpack(
    archive: zipfile.ZipFile,
    items: Sequence[zipfile.ZipInfo],
    path: Path,
    cache_dir: Path,
    where: str,
) -> Path:
    """Unpack `items` into the cache, once for each content of the archive, and return where."""
    target = cache_dir / "npz" / file_digest(path).removeprefix("sha256:")
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    positions = {item.filename: index for index, item in enumerate(_arrays_in(archive))}
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        folder = Path(temporary) / "arrays"
        folder.mkdir()
        for item in items:
            file = folder / f"{positions[item.filename]}.npy"
            try:
                with archive.open(item) as source, file.open("wb") as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)
            except DAMAGE:
                raise UserError(f"member '{item.filename}' is damaged", where=where) from None
        if not target.is_dir():
            shutil.move(folder, target)
    return target


def _arrays_in(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    return [item for item in archive.infolist() if item.filename.endswith(".npy")]


def _open_stored(path: Path, item: zipfile.ZipInfo, where: str) -> Array:
    """Map a member that is stored without compression."""
    with path.open("rb") as stream:
        stream.seek(item.header_offset)
        header = stream.read(LOCAL_HEADER_BYTES)
        if len(header) < LOCAL_HEADER_BYTES:
            raise UserError(f"member '{item.filename}' is damaged", where=where)
        name_bytes, extra_bytes = struct.unpack("<HH", header[26:30])
        start = item.header_offset + LOCAL_HEADER_BYTES + name_bytes + extra_bytes
        stream.seek(start)
        shape, fortran, dtype, offset = _header(stream, item.filename, where)
    size = min(item.file_size, path.stat().st_size - start) - (offset - start)
    return _mapped(path, shape, fortran, dtype, offset, size, item.filename, where)


def _header(
    stream: BinaryIO, name: str, where: str
) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Return shape, order, element type and the offset of the values."""
    try:
        version = npy_format.read_magic(stream)
        read = {
            (1, 0): npy_format.read_array_header_1_0,
            (2, 0): npy_format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = read(stream)
    except (ValueError, KeyError, EOFError, SyntaxError, TokenError, RecursionError, MemoryError):
        message = f"'{name}' is no array file of numpy, or is truncated"
        raise UserError(message, where=where) from None
    if dtype.hasobject:
        message = (
            f"'{name}' holds Python objects, which need unpickling, which can run code; "
            "store numbers or text of one type"
        )
        raise UserError(message, where=where)
    return shape, fortran, dtype, stream.tell()


def _mapped(
    path: Path,
    shape: tuple[int, ...],
    fortran: bool,
    dtype: np.dtype[Any],
    offset: int,
    size: int,
    name: str,
    where: str,
) -> Array:
    wanted = dtype.itemsize * int(np.prod(shape, dtype=object))
    if not shape:
        raise UserError(f"'{name}' is a single value, not examples", where=where)
    if min(shape) < 0 or (wanted == 0 and shape[0] > 0):
        message = f"'{name}' has the shape {list(shape)} of {dtype}; examples must hold something"
        raise UserError(message, where=where)
    if wanted > size:
        message = f"'{name}' is truncated: {size} of {wanted} bytes"
        raise UserError(message, where=where)
    if wanted == 0:
        return np.empty(shape, dtype)
    mapped: Array = np.memmap(
        path, dtype=dtype, mode="r", offset=offset, shape=shape, order="F" if fortran else "C"
    )
    return mapped
