"""Names of outputs, as the code of a model calls them."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass

from torch import nn


def output_names(
    kind: type[nn.Module], result: object, count: int, inputs: Collection[str]
) -> tuple[str, ...]:
    """Return a name for each of `count` outputs, all different and none of them an input's.

    Keys of a mapping, fields of a named tuple or dataclass, else the variables in the `return` of
    the module's `forward`, if they are as many as the outputs.
    """
    for names in (_of_container(result), _of_return(kind)):
        if len(names) == count and len(set(names)) == count and not set(names) & set(inputs):
            return tuple(names)
    return ("output",) if count == 1 else tuple(f"output_{number}" for number in range(count))


def _of_container(result: object) -> list[str]:
    if isinstance(result, Mapping):
        return [str(key) for key, value in result.items() if value is not None]
    names: list[str] = list(getattr(result, "_fields", ()))
    if is_dataclass(result) and not isinstance(result, type):
        names = [each.name for each in fields(result)]
    return [name for name in names if getattr(result, name) is not None]


def _of_return(kind: type[nn.Module]) -> list[str]:
    """Return the names in the last `return` of `forward`, if all of it are names."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(kind.forward)))
    except (OSError, TypeError, SyntaxError):
        return []
    returns = [node.value for node in ast.walk(tree) if isinstance(node, ast.Return)]
    last = returns[-1] if returns else None
    parts = last.elts if isinstance(last, ast.Tuple) else [last]
    return [part.id for part in parts if isinstance(part, ast.Name)]
