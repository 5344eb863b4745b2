"""Run a user's Python file without letting it disturb ours.

Files are imported under a private package, so that `utils.py` of a bundle neither hides nor is
hidden by any installed `utils`: modules of one directory see each other first, by absolute and by
relative import, and no other module sees them. `sys.path` is never touched, and no byte code is
read or written beside the sources, so their digest stays what it was. Errors in user code become a
`UserError` that names the line.
"""

from __future__ import annotations

import builtins
import hashlib
import importlib
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from fulcrum_components.blame import PREFIX, blame
from fulcrum_components.sources.naming import listed, suggestion
from fulcrum_pipelines.errors import FulcrumError, UserError


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads a source file afresh, with an import function that looks into its directory first."""

    def path_stats(self, path: Any) -> Any:
        """Refuse, which makes the import system neither read nor write cached byte code."""
        raise OSError(path)

    def exec_module(self, module: ModuleType) -> None:
        """Execute the file with our import function among its built-ins."""
        package = module.__name__.partition(".")[0]
        vars(module)["__builtins__"] = vars(builtins) | {"__import__": _importer(package)}
        super().exec_module(module)


class _Finder:
    """Finds modules of the private packages only."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the specification of a module or package below a private package."""
        if not name.startswith(PREFIX) or path is None:
            return None
        for directory in map(Path, path):
            stem = directory / name.rpartition(".")[2]
            if (stem / "__init__.py").is_file():
                return _specification(name, stem / "__init__.py", [str(stem)])
            if stem.with_suffix(".py").is_file():
                return _specification(name, stem.with_suffix(".py"), None)
        return None


def _specification(
    name: str, file: Path, locations: list[str] | None
) -> importlib.machinery.ModuleSpec | None:
    return importlib.util.spec_from_file_location(
        name, file, loader=_Loader(name, str(file)), submodule_search_locations=locations
    )


def _importer(package: str) -> Callable[..., Any]:
    """Return an `__import__` that tries `package` before everything installed."""

    def import_(
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        top = name.partition(".")[0]
        if level == 0 and _Finder.find_spec(f"{package}.{top}", sys.modules[package].__path__):
            module = importlib.import_module(f"{package}.{name}")
            if not fromlist:
                return sys.modules[f"{package}.{top}"]
            name, level, globals = module.__name__, 0, None
        return builtins.__import__(name, globals, locals, fromlist or (), level)

    return import_


def _private_package(directory: Path) -> str:
    """Make the private package of `directory`, empty of modules loaded earlier."""
    name = PREFIX + hashlib.sha256(str(directory).encode()).hexdigest()[:12]
    if not any(finder is _Finder for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder)
    for stale in [module for module in sys.modules if module.partition(".")[0] == name]:
        del sys.modules[stale]
    package = ModuleType(name)
    package.__path__ = [str(directory)]
    sys.modules[name] = package
    importlib.invalidate_caches()
    return name


@contextmanager
def user_errors(where: str) -> Iterator[None]:
    """Turn an exception of the user's code into a `UserError` with its file and line."""
    try:
        yield
    except FulcrumError:
        raise
    except (Exception, SystemExit) as error:
        raise UserError(blame(error), where=where) from None


def load_function(file: Path, function: str, *, where: str) -> Callable[..., Any]:
    """Import `file` privately and return its `function`.

    Raises:
        UserError: The file is not there, does not import, or has no such function.
    """
    directory = file.parent.resolve()
    if not file.is_file():
        others = [path.name for path in directory.glob("*.py")] if directory.is_dir() else []
        hint = suggestion(file.name, others)
        raise UserError(f"no Python file '{file.name}' in {directory}{hint}", where=where)
    if file.suffix != ".py" or not file.stem.isidentifier():
        raise UserError(
            f"'{file.name}' must be a .py file whose name Python can import", where=where
        )
    with user_errors(where):
        module = importlib.import_module(f"{_private_package(directory)}.{file.stem}")
    found = getattr(module, function, None)
    if not callable(found):
        names = [key for key, value in vars(module).items() if callable(value)]
        own = [key for key in names if not key.startswith("_")]
        message = (
            f"'{file.name}' has no function '{function}'{suggestion(function, own)}; "
            f"it has {listed(own)}"
        )
        raise UserError(message, where=where)
    return found  # type: ignore[no-any-return]  # callable, as checked above
