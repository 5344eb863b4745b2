"""Problems of a manifest as values: path, message, and accepted values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from fulcrum_pipelines.texts import printable

Path = tuple[str | int, ...]
"""Position in a document: names of fields and indices of lists."""

SHOWN_CHARACTERS = 60


@dataclass(frozen=True)
class Problem:
    """One thing wrong.

    Attributes:
        path: The field, as `spec.gates[0].margin`; empty for the document itself.
        message: What is wrong with it.
        allowed: Accepted values; empty if the message names them.
        line: Line in the file, from 1, if it is known.
        document: Number of the document in the file, from 1; 0 if the file has only one.
    """

    path: str
    message: str
    allowed: str = ""
    line: int | None = None
    document: int = 0

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        allowed = f" (allowed: {self.allowed})" if self.allowed else ""
        which = f"document {self.document}: " if self.document else ""
        line = f" [line {self.line}]" if self.line else ""
        return printable(f"{which}{where}{self.message}{allowed}{line}", kept="\u00a0")


def write_path(path: Path) -> str:
    """Return `path` as people write it: `spec.gates[0].margin`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def show(value: object) -> str:
    """Return `value` for a message, shortened, as it is spelled in a manifest."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case str():
            text = value if len(value) <= SHOWN_CHARACTERS else f"{value[:SHOWN_CHARACTERS]}..."
            return repr(text)
        case _:
            return str(value)[:SHOWN_CHARACTERS]


def quoting(value: object) -> str:
    """Return "; put it in quotes" if `value`, which is no text, becomes the meant text by that."""
    return "" if value is None or isinstance(value, dict | list) else "; put it in quotes"


def nearest(name: str, known: Sequence[str]) -> str:
    """Return "; did you mean X?" for the known name most like `name`, or nothing.

    One wrong letter in three is a slip, as in `url`. Names of other lengths must be more alike:
    else `min` would be like `margin`, and `test` like `gates`.
    """
    folded = {each.lower(): each for each in known}
    low = name.lower()
    as_long = [each for each in folded if len(each) == len(low)]
    found = get_close_matches(low, folded, 1, 0.7) or get_close_matches(low, as_long, 1, 0.65)
    return f"; did you mean {folded[found[0]]}?" if found else ""
