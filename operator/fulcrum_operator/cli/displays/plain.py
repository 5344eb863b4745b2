"""Lines for logs: one for each change of a stage, and now and then one from a long stage."""

from __future__ import annotations

import time
from typing import Self, TextIO

from fulcrum_operator.cli.displays import duration, elapsed_s
from fulcrum_operator.cli.saying import say_line
from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.states import StageState

INTERVAL_S = 10.0  # between two lines of one stage that only goes on


class PlainDisplay:
    """Prints lines to `stream`, without any control sequence."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._seen: dict[tuple[str, str], tuple[str, str, float]] = {}

    def __enter__(self) -> Self:
        """Nothing to start."""
        return self

    def __exit__(self, *details: object) -> None:
        """Nothing to end."""

    def show(self, plan: Plan, states: tuple[StageState, ...]) -> None:
        """Print what is new."""
        now_s = time.monotonic()
        for state in states:
            key = (plan.run, state.stage)
            before = self._seen.get(key)
            if before is not None and before[0] == state.state:
                is_repeated = state.message == before[1] or now_s - before[2] < INTERVAL_S
                if is_repeated or state.state != "Running":
                    continue
            self._seen[key] = (state.state, state.message, now_s)
            self.note(_line(state))

    def note(self, text: str) -> None:
        """Print it."""
        say_line(text, self._stream)


def _line(state: StageState) -> str:
    word = "cached" if state.cached else state.state.lower()
    share = f" ({state.fraction:.0%})" if state.state == "Running" and state.fraction else ""
    time_taken = "" if state.state == "Running" else f" in {duration(elapsed_s(state))}"
    message = f": {state.message}" if state.message else ""
    return f"{state.stage} {word}{time_taken}{share}{message}"
