"""Shows nothing but what the user must know."""

from __future__ import annotations

import sys
from typing import Self

from fulcrum_operator.cli.saying import say_line
from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.states import StageState


class SilentDisplay:
    """For `--quiet`: notes are warnings, and those are shown."""

    def __enter__(self) -> Self:
        """Nothing to start."""
        return self

    def __exit__(self, *details: object) -> None:
        """Nothing to end."""

    def show(self, plan: Plan, states: tuple[StageState, ...]) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Print it."""
        say_line(text, sys.stderr)
