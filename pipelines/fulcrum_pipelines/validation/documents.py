"""Reading a file into documents, as the API server's clients do, with the line of every field.

Our own walk over YAML's nodes, because PyYAML's constructor keeps the last of duplicate keys, turns
dates into objects, reads other numbers than kubectl (`scalars`), expands aliases without bound and
forgets where all of it stood. Only plain data are made: an unknown tag is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

import yaml

from fulcrum_pipelines.validation.problem import Path, Problem, write_path
from fulcrum_pipelines.validation.scalars import UnclearScalarError, key_of, resolve

MAX_BYTES = 1 << 20
"""Kubernetes itself takes no object larger than about this."""
MAX_NODES = 100_000
"""After aliases are expanded, so that a few lines cannot become gigabytes."""
MAX_DEPTH = 64

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PREFIX = "tag:yaml.org,2002:"
_SCALARS = frozenset({"str", "int", "float", "bool", "null", "timestamp", "value", "merge"})
_TAGGED = re.compile(r"(&\S+\s+)?!")
"""Start of a value with an explicit tag, perhaps after its anchor."""
_OTHER_VERSION = re.compile(r"^%YAML\s+(?!1\.1\s*$).*$", re.MULTILINE)


@dataclass
class Document:
    """One document: plain data, the line of each field, and what was wrong with reading it."""

    value: Any
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line(self, path: Path) -> int | None:
        """Return the line of `path`, or of what it is in."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)


class _UnreadableError(Exception):
    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


def read_documents(path: FilePath) -> list[Document]:
    """Return the documents of the YAML or JSON file at `path`.

    An unreadable file is one document with its problem.
    """
    try:
        text = _read_text(path)
        documents = [_read_json(text)] if _is_json(path, text) else list(_read_yaml(text))
    except _UnreadableError as error:
        return [Document(None, problems=[Problem("", error.message, line=error.line)])]
    found = [each for each in documents if each.value is not None or each.problems]
    return found or [Document(None, problems=[Problem("", "the file is empty", "a manifest")])]


def _read_text(path: FilePath) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise _UnreadableError(f"the file is larger than {MAX_BYTES} bytes")
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        reason = "is a directory" if path.is_dir() else (error.strerror or str(error)).lower()
        raise _UnreadableError(f"cannot be read: {reason}") from error
    except UnicodeDecodeError as error:
        raise _UnreadableError(f"is not text in UTF-8 (byte {error.start} is not)") from error


def _is_json(path: FilePath, text: str) -> bool:
    return path.suffix == ".json" or text.lstrip().startswith("{")


def _read_json(text: str) -> Document:
    document = Document(None)

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(items)
        if len(result) < len(items):
            names = [name for name, _ in items]
            twice = sorted({name for name in names if names.count(name) > 1})
            document.problems.append(Problem("", f"duplicate key {', '.join(twice)}"))
        return result

    try:
        document.value = json.loads(text, object_pairs_hook=pairs)
    except json.JSONDecodeError as error:
        raise _UnreadableError(f"is not valid JSON: {error.msg}", error.lineno) from error
    except RecursionError as error:
        raise _UnreadableError(f"is nested deeper than {MAX_DEPTH} levels") from error
    return document


def _read_yaml(text: str) -> Iterator[Document]:
    other = _OTHER_VERSION.search(text)
    if other:
        message = f"{other.group()} is a version that kubectl does not read"
        raise _UnreadableError(message, text.count("\n", 0, other.start()) + 1)
    try:
        nodes = list(yaml.compose_all(text, Loader=_LOADER))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        raise _UnreadableError(
            f"is not valid YAML: {error.problem or error.context}", line
        ) from error
    except yaml.YAMLError as error:
        raise _UnreadableError(f"is not valid YAML: {error}".splitlines()[0]) from error
    except RecursionError as error:
        raise _UnreadableError(f"is nested deeper than {MAX_DEPTH} levels") from error
    for node in nodes:
        document = Document(None)
        if node is not None:
            document.value = _Reader(document, text).read(node, ())
        yield document


class _Reader:
    """Turns the nodes of one document into plain data."""

    def __init__(self, document: Document, text: str) -> None:
        self._document = document
        self._text = text
        self._nodes = 0

    def read(self, node: yaml.Node, path: Path) -> Any:
        self._nodes += 1
        line = node.start_mark.line + 1
        self._document.lines.setdefault(path, line)
        if self._nodes > MAX_NODES:
            raise _UnreadableError(
                f"has more than {MAX_NODES} values after its aliases are expanded"
            )
        if len(path) > MAX_DEPTH:
            raise _UnreadableError(f"is nested deeper than {MAX_DEPTH} levels", line)
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_PREFIX}map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_PREFIX}seq":
            return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        raise _UnreadableError(_tag_message(node), line)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise _UnreadableError("a key must be a name, not a list or mapping", line)
            if key_node.tag == f"{_PREFIX}merge":
                merged = self._merge(value_node, path) | merged
                self._check_order(result, merged, path, line)
                continue
            key = self._key(key_node, path)
            if key in result:
                self._add("is given twice", (*path, key), line)
            self._document.lines[*path, key] = line
            result[key] = self.read(value_node, (*path, key))
        return merged | result

    def _key(self, node: yaml.ScalarNode, path: Path) -> str:
        key: str = node.value
        if not node.style and not self._has_tag(node):
            try:
                return key_of(key)
            except UnclearScalarError as error:
                self._add(str(error), (*path, key), node.start_mark.line + 1)
        return key

    def _check_order(
        self, before: dict[str, Any], merged: dict[str, Any], path: Path, line: int
    ) -> None:
        """Refuse what kubectl lets << overwrite, against YAML's own rule."""
        for key in before.keys() & merged.keys():
            self._add("stands before << that holds it too; put << first", (*path, key), line)

    def _add(self, message: str, path: Path, line: int | None) -> None:
        self._document.problems.append(Problem(write_path(path), message, line=line))

    def _merge(self, node: yaml.Node, path: Path) -> dict[str, Any]:
        parts = node.value if isinstance(node, yaml.SequenceNode) else [node]
        result: dict[str, Any] = {}
        for part in parts:
            if not isinstance(part, yaml.MappingNode):
                raise _UnreadableError("<< needs a mapping", part.start_mark.line + 1)
            result = self.read(part, path) | result
        return result

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        kind = node.tag.removeprefix(_PREFIX)
        if kind not in _SCALARS:
            line = node.start_mark.line + 1
            raise _UnreadableError(_tag_message(node), line)
        tagged = self._has_tag(node)
        if (kind == "str" and tagged) or (node.style and not tagged):
            return node.value
        try:
            return resolve(node.value)
        except UnclearScalarError as error:
            self._add(str(error), path, self._document.lines.get(path))
            return None

    def _has_tag(self, node: yaml.ScalarNode) -> bool:
        """Return whether a tag is written; PyYAML gives one to every value."""
        return _TAGGED.match(self._text, node.start_mark.index) is not None


def _tag_message(node: yaml.Node) -> str:
    return f"the tag {node.tag} is not allowed; only plain data are read"
