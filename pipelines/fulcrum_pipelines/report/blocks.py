"""The parts of a page: sections of tables, figures, facts and notes, as typed values.

Sections decide what is shown and say what is missing; the template only gives it its form. So the
former is tested without a browser, and nothing in it can forget to escape.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from markupsafe import Markup

Tone = Literal["", "good", "bad", "unclear", "odd", "quiet"]


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: What it says.
        tone: Its colour; the text alone must say the same.
        code: Whether it is a name or digest that may break anywhere.
        chip: Whether it is drawn as a label, as verdicts are.
        note: Said in small letters under the text.
    """

    text: str
    tone: Tone = ""
    code: bool = False
    chip: bool = False
    note: str = ""


@dataclass(frozen=True)
class Column:
    """One column's heading; figures are right-aligned."""

    name: str
    number: bool = False


@dataclass(frozen=True)
class Table:
    """A table, folded away where it only repeats a figure for those who cannot see it."""

    kind: ClassVar[str] = "table"
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    folded: bool = False


@dataclass(frozen=True)
class Figure:
    """One plot."""

    kind: ClassVar[str] = "figure"
    svg: Markup
    heading: str = ""
    text: str = ""
    note: str = ""


@dataclass(frozen=True)
class Quadrant:
    """The 2x2 table of right and wrong answers."""

    kind: ClassVar[str] = "quadrant"
    both_right: str
    broken: str
    fixed: str
    both_wrong: str
    conclusion: str


@dataclass(frozen=True)
class Figures:
    """Plots beside one another where there is room."""

    kind: ClassVar[str] = "figures"
    figures: tuple[Figure | Quadrant, ...]


@dataclass(frozen=True)
class Facts:
    """Names and values."""

    kind: ClassVar[str] = "facts"
    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Note:
    """A paragraph; `bad` and `unclear` ones catch the eye."""

    kind: ClassVar[str] = "note"
    text: str
    tone: Tone = ""


Block = Table | Figures | Facts | Note


@dataclass(frozen=True)
class Section:
    """One part of the page, with an anchor."""

    key: str
    title: str
    lead: str
    blocks: tuple[Block, ...] = field(default=())


@dataclass(frozen=True)
class Tile:
    """One of the figures at the top."""

    name: str
    value: str
    detail: str
    tone: Tone = ""


def columns(*names: str) -> tuple[Column, ...]:
    """Return columns; a name that starts with "#" holds numbers."""
    return tuple(Column(name.removeprefix("#"), number=name.startswith("#")) for name in names)


def row(*cells: str | Cell) -> tuple[Cell, ...]:
    """Return a row of cells; plain strings become cells without a tone."""
    return tuple(Cell(cell) if isinstance(cell, str) else cell for cell in cells)


def missing(what: str) -> Note:
    """Return a sentence in place of missing content."""
    return Note(what, "quiet")


def only(blocks: Sequence[Block | None]) -> tuple[Block, ...]:
    """Return the blocks that are not None."""
    return tuple(block for block in blocks if block is not None)


def plural(count: int, noun: str) -> str:
    """Return a count with its noun."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
