"""Rows of the tables, and how they become manifests."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

DROP = object()
Manifest = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """A change of a good manifest.

    Attributes:
        name: What is wrong or right with it.
        changes: Values by path, written `spec.gates.0.margin`; `DROP` takes the field away.
        at: Path of the problem.
        words: Parts of the message that both must contain.
        hints: Parts that only the offline check adds.
        server_at: The API server's path of the problem, if it differs.
        offline: It cannot be sent to an API server, or is nothing to it.
    """

    name: str
    changes: dict[str, Any] = field(default_factory=dict)
    at: str = ""
    words: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    server_at: str | None = None
    offline: bool = False


@dataclass(frozen=True)
class Update:
    """A change of an object that is there; with no words, it is accepted."""

    name: str
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    at: str = ""
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """The rows of one kind.

    Attributes:
        good: A manifest that is accepted unchanged.
        accepted: Changes that are accepted.
        refused: One row for every rule, and more.
        updates: Rules about updates.
    """

    good: Manifest
    accepted: tuple[Row, ...]
    refused: tuple[Row, ...]
    updates: tuple[Update, ...] = ()

    @property
    def kind(self) -> str:
        """Kind of the objects."""
        return str(self.good["kind"])


def changed(manifest: Manifest, changes: dict[str, Any]) -> Manifest:
    """Return a copy of `manifest` with `changes`."""
    result = copy.deepcopy(manifest)
    for path, value in changes.items():
        *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        at: Any = result
        for part in parents:
            at = at[part] if isinstance(at, list) else at.setdefault(part, {})
        if value is DROP:
            del at[last]
        elif isinstance(at, list) and last == len(at):
            at.append(copy.deepcopy(value))
        else:
            at[last] = copy.deepcopy(value)
    return result
