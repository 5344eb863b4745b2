"""The one way in which commands print, so that no name can write to the terminal what it wants.

Names of classes, outputs and fields, reasons of gates and messages come from models, data, stores
and clusters. Escape sequences in them could repaint what a person is about to approve.
"""

from __future__ import annotations

import sys
from typing import TextIO


def say(text: str, stream: TextIO | None = None) -> None:
    """Print `text`, with its control and direction characters as escapes that can be read.

    Args:
        text: One or more lines.
        stream: Standard output by default.
    """
    from fulcrum_pipelines.texts import printable

    print(printable(text), file=stream or sys.stdout, flush=True)


def say_line(text: str, stream: TextIO | None = None) -> None:
    """Print `text` as `say` does, but as one line, whatever is in it."""
    from fulcrum_pipelines.texts import one_line

    say(one_line(text), stream)


def say_json(text: str) -> None:
    """Print the JSON document `text`, with such characters as escapes of JSON.

    A program reads the same values; a person can look at them.
    """
    print("".join(c if c.isprintable() or c == "\n" else _escape(c) for c in text), flush=True)


def _escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
