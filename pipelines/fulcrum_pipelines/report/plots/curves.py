"""Curves over epochs, named at their ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from fulcrum_pipelines.report.svg import (
    WIDTH,
    Scale,
    drawing,
    group,
    label,
    node,
    spanning,
    text_width,
    ticks,
    y_axis,
)

_TOP = 14.0
_BOTTOM = 190.0
_LINE = 13.0


@dataclass(frozen=True)
class Curve:
    """One curve: its points by x, those that were not measured left out."""

    name: str
    points: tuple[tuple[float, float], ...]
    look: str


def curve_plot(
    key: str,
    title: str,
    description: str,
    curves: Sequence[Curve],
    *,
    write: Callable[[float], str],
    x_name: str,
    marker: tuple[float, str] | None = None,
) -> Markup:
    """Return the curves on common axes.

    Args:
        key: Distinguishes this plot from the others of the page.
        title: What the plot shows.
        description: Description of the plot.
        curves: At least one with at least one point.
        write: Turns a value into the text at a tick.
        x_name: What x counts.
        marker: An x that matters, and its name.
    """
    values = [y for curve in curves for _, y in curve.points]
    vertical = spanning(values, _BOTTOM, _TOP)
    left = max(text_width(write(tick)) for tick in ticks(vertical.low, vertical.high)) + 10
    right = max(text_width(curve.name, bold=True) for curve in curves) + 12
    places = [x for curve in curves for x, _ in curve.points]
    horizontal = Scale(min(places) - 0.2, max(places) + 0.2, left, WIDTH - right)
    parts: list[str] = [y_axis(vertical, left, WIDTH - right, write), _x_names(horizontal, x_name)]
    if marker is not None:
        parts.append(_marker(horizontal(marker[0]), marker[1], f"{x_name} {marker[0]:g}"))
    ends = _apart([vertical(curve.points[-1][1]) for curve in curves])
    parts.extend(
        _curve(curve, horizontal, vertical, end, lambda x, y: f"{x_name} {x:g}: {write(y)}")
        for curve, end in zip(curves, ends, strict=True)
    )
    return drawing(key, title, description, _BOTTOM + 34, parts)


def _x_names(scale: Scale, name: str) -> Markup:
    whole = [tick for tick in ticks(scale.low, scale.high, 6) if tick == int(tick)]
    return node(
        "g",
        *(
            label(scale(tick), _BOTTOM + 14, f"{tick:g}", class_="tick", text_anchor="middle")
            for tick in whole
        ),
        label(scale.start, _BOTTOM + 29, name, class_="note"),
    )


def _marker(x: float, name: str, place: str) -> Markup:
    half = text_width(name, 10) / 2
    return group(
        node("line", x1=x, x2=x, y1=_TOP, y2=_BOTTOM, class_="marker"),
        label(min(x, WIDTH - half - 2), _TOP - 4, name, class_="note", text_anchor="middle"),
        tip=f"{name}: {place}",
    )


def _apart(places: Sequence[float]) -> list[float]:
    """Return places for labels near `places`, at least a line apart, in the same order."""
    order = sorted(range(len(places)), key=lambda index: places[index])
    moved = list(places)
    for above, below in pairwise(order):
        moved[below] = max(moved[below], moved[above] + _LINE)
    return moved


def _curve(
    curve: Curve,
    horizontal: Scale,
    vertical: Scale,
    label_y: float,
    say: Callable[[float, float], str],
) -> Markup:
    line = " ".join(f"{horizontal(x):.1f},{vertical(y):.1f}" for x, y in curve.points)
    return group(
        node("polyline", points=line, class_="line"),
        *(
            group(
                node("circle", cx=horizontal(x), cy=vertical(y), r=7, class_="hit"),
                node("circle", cx=horizontal(x), cy=vertical(y), r=2.6, class_="dot"),
                tip=f"{curve.name}, {say(x, y)}",
            )
            for x, y in curve.points
        ),
        label(horizontal.end + 6, label_y + 4, curve.name, class_="name"),
        tip=curve.name,
        class_=f"mark curve {curve.look}",
    )
