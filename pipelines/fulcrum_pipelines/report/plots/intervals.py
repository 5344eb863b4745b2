"""Values with their intervals on one axis, a row each: the form in which nearly all evidence comes.

A dot without its interval invites to read noise, so a row that has none says that in its text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from fulcrum_pipelines.report.formatting import NOT_MEASURED
from fulcrum_pipelines.report.svg import (
    EVERYWHERE,
    WIDTH,
    Scale,
    cut_end,
    drawing,
    group,
    hit_area,
    interval_tip,
    label,
    node,
    spanning,
    text_width,
    whisker,
    x_axis,
)

_ROW = 26.0
_TOP = 8.0
_NAME_ROOM = 125.0

IntervalStyle = Literal["baseline", "candidate", "check", "good", "bad", "unclear"]


@dataclass(frozen=True)
class Row:
    """One dot with its interval.

    Attributes:
        name: Written at the left.
        value: Of the dot; None if it was not measured.
        low: The interval's lower end; None without an interval.
        high: Its upper end.
        text: Written at the right, and under the pointer.
        look: Which colour; `check` is hollow.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None
    text: str
    look: IntervalStyle


@dataclass(frozen=True)
class Marker:
    """A vertical line at a value that matters, e.g. a gate's limit; `bad` shades what is beyond."""

    value: float
    name: str
    bad: Literal["", "below", "above"] = ""


def interval_plot(
    key: str,
    title: str,
    description: str,
    rows: Sequence[Row],
    *,
    write: Callable[[float], str],
    markers: Sequence[Marker] = (),
    from_zero: bool = False,
    show_text: bool = True,
    bounds: tuple[float, float] = EVERYWHERE,
) -> Markup:
    """Return rows of dots with intervals over one axis.

    Args:
        key: Distinguishes this plot from the others of the page.
        title: What the plot shows.
        description: Description of the plot.
        rows: From top to bottom.
        write: Turns a value into the text at a tick.
        markers: Lines at values that matter; always within the axis.
        from_zero: Whether the axis starts at zero.
        show_text: Whether the rows' texts are written at the right.
        bounds: Range of possible values.
    """
    names = [cut_end(row.name, _NAME_ROOM) for row in rows]
    left = max((text_width(name) for name in names), default=0.0) + 12
    right = 20.0
    if show_text:
        right = max((text_width(row.text, bold=True) for row in rows), default=0.0) + 10
    top = _TOP + 14 * bool(markers)
    bottom = top + _ROW * len(rows)
    places = [
        place for row in rows for place in (row.value, row.low, row.high) if place is not None
    ]
    places += [marker.value for marker in markers] + [0.0] * from_zero
    scale = spanning(places, left, WIDTH - right, bounds=bounds)
    if from_zero:
        scale = Scale(min(0.0, min(places)), scale.high, left, WIDTH - right)
    parts: list[str] = [_shade(marker, scale, top, bottom) for marker in markers if marker.bad]
    parts.append(x_axis(scale, top, bottom, write))
    parts.extend(_markers(markers, scale, top, bottom, write))
    parts.extend(
        _row(row, name, scale, top + _ROW * (index + 0.5), show_text, write)
        for index, (row, name) in enumerate(zip(rows, names, strict=True))
    )
    return drawing(key, title, description, bottom + 20, parts)


def _shade(marker: Marker, scale: Scale, top: float, bottom: float) -> Markup:
    edge = scale(marker.value)
    start, end = (scale.start, edge) if marker.bad == "below" else (edge, scale.end)
    return node("rect", x=start, y=top, width=end - start, height=bottom - top, class_="beyond")


def _markers(
    markers: Sequence[Marker],
    scale: Scale,
    top: float,
    bottom: float,
    write: Callable[[float], str],
) -> list[Markup]:
    """Return the lines; a name that would run into the one before it is left to the tip."""
    drawn = []
    free_from = 0.0
    for marker in sorted(markers, key=lambda marker: marker.value):
        place = scale(marker.value)
        width = text_width(marker.name, 10)
        middle = min(max(place, width / 2 + 2), WIDTH - width / 2 - 2)
        line = node("line", x1=place, x2=place, y1=top, y2=bottom, class_=f"marker {marker.bad}")
        name = ""
        if middle - width / 2 >= free_from:
            name = label(middle, top - 5, marker.name, class_="note", text_anchor="middle")
            free_from = middle + width / 2 + 4
        drawn.append(group(line, name, tip=f"{marker.name}: {write(marker.value)}"))
    return drawn


def _row(
    row: Row, name: str, scale: Scale, y: float, show_text: bool, write: Callable[[float], str]
) -> Markup:
    parts: list[str] = [hit_area(0, y - _ROW / 2, WIDTH, _ROW)]
    parts += [label(scale.start - 12, y + 4, name, class_="name", text_anchor="end")]
    if row.value is None:
        parts.append(label(scale.start + 4, y + 4, NOT_MEASURED, class_="missing"))
    else:
        if row.low is not None and row.high is not None:
            parts.append(whisker((scale.clamp(row.low), y), (scale.clamp(row.high), y)))
        parts.append(node("circle", cx=scale(row.value), cy=y, r=5, class_="dot"))
    if show_text and row.value is not None:
        parts.append(label(WIDTH - 2, y + 4, row.text, class_="value", text_anchor="end"))
    tip = interval_tip(row.name, row.text, row.low, row.high, write)
    return group(*parts, tip=tip, class_=f"mark row {row.look}")
