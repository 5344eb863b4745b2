"""Text that users' code wrote, made harmless for whoever reads it in a terminal.

Names, messages and logs pass from a model's code to `kubectl`, `fulcrum` and Events. Escape
sequences in them could repaint what stands there, and direction signs could reorder it.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

KEPT = frozenset("\n\t\u00a0")
TOLD_CHARACTERS = 8000


def printable(text: str) -> str:
    """Return `text` with its control and direction characters as escapes that can be read."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in KEPT else _escape(c) for c in text)


def told(text: str) -> str:
    """Return `text` as a message: printable, and of a bounded length."""
    safe = printable(text)
    return safe if len(safe) <= TOLD_CHARACTERS else f"{safe[:TOLD_CHARACTERS]}…"


Told = Annotated[str, AfterValidator(told)]
"""A message in a record."""


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()
