"""A table that is redrawn in place, for terminals."""

from __future__ import annotations

from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from fulcrum_operator.cli.displays import duration, elapsed_s
from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.states import StageState
from fulcrum_pipelines.texts import one_line

BAR_WIDTH = 16


class LiveDisplay:
    """One row for each stage of the plan, started or not."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._live = Live(console=self._console, refresh_per_second=8)
        self._spinner = Spinner("dots", style="cyan")

    def __enter__(self) -> Self:
        """Start to draw."""
        self._live.start()
        return self

    def __exit__(self, *details: object) -> None:
        """Leave the table as it is."""
        self._live.stop()

    def show(self, plan: Plan, states: tuple[StageState, ...]) -> None:
        """Draw the table."""
        by_name = {state.stage: state for state in states}
        table = Table.grid(padding=(0, 1))
        for _ in range(3):
            table.add_column(no_wrap=True)
        table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        table.add_column(justify="right", no_wrap=True)
        for stage in plan.stages:
            table.add_row(*self._row(stage, by_name.get(stage)))
        self._live.update(Group(Text(plan.run, style="bold"), table))

    def note(self, text: str) -> None:
        """Print it above the table."""
        self._live.console.print(escape(one_line(text)), highlight=False)

    def _row(self, stage: str, state: StageState | None) -> list[RenderableType]:
        if state is None:
            return [Text("·", style="dim"), Text(stage, style="dim"), "", "", ""]
        time_taken = Text(duration(elapsed_s(state)), style="dim")
        message = Text(state.message)
        match state.state:
            case "Running":
                bar = ProgressBar(
                    total=1.0,
                    completed=state.fraction or 0.0,
                    width=BAR_WIDTH,
                    pulse=state.fraction is None,
                )
                return [self._spinner, stage, bar, message, time_taken]
            case "Failed":
                word = Text("failed", style="red")
                return [Text("✗", style="red"), stage, word, message, time_taken]
            case "Succeeded":
                word = Text("cached" if state.cached else "done", style="dim")
                return [Text("✓", style="green"), stage, word, message, time_taken]
