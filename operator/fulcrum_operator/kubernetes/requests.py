"""A request to the API server as a value: its path, query, body and name in messages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote

from fulcrum_operator.resources.names import Kind
from fulcrum_pipelines.errors import UserError

Verb = Literal["get", "list", "create", "patch", "delete"]
Object = dict[str, Any]
"""A raw object of the API, as JSON."""

METHODS: dict[Verb, str] = {
    "get": "GET",
    "list": "GET",
    "create": "POST",
    "patch": "PATCH",
    "delete": "DELETE",
}


@dataclass(frozen=True)
class Request:
    """One call.

    Attributes:
        verb: Kubernetes' word for it.
        resource: What it is about, such as `compressionjobs.fulcrum.dev/status`: the label of
            metrics, so it holds no names of objects.
        path: Of the URL, quoted.
        target: Namespace and name, for messages.
        query: Parameters of the URL.
        body: Sent as JSON.
        writes: Whether it changes anything, and so has to pass the fence.
    """

    verb: Verb
    resource: str
    path: str
    target: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    body: Object | None = None
    writes: bool = False

    @property
    def method(self) -> str:
        """The HTTP method."""
        return METHODS[self.verb]

    @property
    def content_type(self) -> str:
        """Of the body."""
        return "application/merge-patch+json" if self.verb == "patch" else "application/json"

    @property
    def data(self) -> bytes | None:
        """The body as bytes."""
        return None if self.body is None else json.dumps(self.body, separators=(",", ":")).encode()

    def __str__(self) -> str:
        return " ".join(filter(None, (self.verb, self.resource, self.target)))


def collection(verb: Verb, kind: Kind, namespace: str, **rest: Any) -> Request:
    """Return a request about all objects of a kind, in a namespace where one is given.

    Raises:
        UserError: The namespace cannot be one.
    """
    return Request(verb, _resource(kind), _path(kind, namespace), target=namespace, **rest)


def item(
    verb: Verb, kind: Kind, name: str, namespace: str, subresource: str = "", **rest: Any
) -> Request:
    """Return a request about one object.

    Raises:
        UserError: The name cannot be one, or there is no namespace where the kind needs one.
    """
    if kind.namespaced and not namespace:
        raise UserError(f"{kind.kind} {name!r} needs a namespace")
    parts = [_path(kind, namespace), _segment(name, f"name of a {kind.kind}")]
    target = f"{namespace}/{name}" if kind.namespaced else name
    if subresource:
        parts.append(subresource)
    resource = "/".join(filter(None, (_resource(kind), subresource)))
    return Request(verb, resource, "/".join(parts), target=target, **rest)


def _resource(kind: Kind) -> str:
    return f"{kind.plural}.{kind.group}" if kind.group else kind.plural


def _path(kind: Kind, namespace: str) -> str:
    base = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    if kind.namespaced and namespace:
        base += f"/namespaces/{_segment(namespace, 'namespace')}"
    return f"{base}/{kind.plural}"


def _segment(value: str, what: str) -> str:
    """An empty name would ask for the whole collection, and dots would leave it."""
    if value in {"", ".", ".."} or "/" in value:
        raise UserError(f"{value!r} cannot be the {what}: letters, digits, '-' and '.' can")
    return quote(value, safe="")
