"""Checking a value against a structural schema, with the defaults filled in as the API server does.

Our own walk instead of a JSON Schema library, since the point is the words: which name was meant,
which values are accepted, in the terms of the manifest. It knows what the schemas under `crds/` use
of OpenAPI v3 and says so of anything else.
"""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from fulcrum_pipelines.validation.problem import Path, nearest, quoting, show, write_path

Schema = dict[str, Any]
Found = tuple[Path, str, str]
"""Where, what is wrong, and what would be accepted."""

UNDERSTOOD = frozenset(
    {
        "additionalProperties",
        "default",
        "description",
        "enum",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "items",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minItems",
        "minLength",
        "minimum",
        "pattern",
        "properties",
        "required",
        "type",
        "x-kubernetes-int-or-string",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-list-type",
        "x-kubernetes-validations",
    }
)
NAMES = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
}
_END = re.compile(r"\$$")
"""End of a pattern, which in Python also matches before a new line, and not for the API server."""
SHOWN_NAMES = 24
SHOWN_PLACES = 3
UNKNOWN = "is not a field"
MUST_BE = "must be "

UNSUPPORTED_STAGES = frozenset({"retrain"})
"""Stages of a recipe that the schemas have, and that this version refuses to run."""
NEVER_OFFERED = UNSUPPORTED_STAGES | {"status"}
"""Fields that no message recommends: they are refused, or only the operator writes them."""


@dataclass
class Checked:
    """A value with its defaults, and what is wrong with it."""

    value: Any
    found: list[Found] = field(default_factory=list)


def check(value: Any, schema: Schema, path: Path = ()) -> Checked:
    """Return `value` with defaults filled in, and everything that breaks `schema`."""
    result = Checked(None)
    result.value = _check(value, schema, path, result.found)
    result.found = [_with_place(each, schema, path) for each in result.found]
    return result


def accepted(schema: Schema) -> str:
    """Return in words what `schema` accepts."""
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    if schema.get("x-kubernetes-int-or-string"):
        messages = [rule["message"] for rule in schema.get("x-kubernetes-validations", [])]
        return next(
            (text.removeprefix(MUST_BE) for text in messages if text.startswith(MUST_BE)),
            "an integer or text",
        )
    kind = schema.get("type", "")
    if kind in ("integer", "number"):
        return f"{NAMES[kind]}{_range(schema)}"
    if kind == "string" and "pattern" in schema:
        return f"text that matches {schema['pattern']}"
    if kind == "string" and "maxLength" in schema:
        return f"text of {schema.get('minLength', 0)} to {schema['maxLength']} characters"
    return NAMES.get(kind, "")


def _check(value: Any, schema: Schema, path: Path, found: list[Found]) -> Any:
    if schema.get("x-kubernetes-int-or-string"):
        if not isinstance(value, str) and not (isinstance(value, int) and _is_a(value, "integer")):
            found.append((path, f"must not be {show(value)}", accepted(schema)))
        return value
    kind = schema["type"]
    if not _is_a(value, kind):
        hint = quoting(value) if kind == "string" else ""
        found.append((path, f"must be {NAMES[kind]}, not {show(value)}{hint}", accepted(schema)))
        return value
    match kind:
        case "object":
            return _object(value, schema, path, found)
        case "array":
            return _array(value, schema, path, found)
        case "string":
            found += _string(value, schema, path)
        case "integer" | "number":
            value = int(value) if kind == "integer" else float(value)
            found += _number(value, schema, path)
    if "enum" in schema and value not in schema["enum"]:
        known = list(map(str, schema["enum"]))
        hint = nearest(str(value), known)
        found.append((path, f"must not be {show(value)}{hint}", accepted(schema)))
    return value


def _is_a(value: Any, kind: str) -> bool:
    match kind:
        case "object":
            return isinstance(value, dict)
        case "array":
            return isinstance(value, list)
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer" | "number":
            if isinstance(value, bool) or not isinstance(value, int | float):
                return False
            fits = -(2**63) <= value < 2**63 if isinstance(value, int) else math.isfinite(value)
            return fits and (kind == "number" or value == int(value))
    raise ValueError(f"a schema has the type {kind}, which this check does not know")


def _object(value: dict[str, Any], schema: Schema, path: Path, found: list[Found]) -> Any:
    if "properties" not in schema:
        return _free_object(value, schema, path, found)
    known: dict[str, Schema] = schema["properties"]
    result: dict[str, Any] = {}
    for name, inner in value.items():
        if name not in known:
            found.append((*_unknown(name, known, path),))
        elif inner is not None:  # null is as good as absent, as fields are not nullable here
            result[name] = _check(inner, known[name], (*path, name), found)
    for name, inner_schema in known.items():
        if name not in result and "default" in inner_schema:
            default = copy.deepcopy(inner_schema["default"])
            result[name] = _check(default, inner_schema, (*path, name), found)
    for name in schema.get("required", []):
        if name not in result:
            found.append(((*path, name), "is required", accepted(known[name])))
    return result


