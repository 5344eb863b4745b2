"""A grid of cells whose strength of colour is their value: confusion and sensitivity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from fulcrum_pipelines.report.svg import (
    FONT_SIZE,
    WIDTH,
    cut_end,
    cut_start,
    drawing,
    group,
    label,
    node,
    text_width,
)

_STRONGEST = 0.72  # opacity at which text is still readable on every colour
_TOP = 34.0
_NAME_ROOM = 150.0
_NAMED_ROWS = 40  # more rows or columns than this are too narrow to be named


@dataclass(frozen=True)
class HeatCell:
    """One cell.

    Attributes:
        strength: 0 to 1.
        look: Which colour.
        text: Written inside where it fits.
        tip: Shown under the pointer.
    """

    strength: float
    look: str
    text: str
    tip: str


def heatmap(
    key: str,
    title: str,
    description: str,
    rows: Sequence[str],
    columns: Sequence[str],
    cells: Sequence[Sequence[HeatCell]],
    *,
    axis: str,
    square: bool = False,
) -> Markup:
    """Return the grid.

    Args:
        key: Distinguishes this plot from the others of the page.
        title: What the plot shows.
        description: Description of the plot.
        rows: Name of each row; cut at its start where long.
        columns: Name of each column; cut at its end where wide.
        cells: A row of cells for each row.
        axis: What the rows and columns are, written at the top.
        square: Whether cells are as high as wide.
    """
    named = len(rows) <= _NAMED_ROWS
    names = [cut_start(row, _NAME_ROOM) if named else "" for row in rows]
    left = max((text_width(name) for name in names), default=0.0) + 10
    width = (WIDTH - left - 4) / max(len(columns), 1)
    height = width if square else 22.0
    parts: list[str] = [label(left, 12, axis, class_="note")]
    parts.extend(_headings(columns, left, width))
    for index, (name, row) in enumerate(zip(names, cells, strict=True)):
        y = _TOP + index * height
        if height >= FONT_SIZE:
            middle = y + height / 2 + 4
            parts.append(label(left - 7, middle, name, class_="name", text_anchor="end"))
        parts.extend(
            _cell(cell, left + place * width, y, width, height) for place, cell in enumerate(row)
        )
    return drawing(key, title, description, _TOP + height * len(rows) + 4, parts)


def _headings(columns: Sequence[str], left: float, width: float) -> list[Markup]:
    if len(columns) > _NAMED_ROWS:
        return []
    return [
        label(
            left + (index + 0.5) * width,
            _TOP - 6,
            cut_end(column, width),
            class_="tick",
            text_anchor="middle",
        )
        for index, column in enumerate(columns)
    ]


def _cell(cell: HeatCell, x: float, y: float, width: float, height: float) -> Markup:
    gap = 1.5 if width > 8 else 0.2
    opacity = max(0.0, min(1.0, cell.strength)) * _STRONGEST
    fits = text_width(cell.text, 10.5) <= width - 3 and height >= 13
    return group(
        *(
            node("rect", x=x, y=y, width=width - gap, height=height - gap, rx=2, **look)
            for look in ({"class_": "cell"}, {"class_": "heat", "fill_opacity": opacity})
        ),
        label(x + width / 2, y + height / 2 + 3.5, cell.text, class_="count", text_anchor="middle")
        if fits
        else "",
        tip=cell.tip,
        class_=f"mark {cell.look}",
    )
