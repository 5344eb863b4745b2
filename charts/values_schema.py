"""The schema of the chart's values: written by hand in schema.yaml, settings taken from the code.

It is draft 7 without references to other files, which every Helm that is still in use understands.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from fulcrum_operator.settings import Settings

SOURCE = Path(__file__).with_name("schema.yaml")
Schema = dict[str, Any]
_DROPPED = ("title", "default", "format", "writeOnly")
"""What pydantic adds and Helm has no use for; defaults are those of the operator."""


def values_schema() -> Schema:
    """Return values.schema.json as data."""
    written = yaml.safe_load(SOURCE.read_text())
    schema: Schema = _closed(_with_settings(written, _inlined(Settings.model_json_schema())))
    return schema


def _with_settings(written: Any, settings: Schema) -> Any:
    """Return the part `written` with the settings that `x-settings` asks for."""
    if isinstance(written, list):
        return [_with_settings(each, settings) for each in written]
    if not isinstance(written, dict):
        return written
    own = {
        name: _with_settings(part, settings)
        for name, part in written.items()
        if name not in ("x-settings", "x-without")
    }
    if "x-settings" not in written:
        return own
    found = _part(settings, written["x-settings"])
    for path in written.get("x-without", []):
        found = _without(found, path.split("."))
    properties = found.get("properties", {}) | own.get("properties", {})
    return {**found, **own, **({"properties": properties} if properties else {})}


def _part(settings: Schema, path: str) -> Schema:
    """Return the schema of the setting at `path`, or of all; empty where there is none."""
    found: Schema = settings["properties"].get(path, {}) if path else settings
    return found


def _without(schema: Schema, path: list[str]) -> Schema:
    """Return `schema` without the setting at `path`."""
    name, *rest = path
    properties = dict(schema["properties"])
    if rest:
        properties[name] = _without(properties[name], rest)
    else:
        del properties[name]
    return {**schema, "properties": properties}


def _inlined(schema: Schema) -> Schema:
    """Return a schema of pydantic's with definitions in the place of references to them."""
    definitions = schema.get("$defs", {})

    def resolve(part: Any, name: str = "") -> Any:
        if isinstance(part, list):
            return [resolve(each) for each in part]
        if not isinstance(part, dict):
            return part
        if "$ref" in part:
            target = definitions[part["$ref"].rpartition("/")[2]]
            part = {**target, **{key: part[key] for key in part if key != "$ref"}}
        if name == "properties":  # whose keys are names of settings
            return {key: resolve(value) for key, value in part.items()}
        return {
            key: " ".join(value.split()) if key == "description" else resolve(value, key)
            for key, value in part.items()
            if key not in (*_DROPPED, "$defs")
        }

    resolved: Schema = resolve(schema)
    return resolved


def _closed(part: Any) -> Any:
    """Return `part` with every object that lists its properties refusing others."""
    if isinstance(part, list):
        return [_closed(each) for each in part]
    if not isinstance(part, Mapping):
        return part
    closed = {name: _closed(each) for name, each in part.items()}
    if isinstance(part.get("properties"), Mapping) and part.get("type") == "object":
        closed["additionalProperties"] = False
    return closed
