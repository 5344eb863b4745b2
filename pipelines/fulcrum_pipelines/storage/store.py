"""The store: artifacts by digest, and each run's records, on any fsspec URL.

Engines only move bytes that they do not understand; results are read from here, under paths that
are computed from the run's key, and every artifact is checked against its digest when it is read.

    objects/sha256/ab/abcd...        an artifact, named by its content
    runs/<run>/plan.json             the plan (also an object; the run names it by digest)
    runs/<run>/stages/<stage>.json   a stage's evidence
    runs/<run>/state/<stage>.json    how a stage is going, or how it failed
    runs/<run>/logs/<stage>.log      what a stage printed
    runs/<run>/evidence.json         the whole
    cache/<namespace>/<stage>/<digest>.json
                                     the evidence of a stage that had the same inputs
    checkpoints/<namespace>/<digest>/
                                     the state from which a training with these inputs resumes

The last two belong to a namespace, since code that runs in it could put anything there; without a
cluster this folder is missing.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from fulcrum_pipelines.contract import Plan, digest_of, to_json
from fulcrum_pipelines.errors import (
    CorruptError,
    FulcrumError,
    InfrastructureError,
)
from fulcrum_pipelines.evidence import Artifact, Evidence, Record, StageEvidence, StageName
from fulcrum_pipelines.states import StageState
from fulcrum_pipelines.storage.remote import (
    BUCKETS,
    explain,
    is_missing,
    is_taken,
    open_url,
    patiently,
    without_secrets,
)
from fulcrum_pipelines.texts import reason

CHUNK_BYTES = 1 << 20
BLOCK_BYTES = 8 << 20
"""How much is asked for at once where an artifact is read piece by piece."""
PATIENCE_S = 180.0
"""How long a stage waits for a store that does not answer: a server is moved in a minute or two."""
PATIENCE = "FULCRUM_STORE_PATIENCE_S"

R = TypeVar("R", bound=Record)
NO_LINKS = frozenset((errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK))
"""Errors of a file system without hard links, on which it is not certain who is first."""

T = TypeVar("T")


class _TakenError(FulcrumError):
    """Something is there already, or something else than expected."""


class Store:
    """Artifacts and records under one URL.

    Args:
        url: Any fsspec URL or a local path. Credentials come from the environment.
        patience_s: For how long a server that does not answer is asked again. By default it is
            not: who looks again anyway, as the operator does, must not be held.

    Raises:
        InfrastructureError: The URL's protocol is unknown, its fsspec plug-in is not installed, it
            has no bucket, or credentials, or cannot be opened.
    """

    def __init__(self, url: str, *, patience_s: float = 0.0) -> None:
        self.url = url
        self._patience_s = patience_s
        try:
            self._fs, root = open_url(url)
        except Exception as error:  # each kind of file system has different errors for bad URLs
            known = isinstance(error, ValueError | ImportError)
            why = str(error) if known else f"it cannot be opened ({reason(error)})"
            message = without_secrets(why)
            raise InfrastructureError(message, where=f"store {without_secrets(url)}") from error
        self._root = root.rstrip("/")
        self.is_local = "file" in _protocols(self._fs)
        self._has_folders = not BUCKETS.intersection(_protocols(self._fs))

    def _path(self, path: str) -> str:
        return f"{self._root}/{path}"

    def _ask(self, what: str, act: Callable[[], T]) -> T:
        """Return what `act` returns; all that it raises is explained but for a missing file.

        Raises:
            FileNotFoundError: There is no such file.
            InfrastructureError: The store refuses, or does not answer for as long as we wait.
        """

        def once() -> T:
            try:
                return act()
            except FulcrumError:
                raise
            except Exception as error:
                if is_missing(error) or (self.is_local and not isinstance(error, OSError)):
                    raise
                if self.is_local:
                    raise InfrastructureError(f"{what}: {error}", where=self.url) from error
                raise explain(error, what, self.url, self._fs) from error

        try:
            return patiently(once, self._patience_s)
        except CorruptError:  # or it was replaced between the server's looks at it
            return patiently(once, self._patience_s)

    # --- bytes

    def read(self, path: str) -> bytes | None:
        """Return the bytes at `path`, or None if it is missing."""
        try:
            return self._ask(
                f"cannot read {path}", lambda: bytes(self._fs.cat_file(self._path(path)))
            )
        except FileNotFoundError:
            return None

    def write(self, path: str, data: bytes) -> None:
        """Write `data` to `path`; a reader sees all of it or the earlier content."""
        self._change(path, lambda target: self._write(target, data))

    def _write(self, target: str, data: bytes) -> None:
        if not self.is_local:  # object stores replace an object as a whole
            self._fs.pipe_file(target, data)
            return
        partial = f"{target}.{uuid.uuid4().hex}.partial"
        with open(partial, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)

    def create(self, path: str, data: bytes) -> bool:
        """Write `data` to `path` if nothing is there, also if others try at the same time.

        Returns:
            Whether `path` holds `data` now; an earlier call whose answer was lost may have done it.
        """
        try:
            self._change(path, lambda target: self._create(target, data))
        except _TakenError:
            return self.read(path) == data
        return True

    def _create(self, target: str, data: bytes) -> None:
        if self.is_local:
            partial = f"{target}.{uuid.uuid4().hex}.partial"
            self._write(partial, data)
            try:
                os.link(partial, target)
            except FileExistsError as error:
                raise _TakenError(target) from error
            except OSError as error:
                if error.errno not in NO_LINKS:
                    raise
                if os.path.exists(target):
                    raise _TakenError(target) from error
                os.replace(partial, target)
            finally:
                Path(partial).unlink(missing_ok=True)
            return
        try:
            self._fs.pipe_file(target, data, mode="create")
        except Exception as error:
            if is_taken(error):
                raise _TakenError(target) from error
            raise

    def replace(self, path: str, data: bytes, expected: bytes | None) -> bool:
        """Write `data` to `path` if it still holds `expected`, also if others try at the same time.

        A directory locks a file beside it, `<path>.lock`, which stays; all writers must call
        `replace`. S3 servers must honour If-Match and If-None-Match.

        Args:
            path: Of the file.
            data: Its new content.
            expected: The content that it was read with; None if there was no file.

        Returns:
            Whether `path` holds `data` now; an earlier call whose answer was lost may have done it.

        Raises:
            InfrastructureError: The store cannot do that, refuses, or does not answer.
        """
        if not self.is_local and not hasattr(self._fs, "replace_file"):
            message = (
                f"cannot replace {path} safely while others write it; use a directory or s3://"
            )
            raise InfrastructureError(message, where=without_secrets(self.url))
        try:
            self._change(path, lambda target: self._replace(target, data, expected))
        except _TakenError:
            return self.read(path) == data
        return True

    def _replace(self, target: str, data: bytes, expected: bytes | None) -> None:
        if self.is_local:
            with _locked(target):
                held = Path(target).read_bytes() if os.path.exists(target) else None
                if held != expected:
                    raise _TakenError(target)
                self._write(target, data)
        elif expected is None:
            self._create(target, data)
        else:
            try:
                is_replaced = self._fs.replace_file(target, data, expected)
            except Exception as error:
                if is_taken(error) or is_missing(error):
                    raise _TakenError(target) from error
                raise
            if not is_replaced:
                raise _TakenError(target)

    def _change(self, path: str, act: Callable[[str], None]) -> None:
        """Let `act` write the file at `path`, in a folder that is there; buckets are never made."""
        target, what = self._path(path), f"cannot write {path}"

        def with_folder() -> None:
            if self._has_folders:
                self._fs.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
            act(target)

        try:
            self._ask(what, with_folder)
        except FileNotFoundError as error:  # the source, or a folder that was just removed
            raise InfrastructureError(f"{what}: {error}", where=self.url) from error

    def delete(self, path: str) -> None:
        """Remove the file or folder `path`, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self._ask(
                f"cannot remove {path}", lambda: self._fs.rm(self._path(path), recursive=True)
            )

    def names(self, path: str) -> tuple[str, ...]:
        """Return the names of the files in the folder `path`, none if it is not there."""
        try:
            found = self._ask(
                f"cannot list {path}", lambda: self._fs.ls(self._path(path), detail=False)
            )
        except FileNotFoundError:
            return ()
        return tuple(sorted(str(name).rsplit("/", 1)[-1] for name in found))

    def download(self, path: str, target: Path) -> None:
        """Copy the file at `path` to the local file `target`."""
        target.parent.mkdir(parents=True, exist_ok=True)
        what = f"cannot read {path}"
        try:
            self._ask(what, lambda: self._fs.get_file(self._path(path), str(target)))
        except FileNotFoundError as error:
            raise InfrastructureError(f"{what}: it is not there", where=self.url) from error

    def locate(self, path: str) -> str:
        """Return the address of `path` as a person would open it."""
        return self._path(path) if self.is_local else f"{self.url.rstrip('/')}/{path}"

    # --- artifacts

    def put(self, source: Path, name: str, media_type: str) -> Artifact:
        """Store the file `source` under its digest and return what names it.

        An existing copy is read, and replaced if it was damaged.
        """
        digest = file_digest(source)
        if not self.is_intact(digest):
            self.upload(source, object_path(digest))
        size = source.stat().st_size
        return Artifact(name=name, digest=digest, size_bytes=size, media_type=media_type)

    def upload(self, source: Path, path: str) -> None:
        """Copy the file `source` to `path`; a reader sees all of it or none."""

        def copy(target: str) -> None:
            partial = f"{target}.{uuid.uuid4().hex}.partial" if self.is_local else target
            self._fs.put_file(str(source), partial)
            if self.is_local:
                os.replace(partial, target)

        self._change(path, copy)

    def get(self, digest: str, target: Path) -> Path:
        """Copy the artifact `digest` to the file `target` and return it.

        Raises:
            CorruptError: Its content has another digest.
            InfrastructureError: It is not there, or the store does not answer.
        """
        try:
            self.download(object_path(digest), target)
            self._compare(digest, file_digest(target))
        except CorruptError as error:
            target.unlink(missing_ok=True)
            raise self._corrupt(digest, error) from error
        return target

    def verify(self, digest: str) -> int:
        """Read the artifact `digest` piece by piece and return its size in bytes.

        Raises:
            CorruptError: It is not there, or its content has another digest.
            InfrastructureError: The store does not answer, so nothing is known of it.
        """
        path = object_path(digest)
        try:
            found, size = self._ask(f"cannot read {path}", lambda: self._digest(path))
            self._compare(digest, found)
        except CorruptError as error:
            raise self._corrupt(digest, error) from error
        except FileNotFoundError as error:
            self.read(path)  # raises for a missing bucket
            raise CorruptError(f"artifact {digest} is missing", where=self.locate(path)) from error
        return size

    def is_intact(self, digest: str) -> bool:
        """Return whether the artifact `digest` exists with the content of that digest.

        Raises:
            InfrastructureError: The store does not answer, so nothing is known of it.
        """
        try:
            self.verify(digest)
        except CorruptError:
            return False
        return True

    def _digest(self, path: str) -> tuple[str, int]:
        found, size = hashlib.sha256(), 0
        with self._fs.open(self._path(path), "rb", block_size=BLOCK_BYTES) as file:
            while chunk := file.read(CHUNK_BYTES):
                found.update(chunk)
                size += len(chunk)
        return f"sha256:{found.hexdigest()}", size

    def _compare(self, digest: str, found: str) -> None:
        if found != digest:
            raise CorruptError(f"its content has the digest {found}")

    def _corrupt(self, digest: str, error: CorruptError) -> CorruptError:
        """Return the error about a corrupt artifact, with the server's finding if it has one."""
        message = f"artifact {digest} is corrupt: {error.message}"
        return CorruptError(message, where=self.locate(object_path(digest)))

    def put_record(self, record: Record) -> str:
        """Store `record` as an artifact and return its digest."""
        data = to_json(record)
        digest = digest_of(data)
        if self.read(object_path(digest)) != data:
            self.write(object_path(digest), data)
        return digest

    def plan(self, digest: str) -> Plan:
        """Return the plan stored as `digest`.

        Raises:
            CorruptError: It is missing, not what its digest says, or no plan.
        """
        data = self.read(object_path(digest))
        if data is None or digest_of(data) != digest:
            state = "missing" if data is None else "corrupt"
            raise CorruptError(f"plan {digest} is {state}", where=self.url)
        return parse_record(data, Plan, where=self.locate(object_path(digest)))

    # --- records of a run

    def write_record(self, path: str, record: Record) -> None:
        """Write `record` to `path` as indented JSON."""
        self.write(path, record_bytes(record))

    def read_record(self, path: str, kind: type[R]) -> R | None:
        """Return the record at `path`, or None if it is missing.

        Raises:
            CorruptError: It is not a record of that kind.
        """
        data = self.read(path)
        return None if data is None else parse_record(data, kind, where=self.locate(path))

    def stage_evidence(self, run: str, stage: StageName) -> StageEvidence | None:
        """Return what `stage` recorded, or None if it has not."""
        return self.read_record(stage_path(run, stage), StageEvidence)

    def stage_state(self, run: str, stage: StageName) -> StageState | None:
        """Return how `stage` is going, or None before it starts."""
        return self.read_record(state_path(run, stage), StageState)

    def evidence(self, run: str) -> Evidence | None:
        """Return the whole evidence of `run`, or None before it is complete."""
        return self.read_record(f"runs/{run}/evidence.json", Evidence)

    def cached(
        self, stage: StageName, inputs_digest: str, namespace: str = ""
    ) -> StageEvidence | None:
        """Return the evidence of an earlier `stage` with the same inputs, if all of it is intact.

        Damaged artifacts are found here, so that another attempt makes them again.
        """
        found = self.read_record(cache_path(stage, inputs_digest, namespace), StageEvidence)
        if found is None:
            return None
        return found if all(self.is_intact(output.digest) for output in found.outputs) else None


