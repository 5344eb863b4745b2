"""Refuse small files that expand beyond the size of disk or memory.

`.npz` and `.pt2` files are zip files, whose table of contents has their sizes before anything is
read; a truncated one has lost the table, which is at the end. A gzip file has no such table, so its
size is watched while it is read. A Parquet file records the number of its values.
"""

from __future__ import annotations

import lzma
import zipfile
import zlib
from pathlib import Path

from fulcrum_pipelines.errors import UserError

MAX_RATIO = 200
"""Upper limit of expansion: deflate stays far below it on measured data; zeros reach 1000."""

FREE_BYTES = 1 << 28
"""Expanded sizes up to this (256 MiB) are harmless at any ratio."""


DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    ValueError,
    RuntimeError,
)
"""Exceptions from reading a member that is damaged, encrypted or nested without end."""


def check_expansion(expanded: int, size: int, where: str, *, kind: str) -> None:
    """Refuse a file of `size` bytes that expands to `expanded` bytes, if that is beyond reason.

    Args:
        expanded: Bytes as claimed by the file, or as counted so far.
        size: Bytes of the file.
        where: Field path and file, for messages.
        kind: What holds the bytes, for the message.

    Raises:
        UserError: It is a bomb.
    """
    if expanded > FREE_BYTES and expanded > MAX_RATIO * size:
        message = (
            f"expands from {size} to {expanded} bytes or more, but at most {MAX_RATIO} times is "
            f"accepted above {FREE_BYTES} bytes; refused as a {kind} bomb"
        )
        raise UserError(message, where=where)


def check_archive(path: Path, where: str) -> None:
    """Refuse `path` if it is no zip file, or expands beyond reason.

    Raises:
        UserError: It is no zip file or truncated, or it is a zip bomb.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            items = archive.infolist()
    except DAMAGE:
        raise UserError("is no zip file, or is truncated", where=where) from None
    size = path.stat().st_size
    expanded = sum(item.file_size for item in items)
    check_expansion(expanded, size, where, kind="zip")
    stored = [i for i in items if i.compress_type == zipfile.ZIP_STORED]
    if any(item.file_size > size for item in stored):
        raise UserError("is a damaged zip file: a member is larger than the file", where=where)
