"""Reads and writes remote stores for the process with a user's code, which has no credentials.

Requests come over a pair of sockets that the worker inherits: one datagram each, with a socket for
the answer and, if bytes move, the worker's open file. Never a path on this machine: this process
does not open a file that the worker cannot open itself. Written data are copied first, to a file
that the worker cannot reach, since the worker could change its own after the check.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any

from fulcrum_components.stages.access import Access, access_of, named_urls
from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.errors import FulcrumError, RefusedError
from fulcrum_pipelines.evidence import StageName
from fulcrum_pipelines.storage.remote import explain, open_url, patiently
from fulcrum_pipelines.storage.store import BLOCK_BYTES, patience_s

BROKER = "FULCRUM_BROKER"
"""Names the worker's end of the sockets in its environment."""
PROTOCOLS = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az")
"""Protocols that need credentials, and so pass through here."""
REQUEST_BYTES = 1 << 16
ANSWER_S = 30.0
"""How long the worker may take to read an answer."""
WORKERS = 4
CHUNK_BYTES = 1 << 20

FileOpener = Callable[[str], tuple[Any, str]]


class Broker:
    """Answers one worker's requests until `close`.

    Args:
        plan: Of the run.
        stage: That the worker works on.
        store_url: Of the run's store.
        open_: Returns the file system of a URL and the path on it.
    """

    def __init__(
        self, plan: Plan, stage: StageName, store_url: str, open_: FileOpener = open_url
    ) -> None:
        self._plan, self._stage, self._store_url, self._open = plan, stage, store_url, open_
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="broker")
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    @property
    def fd(self) -> int:
        """The worker's end, to be inherited."""
        return self._theirs.fileno()

    def close(self) -> None:
        """Answer no more; what is under way is finished."""
        self._theirs.close()
        self._ours.shutdown(socket.SHUT_RDWR)
        self._listener.join()
        self._workers.shutdown()
        self._ours.close()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                request, fds, _, _ = socket.recv_fds(self._ours, REQUEST_BYTES, 2)
                if not request:
                    return
                self._workers.submit(self._handle, request, fds)

    def _handle(self, request: bytes, fds: list[int]) -> None:
        with contextlib.ExitStack() as stack:
            for fd in fds:
                stack.callback(os.close, fd)
            if not fds or not _is_socket(fds[0]):
                return
            answer = json.dumps(self._answer(request, fds[1] if len(fds) > 1 else None))
            with socket.socket(fileno=os.dup(fds[0])) as reply, contextlib.suppress(OSError):
                reply.settimeout(ANSWER_S)
                reply.sendall(answer.encode())

    def _answer(self, request: bytes, fd: int | None) -> dict[str, Any]:
        try:
            fields = json.loads(request)
            operation, url = str(fields["do"]), str(fields["url"])
            value = patiently(lambda: self._explained(operation, url, fd), patience_s())
            return {"value": value}
        except FulcrumError as error:
            return {
                "error": type(error).__name__,
                "class": error.failure_class,
                "text": error.message,
                "where": error.where,
            }
        except Exception as error:  # a file system raises nearly anything; report it to the worker
            name = type(error).__name__
            for known in (FileNotFoundError, PermissionError, RefusedError):
                name = known.__name__ if isinstance(error, known) else name
            return {"error": name, "text": str(error)}

    def _explained(self, operation: str, url: str, fd: int | None) -> Any:
        """Perform a request; what went wrong on the way to a server, and no more, is explained."""
        try:
            return self._perform(operation, url, fd)
        except (FulcrumError, FileNotFoundError, PermissionError, ValueError):
            raise
        except Exception as error:
            raise explain(error, f"cannot {operation} '{url}'", url, self._open(url)[0]) from error

    def _perform(self, operation: str, url: str, fd: int | None) -> Any:
        protocol = url.partition("://")[0]
        if protocol not in PROTOCOLS:
            raise RefusedError(f"'{url}' is not read here")
        filesystem, path = self._open(url)
        access = self._access(protocol)
        if operation in ("info", "list", "get"):
            if not access.may_read(path):
                if access.is_input_in_store(path):
                    message = f"inputs may not be inside the store, as '{url}' is"
                    raise RefusedError(f"{message}; keep them beside {self._store_url}")
                raise RefusedError(_refusal("read", url, self._stage))
        elif not access.may_write(path):
            raise RefusedError(_refusal("written", url, self._stage))
        match operation:
            case "info":
                return _plain(filesystem.info(path))
            case "list":
                return [_plain(entry) for entry in filesystem.ls(path, detail=True)]
            case "remove":
                if access.artifact(path) is not None:
                    raise PermissionError(f"'{url}' is an artifact, which no stage removes")
                return filesystem.rm(path, recursive=True)
            case "get":
                with (
                    _regular(fd, "wb") as target,
                    filesystem.open(path, "rb", block_size=BLOCK_BYTES) as source,
                ):
                    return shutil.copyfileobj(source, target, CHUNK_BYTES)
            case "put":
                with _regular(fd, "rb") as source:
                    return _put(filesystem, path, source, access.artifact(path))
        raise PermissionError(f"'{operation}' is no request")

    def _access(self, protocol: str) -> Access:
        """Return the worker's rights on the file system of `protocol`."""
        kin = _kin(protocol)
        urls = (url for url in named_urls(self._plan) if _kin(url.partition("://")[0]) == kin)
        named = [str(self._open(url)[1]).rstrip("/") for url in urls]
        in_store = _kin(self._store_url.partition("://")[0]) == kin
        root = str(self._open(self._store_url)[1]).rstrip("/") if in_store else "\0"
        return access_of(self._plan, self._stage, root, named)


def _put(filesystem: Any, path: str, source: IO[bytes], digest: str | None) -> None:
    """Write `source` to `path`.

    Raises:
        PermissionError: `path` names an artifact of another content.
    """
    found = hashlib.sha256()
    with tempfile.TemporaryFile() as copy:
        while chunk := source.read(CHUNK_BYTES):
            found.update(chunk)
            copy.write(chunk)
        if digest is not None and digest != f"sha256:{found.hexdigest()}":
            raise PermissionError(f"the content has the digest {found.hexdigest()}, not {digest}")
        copy.flush()
        filesystem.put_file(f"/proc/self/fd/{copy.fileno()}", path)


@contextlib.contextmanager
def _regular(fd: int | None, mode: str) -> Iterator[IO[bytes]]:
    """Return the worker's file; one that could make us wait is refused."""
    if fd is None or not stat.S_ISREG(os.fstat(fd).st_mode):
        raise PermissionError("a regular file must come with the request")
    with os.fdopen(os.dup(fd), mode) as file:
        file.seek(0)  # it may have been tried before
        if "w" in mode:
            file.truncate()
        yield file


def _is_socket(fd: int) -> bool:
    return stat.S_ISSOCK(os.fstat(fd).st_mode)


def _kin(protocol: str) -> str:
    """Return what all names of one kind of store have in common."""
    return {"gcs": "gs", "abfss": "abfs", "az": "abfs"}.get(protocol, protocol.rstrip("a"))


def _refusal(what: str, url: str, stage: StageName) -> str:
    return f"'{url}' must not be {what} by stage {stage}: it is neither its own nor in the manifest"


def _plain(entry: Any) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(dict(entry), default=str))
    return plain
