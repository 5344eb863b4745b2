"""The worker's side of the broker: file systems as fsspec has them, without any credentials.

They stand in for the real ones by their protocols, so that neither the store nor a user's own use
of fsspec has to know.
"""

from __future__ import annotations

import json
import os
import socket
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import fsspec
from fsspec.spec import AbstractFileSystem

from fulcrum_components.stages.broker import BROKER, PROTOCOLS
from fulcrum_pipelines.errors import CorruptError, InfrastructureError, RefusedError

KNOWN: dict[str, type[OSError]] = {
    "FileNotFoundError": FileNotFoundError,
    "PermissionError": PermissionError,
    "RefusedError": RefusedError,
}
CORRUPT = CorruptError.__name__


class BrokeredFileSystem(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """Asks the supervisor for everything."""

    cachable = False

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Return size and kind of `path`."""
        found: dict[str, Any] = self._ask("info", path)
        return found

    def exists(self, path: str, **_: Any) -> bool:
        """Return whether something is at `path`; an error is no answer."""
        try:
            self.info(path)
        except FileNotFoundError:
            return False
        return True

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """Return what is in the folder `path`."""
        entries: list[dict[str, Any]] = self._ask("list", path)
        return entries if detail else [entry["name"] for entry in entries]

    def walk(self, path: str, maxdepth: int | None = None, **options: Any) -> Iterator[Any]:
        """Yield what is below `path`; only what is not there is left out, and no refusal."""
        yield from super().walk(path, maxdepth, **options | {"on_error": _unless_missing})

    def get_file(self, rpath: str, lpath: str, **_: Any) -> None:
        """Copy the remote file `rpath` to the local `lpath`."""
        if self.isdir(rpath):
            os.makedirs(lpath, exist_ok=True)
            return
        Path(lpath).parent.mkdir(parents=True, exist_ok=True)
        with open(lpath, "wb") as target:
            self._ask("get", rpath, target)

    def put_file(self, lpath: str, rpath: str, **_: Any) -> None:
        """Copy the local file `lpath` to the remote `rpath`."""
        with open(lpath, "rb") as source:
            self._ask("put", rpath, source)

    def rm(self, path: str, recursive: bool = False, maxdepth: int | None = None) -> None:
        """Remove `path` and what is below it."""
        self._ask("remove", path)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Do nothing: object stores have no folders."""

    def open(self, path: str, mode: str = "rb", **_: Any) -> IO[bytes] | _Written:
        """Return a file of the whole content, which is written when it is closed.

        Raises:
            ValueError: The mode is neither `rb` nor `wb`.
        """
        if mode == "rb":
            file = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the file object
            self._ask("get", path, file)
            file.seek(0)
            return file
        if mode != "wb":
            raise ValueError(f"mode '{mode}' is not supported here; use rb or wb")
        return _Written(self, path)

    def _ask(self, operation: str, path: str, file: IO[bytes] | None = None) -> Any:
        protocol = self.protocol if isinstance(self.protocol, str) else self.protocol[0]
        request = {"do": operation, "url": f"{protocol}://{self._strip_protocol(path)}"}
        answer = _exchange(json.dumps(request).encode(), () if file is None else (file.fileno(),))
        if "error" not in answer:
            return answer["value"]
        name, text = str(answer["error"]), str(answer["text"])
        if (kind := KNOWN.get(name)) is not None:
            raise kind(text)
        if "class" in answer:
            error = CorruptError if name == CORRUPT else InfrastructureError
            raise error(text, where=str(answer["where"]))
        raise OSError(f"{name}: {text}")


def _unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


class _Written:
    """A file whose content is sent when it is closed, unless writing it failed."""

    def __init__(self, filesystem: BrokeredFileSystem, path: str) -> None:
        self._filesystem, self._path = filesystem, path
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the file object

    def write(self, data: bytes) -> int:
        return self._file.write(data)

    def close(self) -> None:
        with self._file:
            self._file.flush()
            self._file.seek(0)
            self._filesystem._ask("put", self._path, self._file)

    def __enter__(self) -> _Written:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.close() if kind is None else self._file.close()


def _exchange(request: bytes, files: Sequence[int]) -> dict[str, Any]:
    """Send one request with a new socket for the answer, so that threads do not mix."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs, socket.socket(fileno=os.dup(int(os.environ[BROKER]))) as broker:
            socket.send_fds(broker, [request], [theirs.fileno(), *files])
        with ours.makefile("rb") as stream:
            text = stream.read()
    if not text:
        raise ConnectionError("the stage's supervisor has closed; nothing is read or written now")
    answer: dict[str, Any] = json.loads(text)
    return answer


def install() -> None:
    """Let all file systems that need credentials be brokered, in this process."""
    for protocol in PROTOCOLS:
        fsspec.register_implementation(protocol, brokered(protocol), clobber=True)


def brokered(protocol: str) -> type[BrokeredFileSystem]:
    """Return the class of file systems that stands in for that of `protocol`."""
    return type("Brokered", (BrokeredFileSystem,), {"protocol": protocol})
