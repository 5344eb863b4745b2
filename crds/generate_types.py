"""Generate all that follows from the catalogue and from the CRDs written by hand.

These are enums and rules of a job, the CRDs of its parts, the Python types, and the copies that are
shipped.

Run as `python crds/generate_types.py [--check]`; `--check` fails where the files are stale.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from catalog_parts import filled
from derived import derive, schedule
from python_types import Generator, shape_of

ROOT = Path(__file__).resolve().parent.parent
CRDS = ROOT / "crds"
WAIST = ROOT / "pipelines" / "fulcrum_pipelines" / "resources"
OPERATOR = ROOT / "operator" / "fulcrum_operator" / "resources"
COPIES = ROOT / "pipelines" / "fulcrum_pipelines" / "crds"  # shipped, for offline validation
JOB = "compressionjob.yaml"
SCHEDULE = "compressionschedule.yaml"
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

INTRODUCTION = '''"""Generated from crds/{source} by `make crds`; do not edit."""

# ruff: noqa: E501 - descriptions come from the schema as they are

from __future__ import annotations

from typing import Annotated, Literal

'''
IN_WAIST = f'''{INTRODUCTION}from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class Spec(BaseModel):
    """Base of all generated types: immutable, strict, and spelled in camelCase outside."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True
    )
'''
IN_OPERATOR = f"""{INTRODUCTION}from pydantic import Field

from fulcrum_operator.resources.base import Spec, Status
"""
IMPORTED = "from fulcrum_operator.resources.condition import Condition\n"


@cache
def read(name: str) -> dict[str, Any]:
    crd: dict[str, Any] = yaml.load((CRDS / name).read_text(), Loader=LOADER)
    return crd


def part_of(crd: dict[str, Any], part: str) -> dict[str, Any]:
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"][part]
    assert isinstance(schema, dict)
    return schema


def types_of(crd: dict[str, Any], part: str, imported: dict[str, str]) -> list[str]:
    """Return the source of each class of `spec` or `status`."""
    root = crd["spec"]["names"]["kind"] + part.capitalize()
    generator = Generator(root, part.capitalize(), imported)
    generator.class_for(part_of(crd, part), root)
    return list(generator.classes.values())


def waist_types() -> str:
    return "\n\n".join([IN_WAIST.format(source=JOB), *types_of(read(JOB), "spec", {})])


def condition() -> tuple[dict[str, str], str]:
    """Return the shape of a condition, which all kinds share, and the source of its type."""
    schema = part_of(read(JOB), "status")["properties"]["conditions"]["items"]
    generator = Generator("Condition", "Status", {})
    generator.class_for(schema, "Condition")
    source = "\n\n".join([IN_OPERATOR.format(source=JOB), *generator.classes.values()])
    return {shape_of(schema): "Condition"}, source


def operator_types(source: str, parts: tuple[str, ...], imported: dict[str, str]) -> str:
    classes = [each for part in parts for each in types_of(read(source), part, imported)]
    return "\n\n".join([IN_OPERATOR.format(source=source) + IMPORTED, *classes])


def generated() -> Iterator[tuple[Path, str]]:
    """Yield path and text of every generated file, what others are made from first."""
    yield CRDS / JOB, filled((CRDS / JOB).read_text())
    yield CRDS / SCHEDULE, schedule(read(JOB), read(f"parts/{SCHEDULE}"))
    derived = derive(read(JOB))
    yield from ((CRDS / name, text) for name, text in derived.items())
    by_hand = sorted(path.name for path in CRDS.glob("*.yaml") if path.name not in derived)
    yield from ((COPIES / name, text) for name, text in derived.items())
    yield from ((COPIES / name, (CRDS / name).read_text()) for name in by_hand)
    yield WAIST / "compressionjob.py", waist_types()
    imported, source = condition()
    template = part_of(read(SCHEDULE), "spec")["properties"]["jobTemplate"]["properties"]["spec"]
    imported[shape_of(template)] = "dict[str, object]"  # placeholders in it are no job's values
    yield OPERATOR / "condition.py", source
    for name in by_hand:
        parts = ("status",) if name == JOB else ("spec", "status")
        yield OPERATOR / f"{Path(name).stem}.py", operator_types(name, parts, imported)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail where a file is stale")
    check = parser.parse_args().check
    stale = []
    for target, source in generated():
        if not target.exists() or target.read_text() != source:
            stale.append(target)
            if not check:
                target.write_text(source)
    for target in stale:
        print(f"{'stale, run make crds' if check else 'written'}: {target.relative_to(ROOT)}")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