@contextlib.contextmanager
def _locked(target: str) -> Iterator[None]:
    """Keep out other processes and threads that lock the same file.

    Raises:
        InfrastructureError: The file system has no locks.
    """
    with open(f"{target}.lock", "ab") as file:  # never `target` itself, which is replaced
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            message = f"cannot lock it ({error}); use a file system with locks, or s3://"
            raise InfrastructureError(message, where=file.name) from error
        yield


def record_bytes(record: Record) -> bytes:
    """Return `record` as it is in a file."""
    return json.dumps(record.model_dump(mode="json"), indent=1).encode() + b"\n"


def parse_record(data: bytes, kind: type[R], *, where: str) -> R:
    """Return the record that `data` is.

    Raises:
        CorruptError: It is none of that kind.
    """
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        what = "a valid plan" if kind is Plan else "valid evidence"
        raise CorruptError(f"not {what}: {field}: {first['msg']}", where=where) from error


def patience_s() -> float:
    """Return for how long a stage asks a server that does not answer.

    Raises:
        InfrastructureError: The variable that says so has no number.
    """
    given = os.environ.get(PATIENCE, "")
    try:
        return float(given or PATIENCE_S)
    except ValueError as error:
        message = f"'{given}' is no number of seconds"
        raise InfrastructureError(message, where=PATIENCE) from error


