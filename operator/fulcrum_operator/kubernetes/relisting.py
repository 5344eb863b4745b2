"""Detect deletions missed between watches.

A watch that restarts from a list reports all existing objects, but not the deleted ones. An object
that was known before the list and is not in it was deleted. Without this check, a deleted job would
keep its place, and a job could refer to a deleted template.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from fulcrum_operator.kubernetes.object_cache import Body
from fulcrum_operator.kubernetes.watching import resource_of

log = logging.getLogger(__name__)

_UID = re.compile(rb'"uid"\s*:\s*"([^"]+)"')
"""Also finds the uids of owners, which are then not missed; parsing a page twice costs more."""
_NAMESPACE = re.compile("/namespaces/([^/]+)/[^/]+$")


@dataclass
class Relisting:
    """Compares lists with what was known.

    Attributes:
        known: Returns the objects that are known, by plural and namespace; empty for all.
        vanished: Called with the plural and the last known form of each deleted object.
    """

    known: Callable[[str, str], Iterable[Body]]
    vanished: Callable[[str, Body], None]
    _missing: dict[str, dict[str, Body]] = field(default_factory=dict)

    def list_begins(self, path: str) -> None:
        """Remember what is known now; what comes to be known later need not be in the list."""
        found = _NAMESPACE.search(path)
        bodies = self.known(resource_of(path), found[1] if found else "")
        self._missing[path] = {body["metadata"]["uid"]: body for body in bodies}

    def page_came(self, path: str, body: bytes) -> None:
        """Strike off what is there."""
        if missing := self._missing.get(path):
            for uid in _UID.findall(body):
                missing.pop(uid.decode(), None)

    def watch_begins(self, path: str) -> None:
        """Report the objects that no page had; a continued watch had no list before it."""
        missing = self._missing.pop(path, {})
        for body in missing.values():
            self.vanished(resource_of(path), body)
        if missing:
            log.info("%d %s were deleted unseen", len(missing), resource_of(path))
