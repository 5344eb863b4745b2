"""Generate the Python types of a custom resource's spec from its CRD, and the copy that is shipped.

Our own hundred lines instead of datamodel-code-generator, because that types every field that has a
default as optional and repeats a sub-schema that is used four times as four classes.

Run as `python crds/generate_types.py [--check]`; `--check` fails where the files are stale.
"""

from __future__ import annotations

import argparse
import json
import keyword
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "pipelines" / "fulcrum_pipelines" / "resources"
COPIES = ROOT / "operator" / "fulcrum_operator" / "crds"  # shipped, for offline validation
SCALARS = {"string": "str", "integer": "int", "number": "float", "boolean": "bool"}
BOUNDS = {"minLength": "min_length", "maxLength": "max_length", "pattern": "pattern"}
NAMES = {
    "data.train": "DataSource",
    "data.slices[]": "DataSlice",
    "gates[].slices[]": "GateSlice",
    "recipe.finetune.penalties[]": "Penalty",
    "recipe.prune.nm": "PatternNM",
}
HEADER = '''"""Generated from crds/{source} by `make crds`; do not edit."""

# ruff: noqa: E501 - descriptions come from the schema as they are

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class Spec(BaseModel):
    """Base of all generated types: immutable, strict, and spelled in camelCase outside."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True
    )
'''


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda found: "_" + found[1].lower(), name)


class Generator:
    """Turns one object schema into pydantic classes, inner ones first."""

    def __init__(self, root: str) -> None:
        self.root = root  # the class of the spec itself, which paths leave out
        self.classes: dict[str, str] = {}
        self.by_shape: dict[str, str] = {}

    def class_for(self, schema: dict[str, Any], path: str) -> str:
        """Return the name of the class of the object at `path`, generating it where it is new."""
        shape = json.dumps(schema["properties"], sort_keys=True)
        if shape in self.by_shape:
            return self.by_shape[shape]
        leaf = path.rsplit(".", 1)[-1].removesuffix("[]")
        name = NAMES.get(path) or (leaf[0].upper() + leaf[1:])
        if path.endswith("[]") and path not in NAMES:
            name = name.removesuffix("s")
        if name in self.classes:
            raise SystemExit(f"two classes would be called {name}; name {path} in NAMES")
        required = schema.get("required", [])
        fields = [
            self.field(key, value, f"{path}.{key}".removeprefix(f"{self.root}."), key in required)
            for key, value in schema["properties"].items()
        ]
        doc = textwrap.indent(f'"""{schema.get("description", name + ".")}"""', "    ")
        self.classes[name] = f"class {name}(Spec):\n{doc}\n\n" + "\n".join(fields) + "\n"
        self.by_shape[shape] = name
        return name

    def field(self, key: str, schema: dict[str, Any], path: str, required: bool) -> str:
        kind, bounds = self.type_of(schema, path)
        name = snake(key)
        if keyword.iskeyword(name) or hasattr(BaseModel, name):
            name = f"{name}_"
        if bounds:
            kind = f"Annotated[{kind}, Field({bounds})]"
        default = schema.get("default")
        if not required and default is None:
            kind += " | None"
        if name.endswith("_"):
            kind = f"Annotated[{kind}, Field(alias={key!r})]"
        line = f"    {name}: {kind}"
        if not required:
            line += f" = {_literal(default, kind)}"
        description = schema.get("description", "")
        return f'{line}\n    """{description}"""' if description else line

    def type_of(self, schema: dict[str, Any], path: str) -> tuple[str, str]:
        """Return the Python type and the arguments of `Field` that bound it."""
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
    if default == {}:
        return f"{kind}()"
    return repr(tuple(default) if isinstance(default, list) else default)


def _arguments(bounds: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in bounds.items() if value is not None)


def generate(crd_path: Path) -> str:
    """Return the Python source of the types of the spec in the CRD at `crd_path`."""
    crd = yaml.safe_load(crd_path.read_text())
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    generator = Generator(crd["spec"]["names"]["kind"] + "Spec")
    generator.class_for(schema, generator.root)
    return "\n\n".join([HEADER.format(source=crd_path.name), *generator.classes.values()])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail where a file is stale")
    check = parser.parse_args().check
    stale = []
    for crd_path in sorted((ROOT / "crds").glob("*.yaml")):
        made = {
            TARGET / f"{crd_path.stem}.py": generate(crd_path),
            COPIES / crd_path.name: crd_path.read_text(),
        }
        for target, source in made.items():
            if not target.exists() or target.read_text() != source:
                stale.append(target)
                if not check:
                    target.write_text(source)
    for target in stale:
        print(f"{'stale, run make crds' if check else 'written'}: {target.relative_to(ROOT)}")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