def patient_store(url: str) -> Store:
    """Return the store at `url` as a stage uses it, whose work would be lost with its end."""
    return Store(url, patience_s=patience_s())


def object_path(digest: str) -> str:
    """Return where the artifact `digest` lies in a store."""
    hexadecimal = digest.removeprefix("sha256:")
    return f"objects/sha256/{hexadecimal[:2]}/{hexadecimal}"


def stage_path(run: str, stage: StageName) -> str:
    """Return where `stage` of `run` leaves its evidence."""
    return f"runs/{run}/stages/{stage}.json"


def state_path(run: str, stage: StageName) -> str:
    """Return where `stage` of `run` says how it is going."""
    return f"runs/{run}/state/{stage}.json"


def log_path(run: str, stage: StageName) -> str:
    """Return where what `stage` of `run` printed is kept."""
    return f"runs/{run}/logs/{stage}.log"


def cache_path(stage: StageName, inputs_digest: str, namespace: str = "") -> str:
    """Return where evidence of `stage` with these inputs is found again."""
    return f"cache/{_folder(namespace)}{stage}/{inputs_digest.removeprefix('sha256:')}.json"


def checkpoint_path(inputs_digest: str, namespace: str = "") -> str:
    """Return where a training with these inputs keeps its newest checkpoint."""
    return f"checkpoints/{_folder(namespace)}{inputs_digest.removeprefix('sha256:')}"


def _folder(namespace: str) -> str:
    return f"{namespace}/" if namespace else ""


def file_digest(path: Path) -> str:
    """Return the digest of the content of the file `path`, as `sha256:<hex>`."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _protocols(filesystem: Any) -> tuple[str, ...]:
    protocol = filesystem.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)
