"""The output of a worker: passed on as it comes, and its end kept in bounded memory."""

from __future__ import annotations

from collections import deque
from typing import IO

from fulcrum_pipelines.texts import printable

LINE_CHARACTERS = 1 << 14
"""A longer line is cut into several; one without end would take all memory."""
KEPT_CHARACTERS = 1 << 24


class WorkerOutput:
    """The newest lines, up to `KEPT_CHARACTERS` in all."""

    def __init__(self, kept_characters: int = KEPT_CHARACTERS) -> None:
        self._lines: deque[str] = deque()
        self._characters = 0
        self._kept = kept_characters

    @property
    def lines(self) -> list[str]:
        """The lines without their ends."""
        return list(self._lines)

    def copy(self, stream: IO[str]) -> None:
        """Print and keep the lines of `stream` until it ends."""
        with stream:
            while line := stream.readline(LINE_CHARACTERS):
                self._keep(printable(line.rstrip("\n")))

    def _keep(self, line: str) -> None:
        print(line, flush=True)
        self._lines.append(line)
        self._characters += len(line) + 1
        while self._characters > self._kept:
            self._characters -= len(self._lines.popleft()) + 1
