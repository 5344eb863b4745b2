"""The part of the API server that a job needs, in memory: versions, status, and compare and set.

For tests of how jobs end. The other behaviour of the API server is tested against a real one.
"""

from __future__ import annotations

import copy
from typing import Any

from job_world import merged

from fulcrum_operator.kubernetes.errors import AlreadyExists, Conflict, NotFound
from fulcrum_operator.resources.names import Kind


class ApiInMemory:
    """Holds objects; takes the place of `Kube`."""

    fence = None

    def __init__(self) -> None:
        self._objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self._version = 0

    def of(self, kind: Kind) -> list[dict[str, Any]]:
        """Return the objects of a kind, in the order of their creation."""
        return [body for (plural, *_), body in self._objects.items() if plural == kind.plural]

    async def create(self, kind: Kind, body: dict[str, Any]) -> dict[str, Any]:
        """Create an object."""
        metadata = body["metadata"]
        key = (kind.plural, metadata["namespace"], metadata["name"])
        if key in self._objects:
            raise AlreadyExists("it is there")
        return self._store(key, copy.deepcopy(body))

    async def get(self, kind: Kind, name: str, namespace: str = "") -> dict[str, Any]:
        """Return an object."""
        found = self._objects.get((kind.plural, namespace, name))
        if found is None:
            raise NotFound(f"there is no {name}")
        return copy.deepcopy(found)

    async def patch(
        self,
        kind: Kind,
        name: str,
        namespace: str,
        patch: dict[str, Any],
        *,
        subresource: str = "",
        resource_version: str = "",
    ) -> dict[str, Any]:
        """Merge `patch` into an object, or only into its status."""
        found = await self.get(kind, name, namespace)
        if resource_version and resource_version != found["metadata"]["resourceVersion"]:
            raise Conflict("it has another version")
        part = {name: patch[name] for name in patch if name == (subresource or name)}
        return self._store((kind.plural, namespace, name), merged(found, part))

    def _store(self, key: tuple[str, str, str], body: dict[str, Any]) -> dict[str, Any]:
        self._version += 1
        body["metadata"]["resourceVersion"] = str(self._version)
        self._objects[key] = body
        return copy.deepcopy(body)
