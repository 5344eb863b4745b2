"""Find the files of a data source: its addresses, what is at each of them, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from fulcrum_components.sources.digest import content_size, sequence_digest
from fulcrum_components.sources.fetching import Fetched, MissingError, fetch_all
from fulcrum_components.sources.naming import listed
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.evidence import AddressRead
from fulcrum_pipelines.resources.compressionjob import DataSource
from fulcrum_pipelines.storage.remote import without_secrets

ENDINGS = {".npz": "npz", ".npy": "npy", ".csv": "csv", ".csv.gz": "csv", ".parquet": "parquet"}

SINGLE = ("python", "imageFolder")
"""Formats of one file or directory."""


@dataclass(frozen=True)
class DataFile:
    """One file of a data source, or its directory of images.

    Attributes:
        path: Where it is on the local disk.
        name: The end of its address, as long as needed to distinguish the source's files.
        where: Field path and name, for messages.
    """

    path: Path
    name: str
    where: str


@dataclass(frozen=True)
class Gathered:
    """The files of a data source in the order in which they are read.

    Attributes:
        kind: Their format.
        addresses: Addresses with something there, without secrets.
        sizes: How many of `files` each of `addresses` has.
        files: All files.
        skipped: Addresses with nothing there, which the source allows.
        answers: Files of `targetUri`, for format npy.
    """

    kind: str
    addresses: tuple[str, ...]
    sizes: tuple[int, ...]
    files: tuple[DataFile, ...]
    skipped: tuple[str, ...] = ()
    answers: tuple[DataFile, ...] = ()

    @property
    def origin(self) -> str:
        """The name of the first file, for messages about all of them."""
        more = ", ..." if len(self.files) > 1 else ""
        return f"{self.files[0].name}{more}"

    def record(self, examples: Sequence[int]) -> tuple[AddressRead, ...]:
        """Return digest, size and number of examples of each address.

        Args:
            examples: Number of examples of each of `files`.
        """
        found, start = [], 0
        for address, size in zip(self.addresses, self.sizes, strict=True):
            paths = [file.path for file in self.files[start : start + size]]
            found.append(_record(address, paths, sum(examples[start : start + size])))
            start += size
        return tuple(found)


def gather(source: DataSource, *, where: str, cache_dir: Path) -> Gathered:
    """Fetch the files of `source`.

    Args:
        source: The data source of the manifest; its URLs are absolute.
        where: Field path of `source`, for messages.
        cache_dir: Directory for copies of remote files.

    Raises:
        UserError: An address is missing, is named twice or has another format than the first.
        InfrastructureError: Remote storage did not answer.
    """
    uris = (source.uri,) if source.uri is not None else source.uris or ()
    kind: str = source.format
    present: list[tuple[str, list[Fetched]]] = []
    missing: list[tuple[str, MissingError]] = []
    for index, uri in enumerate(uris):
        field = f"{where}.uri" if source.uri is not None else f"{where}.uris[{index}]"
        try:
            found = fetch_all(uri, cache_dir=cache_dir, where=field)
            kind = _format_of(found[0], where) if kind == "auto" else kind
            present.append((uri, _files_of(found, kind, field)))
        except MissingError as error:
            missing.append((uri, error))
    if kind in SINGLE and source.uris is not None:
        message = f"format {kind} reads one address; use uri, or name the format of the files"
        raise UserError(message, where=f"{where}.uris")
    _check_missing(source, missing, len(present), where)
    files = [file for _, found in present for file in found]
    if source.format == "auto":
        _check_formats(files, where)
    _check_distinct(files, where)
    answers: list[Fetched] = []
    if kind == "npy" and source.target_uri is not None:
        answers = fetch_all(source.target_uri, cache_dir=cache_dir, where=f"{where}.targetUri")
        _check_files(answers, f"{where}.targetUri")
    return Gathered(
        kind=kind,
        addresses=tuple(without_secrets(uri) for uri, _ in present),
        sizes=tuple(len(found) for _, found in present),
        files=_named(files, where),
        skipped=tuple(without_secrets(uri) for uri, _ in missing),
        answers=_named(answers, f"{where}.targetUri"),
    )


def _record(address: str, paths: Sequence[Path], examples: int) -> AddressRead:
    return AddressRead(
        address=address,
        digest=sequence_digest(paths),
        size_bytes=sum(map(content_size, paths)),
        files=len(paths),
        examples=examples,
    )


def _check_missing(
    source: DataSource, missing: Sequence[tuple[str, MissingError]], present: int, where: str
) -> None:
    """Refuse missing addresses, unless the source allows as many."""
    if not missing:
        return
    names = listed(f"'{without_secrets(uri)}'" for uri, _ in missing)
    of_all = f"of {len(missing) + present} addresses"
    if source.missing == "Skip":
        if present < (source.minimum or 1):
            message = (
                f"only {present} {of_all} exist, but minimum is {source.minimum}; missing: {names}"
            )
            raise UserError(message, where=f"{where}.uris")
    elif len(missing) == 1:
        raise missing[0][1]
    else:
        message = f"{len(missing)} {of_all} are missing: {names}"
        raise UserError(message, where=f"{where}.uris")


def _check_distinct(files: Sequence[Fetched], where: str) -> None:
    """Refuse a file that two addresses name, since its examples would count twice."""
    seen: set[str] = set()
    for file in files:
        own = str(file.path.resolve()) if file.address.startswith("file://") else file.address
        if own in seen:
            message = f"'{without_secrets(file.address)}' is read twice; name each file once"
            raise UserError(message, where=f"{where}.uris")
        seen.add(own)


def _named(files: Sequence[Fetched], where: str) -> tuple[DataFile, ...]:
    """Return `files` under the shortest ends of their addresses that are all different."""
    parts = [without_secrets(file.address).rstrip("/").split("/") for file in files]
    longest = max(map(len, parts), default=0)
    for length in count(1):
        names = ["/".join(each[-length:]) for each in parts]
        if len(set(names)) == len(names) or length >= longest:  # signed ones may look the same
            break
    return tuple(
        DataFile(file.path, name, f"{where} ({name})")
        for file, name in zip(files, names, strict=True)
    )


def _format_of(file: Fetched, where: str) -> str:
    if file.path.is_dir():
        return "imageFolder"
    for ending, kind in ENDINGS.items():
        if file.path.name.lower().endswith(ending):
            return kind
    message = (
        f"the format of '{file.path.name}' is not clear from its name; known endings are "
        f"{listed(ENDINGS)}, or set format"
    )
    raise UserError(message, where=f"{where}.format")


def _check_formats(files: Sequence[Fetched], where: str) -> None:
    first = _format_of(files[0], where)
    for file in files:
        if (found := _format_of(file, where)) != first:
            message = (
                f"'{file.path.name}' is {found}, but '{files[0].path.name}' is {first}; all files "
                "of a data set need one format"
            )
            raise UserError(message, where=f"{where}.format")


def _files_of(found: Sequence[Fetched], kind: str, where: str) -> list[Fetched]:
    """Return what is at an address, with a directory replaced by its files of the format `kind`.

    Raises:
        MissingError: A directory holds none.
    """
    if kind in SINGLE:
        if len(found) != 1:
            message = f"matches {len(found)} files, but format {kind} takes one"
            raise UserError(message, where=where)
        if kind == "python":
            _check_files(found, where)
        elif not found[0].path.is_dir():
            raise UserError("is a file, an image folder is a directory", where=where)
        return list(found)
    endings = tuple(ending for ending, name in ENDINGS.items() if name == kind)
    files: list[Fetched] = []
    for each in found:
        if each.path.is_dir():
            files += [
                Fetched(f"{each.address.rstrip('/')}/{item.name}", item)
                for item in sorted(each.path.iterdir())
                if item.name.lower().endswith(endings) and item.name[0] != "."
            ]
        else:
            files.append(each)
    if not files:
        raise MissingError(f"the directory holds no {listed(endings)} files", where=where)
    _check_files(files, where)
    return files


def _check_files(files: Sequence[Fetched], where: str) -> None:
    """Refuse what would be waited for or read without end."""
    for file in files:
        if not file.path.is_file():
            raise UserError(f"'{file.path.name}' is no file that can be read", where=where)
