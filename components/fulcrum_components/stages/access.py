"""Rights of the process with a user's code on stores; everything else is refused.

Credentials of a store open all of it, every team's runs included. A stage needs little: artifacts
whose digest it knows, the records of its own run, results and checkpoints of its own namespace, and
the model and data that its manifest names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.evidence import StageName
from fulcrum_pipelines.storage.store import cache_path, checkpoint_path, object_path, state_path

ANY_DIGEST = "0" * 64
GLOB = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Access:
    """The rights of one stage of one run.

    Attributes:
        root: Path of the store.
        readable: Paths below it that may be read, as patterns.
        writable: Paths below it that may be written, as patterns.
        named: Paths that the manifest names; outside of the store, they and what is below them may
            be read.
    """

    root: str
    readable: tuple[re.Pattern[str], ...]
    writable: tuple[re.Pattern[str], ...]
    named: tuple[str, ...] = ()

    def may_read(self, path: str) -> bool:
        """Return whether `path` may be read or listed."""
        if not _is_plain(path):
            return False
        inside = self._inside(path)
        if inside is not None:
            return _matches(inside, (*self.readable, *self.writable))
        return self._is_named(path)

    def is_input_in_store(self, path: str) -> bool:
        """Return whether the manifest names `path` though it is in the store, so cannot be read."""
        return self._inside(path) is not None and self._is_named(path)

    def may_write(self, path: str) -> bool:
        """Return whether `path` may be written or removed."""
        inside = self._inside(path) if _is_plain(path) else None
        return inside is not None and _matches(inside, self.writable)

    def artifact(self, path: str) -> str | None:
        """Return the digest that the content of `path` must have, if it is an artifact."""
        inside = self._inside(path)
        if inside is None or not re.fullmatch(_pattern(object_path(ANY_DIGEST)), inside):
            return None
        return f"sha256:{inside.rpartition('/')[2]}"

    def _is_named(self, path: str) -> bool:
        return any(path == name or path.startswith(f"{name}/") for name in self.named)

    def _inside(self, path: str) -> str | None:
        if path == self.root:
            return ""
        return path.removeprefix(f"{self.root}/") if path.startswith(f"{self.root}/") else None


def access_of(plan: Plan, stage: StageName, root: str, named: Sequence[str]) -> Access:
    """Return what the worker of `stage` may do in the store at `root`.

    Args:
        plan: Of the run.
        stage: Which it works on.
        root: Path of the store on its file system.
        named: Paths that the manifest names, as `named_urls` gives them, on the same file system.
    """
    space = plan.namespace
    cache = _pattern(cache_path(stage, ANY_DIGEST, space))
    shared = [
        _pattern(object_path(ANY_DIGEST)),
        _pattern(checkpoint_path(ANY_DIGEST, space)) + r"(/[\w.-]+)?",
    ]
    writable = (re.escape(state_path(plan.run, stage)), *shared)
    readable = (re.escape(f"runs/{plan.run}") + r"/.+", cache)
    return Access(
        root,
        tuple(map(re.compile, readable)),
        tuple(map(re.compile, writable)),
        tuple(
            GLOB.split(path)[0].rpartition("/")[0] if GLOB.search(path) else path for path in named
        ),
    )


def named_urls(plan: Plan) -> tuple[str, ...]:
    """Return the URLs that the manifest has in models and data, also as arguments of functions."""
    spec = plan.spec.model_dump(mode="json", include={"model", "candidate", "data"})
    return tuple(text for text in _texts(spec) if "://" in text)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def _pattern(path: str) -> str:
    """Return the pattern of a path that was made with `ANY_DIGEST`."""
    spread = f"{ANY_DIGEST[:2]}/{ANY_DIGEST}"  # as artifacts are, in folders
    pattern = re.escape(path).replace(spread, "[0-9a-f]{2}/[0-9a-f]{64}")
    return pattern.replace(ANY_DIGEST, "[0-9a-f]{64}")


def _matches(path: str, patterns: Sequence[re.Pattern[str]]) -> bool:
    return any(pattern.fullmatch(path) for pattern in patterns)


def _is_plain(path: str) -> bool:
    return path.isprintable() and all(part not in ("", ".", "..") for part in path.split("/"))
