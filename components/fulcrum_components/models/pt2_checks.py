"""Check the contents of a `.pt2` archive, since `torch.export.load` trusts it.

Seen in torch 2.15: tensors, constants and example inputs can be pickles and are loaded as such;
node targets are looked up by name from `torch` on (`torch.hub.load` is one); symbolic sizes are
evaluated by sympy; guards are executed as Python; the types of containers can name any module to
import; compiled code in the archive is loaded as a library. Each of these runs code that came with
the file. Here each is either refused or left out, by a list of what is allowed.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from typing import Any

from fulcrum_components.sources.naming import listed

OPERATORS = re.compile(
    r"torch\.ops\.(aten|prims|quantized_decomposed)\.(?!__)[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)?"
    r"|torch\.ops\.aten\.__(and|or|xor|lshift|rshift)__(\.[A-Za-z0-9_]+)?"
    r"|torch\.ops\.higher_order\.(cond|wrap_with_set_grad_enabled|wrap_with_autocast)"
    r"|torch\.(sym_[a-z]+|_sym_sqrt)"
    r"|math\.(ceil|floor|trunc|sqrt|pow)"
    r"|_operator\.(add|sub|mul|floordiv|truediv|mod|pow|neg|pos|abs|getitem|eq|ne|lt|le|gt|ge"
    r"|and_|or_|not_)"
)
"""Operations on tensors and on sizes; nothing that reads files or calls what it is given."""

FORBIDDEN_OPERATORS = re.compile(r"torch\.ops\.aten\.(from_file|save|_print)\b")

# fmt: off
FUNCTIONS = frozenset((
    "Symbol", "Integer", "Float", "Rational", "Add", "Mul", "Pow", "Mod", "Max", "Min", "Abs",
    "FloorDiv", "CleanDiv", "CeilDiv", "PythonMod", "ModularIndexing", "Where", "TruncToInt",
    "FloorToInt", "CeilToInt", "ToFloat", "IntTrueDiv", "FloatTrueDiv", "PowByNatural",
    "FloatPow", "RoundToInt", "Eq", "Ne", "Lt", "Le", "Gt", "Ge", "And", "Or", "Not", "floor",
    "ceiling", "Piecewise", "ExprCondPair", "Identity",
))
# fmt: on
"""Functions in symbolic sizes."""

POWERS = ("Pow", "PowByNatural", "FloatPow")

NAMES = re.compile(r"[a-z]{1,2}[0-9]+|oo|int_oo|true|false|True|False")
SYMBOL_TEXT = re.compile(r"[A-Za-z0-9_]{1,64}")

EXPRESSION_NODES = (
    ast.Expression,
    ast.Call,
    ast.Name,
    ast.Load,
    ast.Constant,
    ast.keyword,
    ast.BinOp,
    ast.UnaryOp,
    ast.Compare,
    ast.Tuple,
    ast.operator,
    ast.unaryop,
    ast.cmpop,
)

CONTAINERS = (None, "builtins.tuple", "builtins.list", "builtins.dict")

KEPT_METADATA = ("nn_module_stack", "torch_fn")
"""Notes on nodes that are plain text to torch; others are turned into functions or objects."""


def program_problems(program: Any) -> list[str]:
    """Return what in the JSON of an exported program is not allowed."""
    problems = []
    for key, value in _items(program):
        if key in ("target", "as_operator") and isinstance(value, str):
            if not OPERATORS.fullmatch(value) or FORBIDDEN_OPERATORS.match(value):
                problems.append(f"operation '{value}'")
        elif key == "expr_str" and not is_plain_expression(value):
            problems.append(f"size expression '{str(value)[:60]}'")
        elif key in ("in_spec", "out_spec") and not _is_plain_structure(value):
            problems.append("inputs or outputs in a container other than tuple, list and dict")
        elif key in ("as_custom_obj", "custom_obj") and value:
            problems.append("an object of a custom class")
    return list(dict.fromkeys(problems))


def sanitised(program: dict[str, Any]) -> dict[str, Any]:
    """Return the program without what torch would execute or look up and does not need."""
    cleaned = _without_metadata(program)
    if not isinstance(cleaned, dict):
        raise ValueError("the program is no mapping")
    cleaned["guards_code"] = []
    return cleaned


def payload_problems(config: Any) -> list[str]:
    """Return what in the table of weights or constants is not plain numbers."""
    entries = config.get("config", {}) if isinstance(config, dict) else {}
    bad = [
        name
        for name, entry in entries.items()
        if entry.get("use_pickle") is not False
        or not re.fullmatch(r"(weight|tensor)_[0-9]+", str(entry.get("path_name")))
    ]
    return [f"pickled or custom data for {listed(bad, 5)}"] if bad else []


def is_plain_expression(text: Any) -> bool:
    """Return whether `text` is arithmetic on symbols, which sympy may be let to evaluate."""
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return False
    plain = all(_is_plain_node(node) for node in ast.walk(tree)) and len(text) < 10_000
    return plain and all(_is_small_power(node) for node in ast.walk(tree) if _is_power(node))


def _is_power(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in POWERS
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow)


def _is_small_power(node: ast.AST) -> bool:
    """Return whether a power is not of a power and its exponent small, so that it ends in time."""
    parts = [node.left, node.right] if isinstance(node, ast.BinOp) else getattr(node, "args", [])
    if len(parts) != 2:
        return False
    inner = [item for part in parts for item in ast.walk(part)]
    exponent = [item.value for item in ast.walk(parts[-1]) if isinstance(item, ast.Constant)]
    small = all(isinstance(value, int | float) and abs(value) <= 64 for value in exponent)
    return small and not any(map(_is_power, inner))


def _is_plain_node(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS
    if isinstance(node, ast.Name):
        return node.id in FUNCTIONS or NAMES.fullmatch(node.id) is not None
    if isinstance(node, ast.Constant):
        text = node.value
        number = isinstance(text, int | float | bool)
        return number or (isinstance(text, str) and SYMBOL_TEXT.fullmatch(text) is not None)
    return isinstance(node, EXPRESSION_NODES)


def _is_plain_structure(value: Any) -> bool:
    """Return whether a serialised pytree consists of built-in containers with plain contexts."""
    if not value:
        return True
    try:
        parsed = json.loads(value) if isinstance(value, str) else value
        contexts = [
            json.loads(item) if isinstance(item, str) else item
            for key, item in _items(parsed)
            if key == "context"
        ]
    except (ValueError, RecursionError):
        return False
    types = [item for key, item in _items(parsed) if key == "type"]
    plain = all(
        context is None
        or (isinstance(context, list) and all(isinstance(key, str | int) for key in context))
        for context in contexts
    )
    return plain and all(kind in CONTAINERS for kind in types)


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield every key and value of all mappings in `value`, however deep."""
    stack = [value]
    while stack:
        current = stack.pop()
        if isinstance(current, dict):
            yield from current.items()
            stack.extend(current.values())
        elif isinstance(current, list):
            stack.extend(current)


def _without_metadata(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_metadata(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: (
            {name: note for name, note in item.items() if name in KEPT_METADATA}
            if key == "metadata" and isinstance(item, dict)
            else _without_metadata(item)
        )
        for key, item in value.items()
    }
