"""The API server's rules for `metadata`, which are not in our schemas."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from fulcrum_pipelines.validation.problem import Path, nearest, quoting, show
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
MAX_SUBDOMAIN = 253
MAX_LABEL = 63
MAX_ANNOTATIONS_BYTES = 256 << 10
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(rf"{_LABEL.pattern}(\.{_LABEL.pattern})*")
_WORD = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
"""Name of a label or an annotation after its prefix, and value of a label unless it is empty."""
NAME_RULE = (
    "at most 253 lower-case letters, digits, - and ., beginning and ending with a letter or digit"
)
NAMESPACE_RULE = (
    "at most 63 lower-case letters, digits and -, beginning and ending with a letter or digit"
)
VALUE_RULE = (
    "at most 63 letters, digits, -, _ and ., beginning and ending with a letter or digit, or empty"
)
KEY_RULE = (
    "at most 63 letters, digits, -, _ and ., beginning and ending with a letter or digit, "
    "perhaps after the name of a domain and /"
)


def check_metadata(metadata: Any) -> Iterator[Found]:
    """Yield what is wrong with an object's metadata, by the rules of `apimachinery`.

    https://github.com/kubernetes/apimachinery/blob/v0.37.2/pkg/api/validation/objectmeta.go
    """
    here = ("metadata",)
    if not isinstance(metadata, dict):
        what = "is required" if metadata is None else f"must be a mapping, not {show(metadata)}"
        yield here, what, USUAL
        return
    for name in metadata:
        if name not in FIELDS:
            yield (*here, name), f"is not a field{nearest(name, FIELDS)}", USUAL
    yield from _names(metadata, here)
    for field in ("labels", "annotations"):
        yield from _texts(metadata.get(field), (*here, field))
    yield from _labels(metadata.get("labels"), (*here, "labels"))
    yield from _annotations(metadata.get("annotations"), (*here, "annotations"))


def _names(metadata: dict[str, Any], here: Path) -> Iterator[Found]:
    name, start = metadata.get("name"), metadata.get("generateName")
    if name is None:
        hint = "" if start is None else ", beside generateName too: a run is called by it"
        yield (*here, "name"), f"is required{hint}", NAME_RULE
    elif not _is_subdomain(name):
        yield (*here, "name"), f"must not be {show(name)}", NAME_RULE
    if start and not (isinstance(start, str) and _is_subdomain(_completed(start))):
        yield (*here, "generateName"), f"must not be {show(start)}", f"{NAME_RULE}, or a dash"
    namespace = metadata.get("namespace")
    if namespace is not None and not _is_label(namespace):
        yield (*here, "namespace"), f"must not be {show(namespace)}", NAMESPACE_RULE


def _texts(value: Any, path: Path) -> Iterator[Found]:
    if value is None:
        return
    if not isinstance(value, dict):
        yield path, f"must be a mapping, not {show(value)}", "names and texts"
        return
    for name, text in value.items():
        if not isinstance(text, str):
            yield (*path, name), f"must be text, not {show(text)}{quoting(text)}", "text"


def _labels(value: Any, path: Path) -> Iterator[Found]:
    for name, text in _items(value):
        if not _is_key(name):
            yield (*path, name), "is not a label's name", KEY_RULE
        if isinstance(text, str) and text and not _is_word(text):
            yield (*path, name), f"must not be {show(text)}", VALUE_RULE


def _annotations(value: Any, path: Path) -> Iterator[Found]:
    items = _items(value)
    for name, _ in items:
        if not _is_key(name.lower()):  # a prefix may have upper case here, other than of labels
            yield (*path, name), "is not an annotation's name", KEY_RULE
    size = sum(
        len(text.encode(errors="surrogatepass"))
        for item in items
        for text in item
        if isinstance(text, str)
    )
    if size > MAX_ANNOTATIONS_BYTES:
        what = f"have {size} bytes, names and texts together"
        yield path, what, f"at most {MAX_ANNOTATIONS_BYTES}"


def _items(value: Any) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, dict) else []


def _completed(start: str) -> str:
    """Return `start` as the API server checks it: what is generated follows a dash at the end.

    Like the API server's `maskTrailingDash`, it also takes away the character before the dash.
    """
    return f"{start[:-2]}a" if len(start) > 1 and start.endswith("-") else start


def _is_label(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_LABEL and bool(_LABEL.fullmatch(value))


def _is_subdomain(value: Any) -> bool:
    if not isinstance(value, str) or len(value) > MAX_SUBDOMAIN:
        return False
    return bool(_SUBDOMAIN.fullmatch(value))


def _is_word(text: str) -> bool:
    return len(text) <= MAX_LABEL and bool(_WORD.fullmatch(text))


def _is_key(name: str) -> bool:
    *prefix, last = name.split("/")
    return len(prefix) <= 1 and all(map(_is_subdomain, prefix)) and _is_word(last)
