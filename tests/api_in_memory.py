"""The part of the API server that jobs need, in memory: versions, finalizers, compare and set.

For tests of how jobs end. The other behaviour of the API server is tested against a real one.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from fulcrum_operator.kubernetes.errors import AlreadyExists, Conflict, NotFound
from fulcrum_operator.kubernetes.fence import Fence
from fulcrum_operator.resources.names import Kind

DELETED_AT = "2026-11-25T09:00:00Z"


class ApiInMemory:
    """Holds objects. Its coroutines take the place of `Kube`; its other methods act for users.

    Args:
        watched: Called for every change, as a watch is: kind, type of the event, object.
        touched: Called with the name of a write before and after it, so that a test can end the
            process there or lose the answer; `create configmaps` is such a name.
        fence: Has to be open for writes by the operator.

    Attributes:
        calls: How often each call of `Kube` was made, by verb and resource.
    """

    def __init__(
        self,
        watched: Callable[[Kind, str, dict[str, Any]], None] = lambda kind, event, body: None,
        touched: Callable[[str], None] = lambda call: None,
        fence: Fence | None = None,
    ) -> None:
        self.fence = fence
        self.calls: Counter[str] = Counter()
        self._watched = watched
        self._touched = touched
        self._objects: dict[tuple[str, str, str], str] = {}  # as JSON, so that none are shared
        self._kinds: dict[str, Kind] = {}
        self._version = 0

    # --- what users do

    def of(self, kind: Kind) -> list[dict[str, Any]]:
        """Return the objects of a kind, in the order of their creation."""
        found = (text for (plural, *_), text in self._objects.items() if plural == kind.plural)
        return [json.loads(text) for text in found]

    def find(self, kind: Kind, name: str, namespace: str = "") -> dict[str, Any] | None:
        """Return an object, or None if there is none."""
        text = self._objects.get((kind.plural, namespace, name))
        return None if text is None else json.loads(text)

    def put(self, kind: Kind, body: dict[str, Any]) -> None:
        """Create an object."""
        key = _key(kind, body)
        if key in self._objects:
            raise AlreadyExists("it is there")
        self._kinds[kind.plural] = kind
        metadata = {"uid": f"uid-{self._version + 1}", **body["metadata"]}
        self._store(key, "ADDED", {**body, "metadata": metadata})

    def edit(self, kind: Kind, name: str, namespace: str, patch: dict[str, Any]) -> None:
        """Merge `patch` into an object, its status included."""
        key = kind.plural, namespace, name
        before = self._found(key)
        body = merged(before, patch)
        if body.get("spec") != before.get("spec"):
            body["metadata"]["generation"] = body["metadata"].get("generation", 0) + 1
        self._store(key, "MODIFIED", body)

    def remove(self, kind: Kind, name: str, namespace: str = "", at: str = DELETED_AT) -> None:
        """Delete an object, or mark it as deleted while it has finalizers."""
        key = kind.plural, namespace, name
        body = self._found(key)
        if body["metadata"].get("finalizers"):
            if "deletionTimestamp" not in body["metadata"]:
                body["metadata"]["deletionTimestamp"] = at
                self._store(key, "MODIFIED", body)
            return
        del self._objects[key]
        self._version += 1
        body["metadata"]["resourceVersion"] = str(self._version)
        self._watched(kind, "DELETED", body)

    # --- what the operator calls

    async def create(self, kind: Kind, body: dict[str, Any]) -> dict[str, Any]:
        """Create an object and return it."""
        call = self._begin(f"create {kind.plural}")
        self.put(kind, body)
        self._touched(call)
        return self._found(_key(kind, body))

    async def get(self, kind: Kind, name: str, namespace: str = "") -> dict[str, Any]:
        """Return an object."""
        self.calls[f"get {kind.plural}"] += 1
        return self._found((kind.plural, namespace, name))

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
        """Merge `patch` into an object, or only into its status, and return it."""
        resource = f"{kind.plural}/{subresource}" if subresource else kind.plural
        call = self._begin(f"patch {resource}")
        key = kind.plural, namespace, name
        body = self._found(key)
        if resource_version and resource_version != body["metadata"]["resourceVersion"]:
            raise Conflict("it has another version")
        wanted = {field for field in patch if (field == "status") == (subresource == "status")}
        body = merged(body, {field: patch[field] for field in wanted})
        metadata = body["metadata"]
        if "deletionTimestamp" in metadata and not metadata.get(
            "finalizers"
        ):  # the answer has the version from before, as the real one has
            self._objects[key] = json.dumps(body)
            self.remove(kind, name, namespace)
        else:
            body = self._store(key, "MODIFIED", body)
        self._touched(call)
        return body

    async def delete(
        self, kind: Kind, name: str, namespace: str = "", uid: str | None = None
    ) -> None:
        """Delete an object that has this uid."""
        call = self._begin(f"delete {kind.plural}")
        if uid not in (None, self._found((kind.plural, namespace, name))["metadata"]["uid"]):
            raise Conflict("it has another uid")
        self.remove(kind, name, namespace)
        self._touched(call)

    def _begin(self, call: str) -> str:
        if self.fence is not None:
            self.fence.check()
        self._touched(call)
        self.calls[call] += 1
        return call

    def _found(self, key: tuple[str, str, str]) -> dict[str, Any]:
        if key not in self._objects:
            raise NotFound(f"there is no {key[2]}")
        found: dict[str, Any] = json.loads(self._objects[key])
        return found

    def _store(self, key: tuple[str, str, str], event: str, body: dict[str, Any]) -> dict[str, Any]:
        self._version += 1
        body["metadata"]["resourceVersion"] = str(self._version)
        self._objects[key] = json.dumps(body)
        self._watched(self._kinds[key[0]], event, self._found(key))
        return body


def _key(kind: Kind, body: dict[str, Any]) -> tuple[str, str, str]:
    return kind.plural, body["metadata"].get("namespace", ""), body["metadata"]["name"]


def merged(old: Any, patch: dict[str, Any]) -> dict[str, Any]:
    """Apply a JSON merge patch (RFC 7386)."""
    result = dict(old) if isinstance(old, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            result[name] = merged(result.get(name), value)
        else:
            result[name] = value
    return result
