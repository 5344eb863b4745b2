"""The schema's CEL rules, evaluated offline.

The API server runs a rule at every value whose schema has it, with `self` the value. Rules about
updates (`oldSelf`) are run where there is a value before to compare with.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from fulcrum_pipelines.validation.problem import Path
from fulcrum_pipelines.validation.structure import Found, Schema

_OLD_SELF = re.compile(r"\boldSelf\b")
_ESCAPED = re.compile(r"\b__([a-z]+)__\b")
"""A field that is called like a word which CEL keeps to itself, such as `function`."""
_ABOUT_NAME = "metadata.name "
"""Start of messages of rules about the name, at which the API server allows no `fieldPath`."""
ABSENT = object()
Evaluate = Callable[[Any, Any], bool]


def broken_rules(
    value: Any, schema: Schema, skip: set[Path], path: Path = (), before: Any = ABSENT
) -> Iterator[Found]:
    """Yield the rules that `value` breaks, there and in everything within it.

    Args:
        value: With its defaults.
        schema: Its schema.
        skip: Paths at which the structure is wrong already. A rule over any of them is not run,
            since what it says would only confuse.
        path: Of the value.
        before: What it was before an update. Items of lists have no identity, so rules about
            updates are not run within them; the schemas have none there.
    """
    if not any(wrong[: len(path)] == path for wrong in skip):
        yield from _broken_here(value, schema, path, before)
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        for name, inner in value.items():
            inner_schema = properties.get(name, schema.get("additionalProperties"))
            if isinstance(inner_schema, dict):
                old = before.get(name, ABSENT) if isinstance(before, dict) else ABSENT
                yield from broken_rules(inner, inner_schema, skip, (*path, name), old)
    elif isinstance(value, list) and "items" in schema:
        for index, inner in enumerate(value):
            yield from broken_rules(inner, schema["items"], skip, (*path, index))


def _broken_here(value: Any, schema: Schema, path: Path, before: Any) -> Iterator[Found]:
    for rule in schema.get("x-kubernetes-validations", []):
        if before is ABSENT and _OLD_SELF.search(rule["rule"]):
            continue
        if not _compiled(rule["rule"])(value, before):
            field, message = rule.get("fieldPath", ""), rule["message"]
            if message.startswith(_ABOUT_NAME):
                field, message = _ABOUT_NAME.strip(), message.removeprefix(_ABOUT_NAME)
            yield (*path, *(part for part in field.split(".") if part)), message, ""


@cache
def _compiled(rule: str) -> Evaluate:
    expression = _environment().compile(_ESCAPED.sub(r"\1", rule))

    def evaluate(value: Any, before: Any) -> bool:
        variables = {"self": value} if before is ABSENT else {"self": value, "oldSelf": before}
        result = expression.eval(data=variables).value()
        if not isinstance(result, bool):  # an error of evaluation is a value too
            raise ValueError(f"the rule {rule!r} ends in {result}")
        return result

    return evaluate


@cache
def _environment() -> Any:
    """Return what rules may use: their variables, and the strings library of Kubernetes."""
    from cel_expr_python import cel  # 16 MB, only if a rule is checked
    from cel_expr_python.ext import ext_strings

    variables = {"self": cel.Type.DYN, "oldSelf": cel.Type.DYN}
    return cel.NewEnv(variables=variables, extensions=[ext_strings.ExtStrings()])
