"""Make text that users' code wrote harmless for readers in a terminal.

Names, messages and logs pass from a model's code to `kubectl`, `fulcrum` and Events. Escape
sequences in them could repaint the screen, and direction signs could reorder it.
"""

from __future__ import annotations

KEPT_IN_A_LINE = "\t\u00a0"
KEPT = f"\n{KEPT_IN_A_LINE}"
MESSAGE_CHARACTERS = 8000
MESSAGE_LINES = 3
REASON_CHARACTERS = 300
ORNAMENTS = tuple("#=-*~^|+")
"""How lines of libraries' reports begin that say nothing by themselves."""


def printable(text: str, *, kept: str = KEPT) -> str:
    """Return `text` with its control and direction characters as escapes that can be read.

    Args:
        text: One or more lines.
        kept: Characters that are not escaped; without the end of a line, one line stays one.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in kept else _escape(c) for c in text)


def one_line(text: str) -> str:
    """Return `text` as one line: a name in it that has several cannot write a line of its own."""
    return printable(text, kept=KEPT_IN_A_LINE)


def to_message(text: str) -> str:
    """Return `text` as a message: one printable line of a bounded length."""
    safe = one_line(text)
    return safe if len(safe) <= MESSAGE_CHARACTERS else f"{safe[:MESSAGE_CHARACTERS]}…"


def shortened(text: str) -> str:
    """Return the first lines of a message that a person is to act on; longer ones are reports."""
    lines = [line for line in text.splitlines() if line.strip()]
    return text if len(lines) <= MESSAGE_LINES else "\n".join(lines[:MESSAGE_LINES]) + " …"


def reason(error: BaseException) -> str:
    """Return why a library failed, in one line: the innermost cause's first line that says why.

    Exporters, compilers and runtimes raise reports of dozens of lines, often with the reason
    wrapped in several exceptions. The name of the exception stands in where it has no text.
    """
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [" ".join(line.split()) for line in str(error).splitlines()]
    line = next((line for line in lines if line and not line.startswith(ORNAMENTS)), "")
    name = type(error).__name__
    short = line if len(line) <= REASON_CHARACTERS else f"{line[:REASON_CHARACTERS]}…"
    return f"{name}: {short}" if short else name


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()
