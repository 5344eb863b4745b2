"""The API server's rules for `metadata`, which are not in our schemas."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from fulcrum_pipelines.validation.problem import nearest, show
from fulcrum_pipelines.validation.structure import Found

FIELDS = (
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
)
USUAL = "name, namespace, labels, annotations"
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(rf"{_LABEL.pattern}(\.{_LABEL.pattern})*")
NAME_RULE = "lower-case letters, digits, - and ., beginning and ending with a letter or digit"
NAMESPACE_RULE = (
    "at most 63 lower-case letters, digits and -, beginning and ending with a letter or digit"
)


def check_metadata(metadata: Any) -> Iterator[Found]:
    """Yield what is wrong with an object's metadata."""
    here = ("metadata",)
    if not isinstance(metadata, dict):
        what = "is required" if metadata is None else f"must be a mapping, not {show(metadata)}"
        yield here, what, USUAL
        return
    for name in metadata:
        if name not in FIELDS:
            yield (*here, name), f"is not a field{nearest(name, FIELDS)}", USUAL
    name = metadata.get("name")
    if name is None:
        yield (*here, "name"), "is required", NAME_RULE
    elif not isinstance(name, str) or not _SUBDOMAIN.fullmatch(name) or len(name) > 253:
        yield (*here, "name"), f"must not be {show(name)}", NAME_RULE
    namespace = metadata.get("namespace")
    if namespace is not None and not (
        isinstance(namespace, str) and _LABEL.fullmatch(namespace) and len(namespace) <= 63
    ):
        yield (*here, "namespace"), f"must not be {show(namespace)}", NAMESPACE_RULE
    for field in ("labels", "annotations"):
        yield from _texts(metadata.get(field), (*here, field))


def _texts(value: Any, path: tuple[str, ...]) -> Iterator[Found]:
    if value is None:
        return
    if not isinstance(value, dict):
        yield path, f"must be a mapping, not {show(value)}", "names and texts"
        return
    for name, text in value.items():
        if not isinstance(text, str):
            yield (*path, name), f"must be text, not {show(text)}; put it in quotes", "text"