def _free_object(value: dict[str, Any], schema: Schema, path: Path, found: list[Found]) -> Any:
    inner = schema.get("additionalProperties")
    if inner is None:
        return value
    if len(value) > schema.get("maxProperties", len(value)):
        most = schema["maxProperties"]
        found.append((path, f"has {len(value)} entries", f"at most {most}"))
        return value
    return {name: _check(each, inner, (*path, name), found) for name, each in value.items()}


def _unknown(name: str, known: dict[str, Schema], path: Path) -> Found:
    offered = sorted(set(known) - NEVER_OFFERED)
    hint = nearest(name, offered)
    names = ", ".join(offered[:SHOWN_NAMES]) + (", ..." if len(offered) > SHOWN_NAMES else "")
    return (*path, name), UNKNOWN + hint, names


def _with_place(found: Found, schema: Schema, root: Path) -> Found:
    """Say of a field that is unknown, and like no known one, where it would be known."""
    path, message, allowed = found
    if message != UNKNOWN:
        return found
    places = [each for each in _places(path[-1], schema, root) if each]
    outer = [each for each in places if each == path[: len(each)]]
    chosen = list(map(write_path, outer[-1:] or places))
    if len(chosen) > SHOWN_PLACES:
        chosen[SHOWN_PLACES:] = [f"{len(chosen) - SHOWN_PLACES} more"]
    if chosen:
        *others, last = chosen
        listed = f"{', '.join(others)} and {last}" if others else last
        message += f"; it is a field of {listed}"
    return path, message, allowed


def _places(name: object, schema: Schema, path: Path) -> Iterator[Path]:
    """Yield the mappings that have a field called `name`, outer ones first, but for lists."""
    known: dict[str, Schema] = schema.get("properties", {})
    if name in known:
        yield path
    for each, inner in known.items():
        if each not in NEVER_OFFERED:
            yield from _places(name, inner, (*path, each))


def _array(value: list[Any], schema: Schema, path: Path, found: list[Found]) -> Any:
    low, high = schema.get("minItems", 0), schema.get("maxItems", len(value))
    if not low <= len(value) <= high:
        allowed = f"{low} to {high}" if "maxItems" in schema else f"at least {low}"
        found.append((path, f"has {len(value)} entries", allowed))
        return value
    result = [_check(each, schema["items"], (*path, i), found) for i, each in enumerate(value)]
    found += _duplicates(result, schema, path)
    return result


def _duplicates(value: list[Any], schema: Schema, path: Path) -> Iterator[Found]:
    keys = schema.get("x-kubernetes-list-map-keys")
    if keys is None and schema.get("x-kubernetes-list-type") != "set":
        return
    seen: dict[str, int] = {}
    for index, each in enumerate(value):
        if keys is not None and not (isinstance(each, dict) and all(key in each for key in keys)):
            continue
        own = each if keys is None else [each[key] for key in keys]
        first = seen.setdefault(json.dumps(own, sort_keys=True), index)
        if first != index:
            what = show(own) if keys is None else " and ".join(map(show, own))
            field = f"{path[-1]}[{first}]" if path else str(first)
            where = (*path, index) if keys is None else (*path, index, keys[0])
            yield where, f"{what} is already at {field}", "values that are all different"


def _string(value: str, schema: Schema, path: Path) -> Iterator[Found]:
    length = len(value)
    if not schema.get("minLength", 0) <= length <= schema.get("maxLength", length):
        least, most = schema.get("minLength", 0), schema.get("maxLength", "any number of")
        yield path, f"has {length} characters", f"{least} to {most} characters"
    elif "pattern" in schema and not re.search(_END.sub(r"\\Z", schema["pattern"]), value):
        yield path, f"must not be {show(value)}", accepted(schema)


def _number(value: float, schema: Schema, path: Path) -> Iterator[Found]:
    low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    too_low = value <= low if schema.get("exclusiveMinimum") else value < low
    too_high = value >= high if schema.get("exclusiveMaximum") else value > high
    if too_low or too_high:
        yield path, f"must not be {value:.10g}", accepted(schema)


def _range(schema: Schema) -> str:
    parts = []
    if "minimum" in schema:
        word = "above" if schema.get("exclusiveMinimum") else "of at least"
        parts.append(f"{word} {schema['minimum']}")
    if "maximum" in schema:
        word = "below" if schema.get("exclusiveMaximum") else "at most"
        parts.append(f"{word} {schema['maximum']}")
    return f" {' and '.join(parts)}" if parts else ""
