"""Look at a zip file's table of contents before anything of it is read.

`.npz` and `.pt2` files are zip files. A small file may claim to hold terabytes (a zip bomb), and a
truncated one has lost the table, which stands at the end.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

from fulcrum_pipelines.errors import UserError

MAX_RATIO = 200
"""Expansion that deflate reaches on data somebody measured is far below; zeros reach 1000."""

FREE_BYTES = 1 << 28
"""Expanded sizes up to this (256 MiB) are harmless whatever the ratio."""


def check_archive(path: Path, where: str) -> None:
    """Refuse `path` if it is no zip file, or expands beyond reason.

    Raises:
        UserError: It is no zip file or truncated, or it is a zip bomb.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            items = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        raise UserError("is no zip file, or is truncated", where=where) from None
    size = path.stat().st_size
    expanded = sum(item.file_size for item in items)
    if expanded > FREE_BYTES and expanded > MAX_RATIO * size:
        message = (
            f"claims to expand from {size} to {expanded} bytes, more than {MAX_RATIO} times; "
            "refused as a zip bomb"
        )
        raise UserError(message, where=where)
    stored = [i for i in items if i.compress_type == zipfile.ZIP_STORED]
    if any(item.file_size > size for item in stored):
        raise UserError("is a damaged zip file: a member is larger than the file", where=where)
