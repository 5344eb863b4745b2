"""The identity of files and directories: SHA-256 of what they hold, never of when or where."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path


def file_digest(path: Path) -> str:
    """Return the SHA-256 of the content of `path` as `sha256:<hex>`."""
    with path.open("rb") as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"


def is_hidden(path: Path) -> bool:
    """Return whether a path below a directory is left out of the directory's digest."""
    return any(part.startswith(".") or part == "__pycache__" for part in path.parts)


def visible_files(directory: Path) -> Iterator[Path]:
    """Yield the files below `directory` in order, without hidden files and `__pycache__`."""
    for path in sorted(directory.rglob("*")):
        if path.is_file() and not is_hidden(path.relative_to(directory)):
            yield path


def directory_digest(directory: Path) -> str:
    """Return the digest of the (relative path, SHA-256) lines of the files below `directory`."""
    lines = sorted(
        f"{path.relative_to(directory).as_posix()} {file_digest(path)}\n"
        for path in visible_files(directory)
    )
    return f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"


def content_digest(path: Path) -> str:
    """Return the digest of a file, or of a directory as `directory_digest` makes it."""
    return directory_digest(path) if path.is_dir() else file_digest(path)


def content_size(path: Path) -> int:
    """Return the bytes of a file, or of the files below a directory that its digest covers."""
    files = visible_files(path) if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)


def sequence_digest(paths: Sequence[Path]) -> str:
    """Return the digest of one path, or of the (name, SHA-256) lines of several in this order."""
    if len(paths) == 1:
        return content_digest(paths[0])
    lines = "".join(f"{path.name} {content_digest(path)}\n" for path in paths)
    return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"
