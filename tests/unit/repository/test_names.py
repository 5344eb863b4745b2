"""One name has one meaning, and private names stay in their module."""

from __future__ import annotations

import ast
import functools
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
DISTRIBUTIONS = {
    "operator": ROOT / "operator" / "fulcrum_operator",
    "pipelines": ROOT / "pipelines" / "fulcrum_pipelines",
    "components": ROOT / "components" / "fulcrum_components",
}
PARALLEL_MODULES = {
    "operator": {
        "engine": "implements the protocol, once for each engine",
        "cluster": "what an engine reads of its runs from the cluster, once for each engine",
        "following": "makes the status of a run from an engine's sources, once for each engine",
        "decide": "what comes next for a kind of object: jobs, promotions and schedules",
    },
    "pipelines": {},
    "components": {
        "definition": "what a row of a registry is, once for each registry",
        "methods": "the registry of methods of a lever: pruning and quantization",
    },
}
"""Base names that several modules or packages may have, with the reason."""
SHARED_TYPES = {
    "operator": {},
    "pipelines": {},
    "components": {
        "Array": "numpy's array of any type in each layer, which may not import the others",
        "Arrays": "a mapping from names to such arrays",
    },
}
"""Names that several modules may give to a public type, with the reason."""
AMBIGUOUS = ("Job", "Kind", "Look", "Object")
"""Words that had several meanings: no two types of all distributions may have them."""


OF_LIBRARIES = {
    "_version": "how often a tensor of torch was written to",
    "_schema": "the signature of an operator of torch",
}
"""Private names of libraries that are also ours, with what they are there."""


def modules_by_name(package: Path) -> dict[str, list[str]]:
    """Return the modules and packages inside `package` by their base names."""
    found = defaultdict(list)
    for path in sorted(package.rglob("*.py")):
        if path.parent != package or path.name != "__init__.py":
            base = path.parent if path.name == "__init__.py" else path.with_suffix("")
            found[base.name].append(str(base.relative_to(package)))
    return found


@functools.cache
def types_by_name(package: Path) -> dict[str, list[str]]:
    """Return the modules that define each public class or alias of a type, by its name."""
    found = defaultdict(list)
    for path in sorted(package.rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            for name in _defined(node):
                if name[0].isupper() and not name.isupper():
                    found[name].append(str(path.relative_to(package)))
    return found


def _defined(node: ast.stmt) -> tuple[str, ...]:
    match node:
        case ast.ClassDef(name=name):
            return (name,)
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return (name,)
    return ()


def repeated(by_name: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return the names that have several places."""
    return {name: places for name, places in by_name.items() if len(places) > 1}


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_modules_share_a_name_only_if_they_are_parallel(distribution: str) -> None:
    found = repeated(modules_by_name(DISTRIBUTIONS[distribution]))
    assert found.keys() == PARALLEL_MODULES[distribution].keys(), found


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_public_types_have_names_of_their_own(distribution: str) -> None:
    found = repeated(types_by_name(DISTRIBUTIONS[distribution]))
    assert found.keys() == SHARED_TYPES[distribution].keys(), found


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_ambiguous_name_has_at_most_one_meaning(name: str) -> None:
    places = [
        f"{package.name}/{place}"
        for package in DISTRIBUTIONS.values()
        for place in types_by_name(package).get(name, ())
    ]
    assert len(places) <= 1, places


@pytest.mark.parametrize(
    ("files", "modules", "types"),
    [
        pytest.param({"a/x.py": "", "b/x.py": ""}, {"x"}, set(), id="modules"),
        pytest.param({"x.py": "", "b/x/__init__.py": ""}, {"x"}, set(), id="module and package"),
        pytest.param({"a/__init__.py": "", "__init__.py": ""}, set(), set(), id="packages"),
        pytest.param(
            {"a.py": "class Job: ...", "b.py": "class Job: ..."}, set(), {"Job"}, id="classes"
        ),
        pytest.param(
            {"a.py": "class Look: ...", "b.py": "Look = int"}, set(), {"Look"}, id="alias"
        ),
        pytest.param({"a.py": "class _A: ...", "b.py": "class _A: ..."}, set(), set(), id="own"),
        pytest.param({"a.py": "LIMIT = 1", "b.py": "LIMIT = 2"}, set(), set(), id="constants"),
    ],
)
def test_repeated_names_are_found(
    tmp_path: Path, files: dict[str, str], modules: set[str], types: set[str]
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert repeated(modules_by_name(tmp_path)).keys() == modules
    assert repeated(types_by_name(tmp_path)).keys() == types


def foreign_private_names(package: Path) -> list[str]:
    """Return where a module uses a private attribute that only other modules of `package` have."""
    trees = {path: ast.parse(path.read_text()) for path in sorted(package.rglob("*.py"))}
    own = {path: set(_private_names(tree)) for path, tree in trees.items()}
    known = set().union(*own.values())
    return [
        f"{path.relative_to(package)}:{node.lineno} {ast.unparse(node)}"
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in known - own[path] - OF_LIBRARIES.keys()
        if ast.unparse(node.value) not in ("self", "cls", "super()")
    ]


def _private_names(tree: ast.Module) -> Iterator[str]:
    """Yield the private functions, fields and attributes that a module defines."""
    for node in ast.walk(tree):
        match node:
            case (
                ast.FunctionDef(name=name)
                | ast.AsyncFunctionDef(name=name)
                | ast.AnnAssign(target=ast.Name(id=name))
                | ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store())
            ) if name.startswith("_") and not name.startswith("__"):
                yield name


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_private_names_stay_in_their_module(distribution: str) -> None:
    assert foreign_private_names(DISTRIBUTIONS[distribution]) == []


@pytest.mark.parametrize(
    ("use", "found"),
    [
        ("def f(a):\n    return a._kept", ["b.py:2 a._kept"]),
        ("def f(a):\n    a.memory._forget()", ["b.py:2 a.memory._forget"]),
        ("def f(a):\n    a.counted._made = 1", ["b.py:2 a.counted._made"]),
        ("class B(A):\n    def f(self):\n        return self._kept", []),
        ("def f(library):\n    return library._of_its_own", []),
    ],
)
def test_foreign_private_name_is_found(tmp_path: Path, use: str, found: list[str]) -> None:
    (tmp_path / "a.py").write_text(
        "class A:\n    _kept: int\n"
        "    def __init__(self): self._made = 0\n"
        "    def _forget(self): ..."
    )
    (tmp_path / "b.py").write_text(use)
    assert foreign_private_names(tmp_path) == found
