"""Find the code beside a file of weights that builds their module.

Python files are read before any is run: a script that trains as soon as it is imported is left
alone. Found functions are called, and count if the weights fit their result.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from fulcrum_components.blame import PREFIX
from fulcrum_components.models.bundle import build_module
from fulcrum_components.models.weights import load_weights
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.texts import reason

BUILDERS = ("build", "build_model", "create_model", "make_model", "get_model", "model")
PREFERRED = "model.py"
HARMLESS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)


@dataclass(frozen=True)
class Entry:
    """Code that builds a module.

    Attributes:
        point: For instance `model.py:build`.
        module: What it returned, with its weights, evaluating.
        files: The Python files that this took, relative to their directory.
    """

    point: str
    module: nn.Module
    files: tuple[str, ...]


@dataclass(frozen=True)
class Search:
    """The code that was found, or why none was."""

    entry: Entry | None
    problems: tuple[str, ...]


def find_entry(weights: Path, tensors: Mapping[str, torch.Tensor]) -> Search:
    """Return the entry point beside `weights` whose module the `tensors` fit."""
    directory = weights.parent.resolve()
    problems: list[str] = []
    for point in _points(directory, problems):
        try:
            module = build_module(directory, point, {}).eval()
            _give_sizes(module, tensors, point)
            load_weights(module, dict(tensors), weights)
        except UserError as error:
            problems.append(f"{point}: {error.message}")
        else:
            return Search(Entry(point, module, _loaded(directory)), ())
    return Search(None, tuple(problems))


def _give_sizes(module: nn.Module, tensors: Mapping[str, torch.Tensor], where: str) -> None:
    """Give lazy layers the shapes of their weights, since it is not known on what to run them."""
    if not any(is_lazy(value) for value in (*module.parameters(), *module.buffers())):
        return
    try:
        module.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        raise UserError(reason(error), where=where) from None


def _points(directory: Path, problems: list[str]) -> Iterator[str]:
    """Yield entry points that need no arguments, the likeliest first."""
    files = sorted(directory.glob("*.py"), key=lambda file: (file.name != PREFERRED, file.name))
    for file in files:
        try:
            tree = ast.parse(file.read_text("utf-8"))
        except (SyntaxError, ValueError) as error:
            problems.append(f"{file.name}: is no valid Python ({error})")
            continue
        if file.name != PREFERRED and not all(map(_is_harmless, tree.body)):
            continue
        for name, missing in _candidates(tree):
            if missing:
                problems.append(f"{file.name}:{name}: needs the arguments {', '.join(missing)}")
            else:
                yield f"{file.name}:{name}"


def _candidates(tree: ast.Module) -> list[tuple[str, list[str]]]:
    """Return builders, then modules, each with the arguments that it needs."""
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    found = [(name, _required(functions[name], 0)) for name in BUILDERS if name in functions]
    modules: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            bases = {ast.unparse(base).rpartition(".")[2] for base in node.bases}
            if bases & modules or any(base.endswith(("Module", "Sequential")) for base in bases):
                modules.add(node.name)
                found.append((node.name, _arguments_of(node)))
    return found


def _arguments_of(node: ast.ClassDef) -> list[str]:
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return _required(item, 1)
    return []


def _required(node: ast.FunctionDef, bound: int) -> list[str]:
    """Return the names of the arguments without a default, less the first `bound`."""
    positional = [*node.args.posonlyargs, *node.args.args]
    without = positional[bound : len(positional) - len(node.args.defaults)]
    keywords = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
    return [arg.arg for arg in without] + [arg.arg for arg, default in keywords if default is None]


def _is_harmless(node: ast.stmt) -> bool:
    """Return whether a statement of a file only defines something, or runs as a script only."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    return isinstance(node, HARMLESS) or (
        isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)
    )


def _loaded(directory: Path) -> tuple[str, ...]:
    """Return the user's files that are imported now, relative to `directory`."""
    modules = [module for name, module in sys.modules.items() if name.startswith(PREFIX)]
    paths = {Path(str(module.__file__)) for module in modules if getattr(module, "__file__", None)}
    inside = [path.relative_to(directory) for path in paths if path.is_relative_to(directory)]
    return tuple(sorted(path.as_posix() for path in inside))
