"""Find the line of the user's code in an exception, so that a message can name it.

User code runs under private packages (see `sources.usercode`); a frame belongs to it if its module
does. The line is what a person needs: the exception was often raised deep inside a library.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

from fulcrum_pipelines.texts import reason

PREFIX = "_fulcrum_user_"
"""Of the names of the private packages."""


def blame(error: BaseException) -> str:
    """Return why `error` was raised, in one line that begins with the user's file and line."""
    return f"{user_line(error)}{reason(error)}"


def user_line(error: BaseException) -> str:
    """Return `file:line: ` of the innermost place in user code, or nothing."""
    for each in reversed(list(_chain(error))):
        if isinstance(each, SyntaxError) and each.filename and (name := _own(each.filename)):
            return f"{name}:{each.lineno}: "
        frames = list(traceback.walk_tb(each.__traceback__))
        for frame, line in reversed(frames):
            if str(frame.f_globals.get("__name__", "")).startswith(PREFIX):
                return f"{_own(frame.f_code.co_filename)}:{line}: "
    return ""


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield `error` and what caused it, outermost first."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__


def _own(filename: str) -> str:
    """Return the name of a user's file relative to its package, or nothing for another file."""
    packages = [m for name, m in sys.modules.items() if name.startswith(PREFIX) and "." not in name]
    for directory in (Path(place) for package in packages for place in package.__path__):
        if Path(filename).is_relative_to(directory):
            return Path(filename).relative_to(directory).as_posix()
    return ""
