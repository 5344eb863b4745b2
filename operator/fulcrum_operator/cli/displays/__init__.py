"""How a run's progress is shown while it goes, always on standard error."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from types import TracebackType
from typing import Protocol, Self

from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.states import StageState


class Display(Protocol):
    """Shows progress between entering and leaving it."""

    def __enter__(self) -> Self:
        """Start to show."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the last state standing."""

    def show(self, plan: Plan, states: tuple[StageState, ...]) -> None:
        """Show how the stages of `plan` are going; `states` has those that started."""

    def note(self, text: str) -> None:
        """Say something that stays."""


def choose_display(*, quiet: bool) -> Display:
    """Return the display that suits standard error."""
    if quiet:
        from fulcrum_operator.cli.displays.silent import SilentDisplay

        return SilentDisplay()
    if sys.stderr.isatty():
        from fulcrum_operator.cli.displays.live import LiveDisplay

        return LiveDisplay()
    from fulcrum_operator.cli.displays.plain import PlainDisplay

    return PlainDisplay(sys.stderr)


def elapsed_s(state: StageState) -> float:
    """Return how long a stage took, or has taken until now."""
    start = datetime.fromisoformat(state.started_at)
    end = datetime.fromisoformat(state.finished_at) if state.finished_at else datetime.now(UTC)
    return max((end - start).total_seconds(), 0.0)


def duration(seconds: float) -> str:
    """Return for instance `7 s`, `3 min 20 s` or `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
