"""Reading a file into documents, as the API server's clients do, with the line of every field.

Our own walk over YAML's nodes, because PyYAML's constructor keeps the last of duplicate keys, turns
dates into objects, reads 1e-3 as text, expands aliases without bound and forgets where all of it
stood. Only plain data are made: an unknown tag is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

import yaml

from fulcrum_operator.validation.problem import Path, Problem, show, write_path

MAX_BYTES = 1 << 20
"""Kubernetes itself takes no object larger than about this."""
MAX_NODES = 100_000
"""After aliases are expanded, so that a few lines cannot become gigabytes."""
MAX_DEPTH = 64

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"y", "Y", "true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"})
_FALSE = frozenset({"n", "N", "false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"})
"""As Kubernetes' reader has them, the single letters included, where PyYAML takes text."""
_INTEGER = re.compile(r"[-+]?[0-9]+")
_EXPONENT = re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+")
"""A number that YAML 1.1, and so PyYAML, takes for text; Kubernetes' reader does not."""
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_PREFIX = "tag:yaml.org,2002:"
_SCALARS = frozenset({"str", "int", "float", "bool", "null", "timestamp", "value"})


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

    What cannot be read at all is one document with its problem.
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
            document.value = _Reader(document).read(node, ())
        yield document


class _Reader:
    """Turns the nodes of one document into plain data."""

    def __init__(self, document: Document) -> None:
        self._document = document
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
                continue
            key = key_node.value
            if key in result:
                where = write_path((*path, key))
                self._document.problems.append(Problem(where, "is given twice", line=line))
            self._document.lines[*path, key] = line
            result[key] = self.read(value_node, (*path, key))
        return merged | result

    def _merge(self, node: yaml.Node, path: Path) -> dict[str, Any]:
        parts = node.value if isinstance(node, yaml.SequenceNode) else [node]
        result: dict[str, Any] = {}
        for part in parts:
            if not isinstance(part, yaml.MappingNode):
                raise _UnreadableError("<< needs a mapping", part.start_mark.line + 1)
            result = self.read(part, path) | result
        return result

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        text, kind = node.value, node.tag.removeprefix(_PREFIX)
        if kind not in _SCALARS:
            line = node.start_mark.line + 1
            raise _UnreadableError(_tag_message(node), line)
        if node.style or (kind == "str" and not _EXPONENT.fullmatch(text)):
            return text
        return self._plain(text, path)

    def _plain(self, text: str, path: Path) -> Any:
        if text in _NULL:
            return None
        if text in _TRUE or text in _FALSE:
            return text in _TRUE
        if _INTEGER.fullmatch(text) and len(text) < 300:
            return int(text)
        if _FLOAT.fullmatch(text) and abs(value := float(text)) != float("inf"):
            return value
        if _FLOAT.fullmatch(text) or _NOT_FINITE.fullmatch(text):
            problem = f"{show(text)} is not a finite number"
            line = self._document.lines.get(path)
            self._document.problems.append(Problem(write_path(path), problem, line=line))
            return 0.0
        return text


def _tag_message(node: yaml.Node) -> str:
    return f"the tag {node.tag} is not allowed; only plain data are read"
