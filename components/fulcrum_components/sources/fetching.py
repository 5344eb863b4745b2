"""Copy the file of a URL to the local disk, to map it into memory and compute its digest.

Local paths are used in place. Everything else is copied once into the cache, in a place named by
its content; if the remote side shows changes of a file (an ETag, a size, a time), a second run
does not even read it again. Only the schemes in `SCHEMES` are allowed, since fsspec knows
many more (`ssh`, `zip`, `local` chains) that a manifest has no business with.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fulcrum_components.sources.digest import content_digest
from fulcrum_components.sources.naming import listed, suggestion
from fulcrum_pipelines.errors import FulcrumError, RefusedError, UserError
from fulcrum_pipelines.storage.remote import explain, open_url, without_secrets

SCHEMES = ("file", "s3", "gs", "abfs", "https", "memory")
"""Schemes that a URL may have."""

PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "abfs": "adlfs", "https": "aiohttp"}
"""The package that teaches fsspec each scheme."""

GLOB = "*?["


class MissingError(UserError):
    """Nothing is at an address, or no file matches a glob."""


@dataclass(frozen=True)
class Fetched:
    """A file or directory on the local disk.

    Attributes:
        address: The URL that it came from, which may be signed.
        path: Where it is now.
    """

    address: str
    path: Path


def scheme_of(uri: str) -> str:
    """Return the scheme of `uri`, `file` for a plain path."""
    return uri.partition("://")[0] if "://" in uri else "file"


def fetch(uri: str, *, cache_dir: Path, where: str) -> Path:
    """Return the local path of the one file or directory that `uri` names.

    Raises:
        UserError: The scheme is not allowed, nothing is there, or it must not be read.
        InfrastructureError: The remote side did not answer.
    """
    found = fetch_all(uri, cache_dir=cache_dir, where=where)
    if len(found) != 1:
        raise UserError(f"'{uri}' matches {len(found)} files, expected one", where=where)
    return found[0].path


def fetch_all(uri: str, *, cache_dir: Path, where: str) -> list[Fetched]:
    """Return local copies of what `uri`, possibly a glob, names, in the order of their names.

    Raises:
        MissingError: Nothing is there.
        UserError: The scheme is not allowed, or it must not be read.
        InfrastructureError: The remote side did not answer.
    """
    scheme = scheme_of(uri)
    if scheme not in SCHEMES or "::" in uri:
        message = f"the scheme of '{uri}' is not allowed; allowed are {listed(SCHEMES)}"
        raise UserError(message, where=where)
    shown = without_secrets(uri)  # an address may be signed
    try:
        if scheme == "file":
            return _local(uri.removeprefix("file://"), where)
        return _remote(uri, cache_dir, where)
    except FulcrumError:
        raise
    except ImportError:
        package = PACKAGES.get(scheme, scheme)
        message = f"reading '{shown}' needs the Python package {package}, which is not installed"
        raise UserError(message, where=where) from None
    except FileNotFoundError:
        raise MissingError(f"nothing is at '{shown}'", where=where) from None
    except RefusedError as error:
        raise UserError(str(error), where=where) from None
    except PermissionError:
        message = f"access to '{shown}' was denied; give credentials that may read it"
        raise UserError(message, where=where) from None
    except Exception as error:
        failure = explain(error, f"reading '{shown}' failed", shown)
        raise type(failure)(failure.message, where=where) from error


def _local(text: str, where: str) -> list[Fetched]:
    path = Path(text)
    if path.exists():
        return [_in_place(path)]
    if any(character in text for character in GLOB):
        found = sorted(Path(path.anchor or ".").glob(str(path.relative_to(path.anchor))))
        if found:
            return [_in_place(item) for item in found]
        raise MissingError(f"no file matches '{text}'", where=where)
    siblings = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
    hint = suggestion(path.name, siblings)
    raise MissingError(f"no file or directory '{text}'{hint}", where=where)


def _in_place(path: Path) -> Fetched:
    return Fetched(f"file://{path.absolute()}", path.absolute())


def _remote(uri: str, cache_dir: Path, where: str) -> list[Fetched]:
    filesystem, path = open_url(uri)
    scheme = scheme_of(uri)
    if any(character in _without_query(path, scheme) for character in GLOB):
        found = sorted(filesystem.glob(path))
        if not found:
            raise MissingError(f"no file matches '{without_secrets(uri)}'", where=where)
        named = {filesystem.unstrip_protocol(item): item for item in found}
    else:
        named = {uri: path}
    return [
        Fetched(address, _copy(filesystem, item, scheme, cache_dir))
        for address, item in named.items()
    ]


def _copy(filesystem: Any, path: str, scheme: str, cache_dir: Path) -> Path:
    """Return a local copy of the remote `path`, from the cache where it is unchanged."""
    cache_dir.mkdir(parents=True, exist_ok=True)
    is_folder = filesystem.isdir(path)
    note = cache_dir / "urls" / _key(filesystem, path, scheme, is_folder)
    name = _without_query(path, scheme).rstrip("/").rpartition("/")[2] or "data"
    # servers of https do not report changes reliably, so those files are read every time
    if scheme != "https" and note.is_file():
        known = cache_dir / note.read_text("utf-8")
        if known.exists():
            return known
    with tempfile.TemporaryDirectory(dir=cache_dir) as temporary:
        copy = Path(temporary) / name
        if is_folder:
            filesystem.get(path, str(copy), recursive=True)
        else:  # the former would take special characters of its name for a pattern
            filesystem.get_file(path, str(copy))
        if not copy.exists():
            raise FileNotFoundError(path)
        digest = content_digest(copy).removeprefix("sha256:")
        target = cache_dir / "content" / digest / name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(copy, target)
    note.parent.mkdir(exist_ok=True)
    note.write_text(os.path.relpath(target, cache_dir), "utf-8")
    return target


def _without_query(path: str, scheme: str) -> str:
    """Return `path` up to the `?` that begins a query, which may be a signature, in web addresses.

    In other addresses a `?` matches one character of a name.
    """
    return path.partition("?")[0] if scheme == "https" else path


def _key(filesystem: Any, path: str, scheme: str, is_folder: bool) -> str:
    """Return a name for this version of the remote file or directory."""
    if is_folder:
        files = filesystem.find(path, detail=True)
        version = repr([(name, files[name].get("size"), _version(files[name])) for name in files])
        if not files:
            raise FileNotFoundError(path)
    else:
        info = filesystem.info(path)
        version = repr((info.get("size"), _version(info)))
    return hashlib.sha256(f"{scheme} {path} {version}".encode()).hexdigest()


def _version(info: dict[str, Any]) -> str:
    keys = ("ETag", "etag", "md5Hash", "content_md5", "LastModified", "mtime", "updated", "created")
    return repr([str(info[key]) for key in keys if info.get(key)])
