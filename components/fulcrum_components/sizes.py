"""Sizes of files, as they are and compressed: zeros in weights show only in the latter."""

from __future__ import annotations

import zlib
from pathlib import Path

_LEVEL = 6
_GZIP_WINDOW = 31
"""zlib's way to ask for a gzip frame: 15 bits of window and 16 for the header."""
_CHUNK_BYTES = 1 << 20


def gzip_bytes(path: Path) -> int:
    """Return the size of the file `path` gzipped at level 6, without holding it in memory."""
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
    total = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            total += len(compressor.compress(chunk))
    return total + len(compressor.flush())
