"""Python source of the types of one object schema.

Our own hundred lines instead of datamodel-code-generator, because that types every field that has a
default as optional and repeats a sub-schema that is used four times as four classes.
"""

from __future__ import annotations

import json
import keyword
import re
import textwrap
from typing import Any

from pydantic import BaseModel
from pydantic.alias_generators import to_camel

SCALARS = {"string": "str", "integer": "int", "number": "float", "boolean": "bool"}
BOUNDS = {"minLength": "min_length", "maxLength": "max_length", "pattern": "pattern"}
NAMES = {
    "CompressionJobSpec": {
        "data.train": "DataSource",
        "data.slices[]": "DataSlice",
        "gates[].slices[]": "GateSlice",
        "recipe.finetune.penalties[]": "Penalty",
        "recipe.prune.nm": "PatternNM",
    },
    "CompressionJobStatus": {
        "snapshot": "SnapshotReference",
        "snapshot.recipe": "SourceVersion",
        "run": "AttemptStatus",
        "stages[]": "StageStatus",
        "gates[]": "GateStatus",
        "results.bestSlice": "SliceChange",
        "evidence": "EvidenceReference",
        "candidate": "CandidateStatus",
        "promotion": "PromotionStatus",
    },
    "ModelChannelStatus": {"current": "CurrentModel", "history[]": "Move"},
    "ModelPromotionSpec": {
        "to": "ModelReference",
        "job": "JobReference",
        "evidence": "EvidenceOfRun",
    },
}


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z]+)", lambda found: "_" + found[1].lower(), name)


def shape_of(schema: dict[str, Any]) -> str:
    """Return what two schemas have in common whose objects have one type."""
    return json.dumps(schema["properties"], sort_keys=True)


class Generator:
    """Turns one object schema into pydantic classes, inner ones first.

    Classes of a status (`base` Status) are for reading what an operator of another version may have
    written: they have no bounds, and absent lists and mappings are empty ones.
    """

    def __init__(self, root: str, base: str, imported: dict[str, str]) -> None:
        self.root = root  # the class of the whole, which paths leave out
        self.base = base
        self.names = NAMES.get(root, {})
        self.classes: dict[str, str] = {}
        self.taken = set(imported.values())
        self.by_shape = dict(imported)

    def class_for(self, schema: dict[str, Any], path: str) -> str:
        """Return the name of the class of the object at `path`, generating it where it is new."""
        shape = shape_of(schema)
        if shape in self.by_shape:
            return self.by_shape[shape]
        leaf = path.rsplit(".", 1)[-1].removesuffix("[]")
        name = self.names.get(path) or (leaf[0].upper() + leaf[1:])
        if path.endswith("[]") and path not in self.names:
            name = name.removesuffix("s")
        if name in self.classes or name in self.taken:
            raise SystemExit(f"two classes would be called {name}; name {path} in NAMES")
        required = schema.get("required", [])
        fields = [
            self.field(key, value, f"{path}.{key}".removeprefix(f"{self.root}."), key in required)
            for key, value in schema["properties"].items()
        ]
        doc = textwrap.indent(f'"""{schema.get("description", name + ".")}"""', "    ")
        self.classes[name] = f"class {name}({self.base}):\n{doc}\n\n" + "\n".join(fields) + "\n"
        self.by_shape[shape] = name
        return name

    def field(self, key: str, schema: dict[str, Any], path: str, required: bool) -> str:
        kind, bounds = self.type_of(schema, path)
        name = snake(key)
        if keyword.iskeyword(name) or hasattr(BaseModel, name):
            name = f"{name}_"
        if bounds:
            kind = f"Annotated[{kind}, Field({bounds})]"
        default = schema.get("default", self.empty(schema))
        if not required and default is None:
            kind += " | None"
        if to_camel(name) != key:
            kind = f"Annotated[{kind}, Field(alias={key!r})]"
        line = f"    {name}: {kind}"
        if not required:
            line += f" = {_literal(default, kind)}"
        description = schema.get("description", "")
        return f'{line}\n    """{description}"""' if description else line

    def empty(self, schema: dict[str, Any]) -> Any:
        if self.base == "Status" and schema.get("type") == "array":
            return []
        if self.base == "Status" and "additionalProperties" in schema:
            return {}
        return None

    def type_of(self, schema: dict[str, Any], path: str) -> tuple[str, str]:
        """Return the Python type and the arguments of `Field` that bound it."""
        kind, bounds = self._type_of(schema, path)
        return kind, "" if self.base == "Status" else bounds

    def _type_of(self, schema: dict[str, Any], path: str) -> tuple[str, str]:
        if schema.get("x-kubernetes-int-or-string"):
            return "int | str", ""
        if "enum" in schema:
            return f"Literal[{', '.join(map(repr, schema['enum']))}]", ""
        match schema["type"]:
            case "object" if "properties" in schema:
                return self.class_for(schema, path), ""
            case "object":
                inner, _ = self.type_of(schema["additionalProperties"], path + "{}")
                return f"dict[str, {inner}]", ""
            case "array":
                inner, bounds = self.type_of(schema["items"], path + "[]")
                inner = f"Annotated[{inner}, Field({bounds})]" if bounds else inner
                sizes = {"min_length": schema.get("minItems"), "max_length": schema.get("maxItems")}
                return f"tuple[{inner}, ...]", _arguments(sizes)
            case scalar:
                low = "gt" if schema.get("exclusiveMinimum") else "ge"
                high = "lt" if schema.get("exclusiveMaximum") else "le"
                bounds = {ours: schema.get(theirs) for theirs, ours in BOUNDS.items()}
                bounds |= {low: schema.get("minimum"), high: schema.get("maximum")}
                return SCALARS[scalar], _arguments(bounds)


def _literal(default: Any, kind: str) -> str:
    if default == {} and not kind.startswith("dict["):
        return f"{kind}()"
    return repr(tuple(default) if isinstance(default, list) else default)


def _arguments(bounds: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in bounds.items() if value is not None)
