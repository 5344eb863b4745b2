"""Update the table of values in docs/install.md."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- generated: values -->\n", "<!-- end of generated -->\n"
HEAD = "\n| value | default | what |\n|---|---|---|\n"
IN_SETTINGS = "See [settings](settings.md)."
Schema = dict[str, Any]


def install_page(schema: Schema) -> str:
    """Return the page; what is not generated stays as it is."""
    text = (ROOT / "docs" / "install.md").read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    defaults = yaml.safe_load((ROOT / "charts" / "fulcrum" / "values.yaml").read_text())
    rows = "".join(_rows(schema, defaults, schema["definitions"], ""))
    return f"{before}{BEGIN}{HEAD}{rows}\n{END}{after}"


def _rows(schema: Schema, defaults: Any, definitions: Schema, prefix: str) -> Iterator[str]:
    """Yield a row for each value that has a default in values.yaml."""
    for name, default in defaults.items():
        part = _resolved(schema["properties"][name], definitions)
        nested = isinstance(default, dict) and default and "properties" in part
        if nested:
            yield from _rows(part, default, definitions, f"{prefix}{name}.")
        else:
            what = " ".join(part.get("description", "").split()).replace("|", "\\|")
            yield f"| `{prefix}{name}` | {_shown(default)} | {what} |\n"


def _resolved(part: Schema, definitions: Schema) -> Schema:
    if "$ref" not in part:
        return part
    return {**definitions[part["$ref"].rpartition("/")[2]], **part}


def _shown(default: Any) -> str:
    if default in ("", [], {}):
        return ""
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"
