"""Markup for plots: elements, scales and axis ticks; all that comes from outside is escaped.

A report must open anywhere, for years, without a network: so plots are plain SVG made here, not by
a plotting library and its script (docs/adr/0006). Colours are classes; the page's style sheet gives
them for light and dark.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH = 340.0
"""Width of every plot in its own units: about what a phone or a column of the page leaves."""

FONT_SIZE = 11.5
_NARROW = frozenset("fijlrtIJ.,:;'|!()[]{}/\\ \u00a0-")
_WIDE = frozenset("mwMW@%&→×\u2212…<>=+~")
_EAST_ASIAN = 0x2E80  # from here on characters are mostly as wide as high

Attribute = str | float | None


def node(name: str, *children: str, **attributes: Attribute) -> Markup:
    """Return one element; plain strings among `children` are escaped.

    Args:
        name: Name of the element.
        children: Its contents.
        attributes: Its attributes; a trailing underscore is dropped and others become hyphens;
            None leaves one out.
    """
    pairs = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_plain(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{pairs}>{Markup('').join(children)}</{name}>")


def _plain(value: str | float) -> str:
    return value if isinstance(value, str) else f"{round(value, 2):g}"


def group(*children: str, tip: str = "", **attributes: Attribute) -> Markup:
    """Return a group of elements that shows `tip` under the pointer."""
    inner = (node("title", tip), *children) if tip else children
    return node("g", *inner, **attributes)


def whisker(low: tuple[float, float], high: tuple[float, float]) -> Markup:
    """Return the line of an interval between two places (x, y), with caps across its ends."""
    (x1, y1), (x2, y2) = low, high
    lying = y1 == y2
    caps = "".join(
        f"M{x:.2f} {y - 4:.2f}v8" if lying else f"M{x - 4:.2f} {y:.2f}h8" for x, y in (low, high)
    )
    return node("path", d=f"{caps}M{x1:.2f} {y1:.2f}L{x2:.2f} {y2:.2f}", class_="whisker")


def interval_tip(
    name: str, text: str, low: float | None, high: float | None, write: Callable[[float], str]
) -> str:
    """Return what the pointer shows of a value: its name, its text and its interval, if any."""
    interval = "" if low is None or high is None else f", interval {write(low)} to {write(high)}"
    return f"{name}: {text}{interval}"


def hit_area(x: float, y: float, width: float, height: float) -> Markup:
    """Return an invisible area that belongs to a mark, so that the pointer finds it easily."""
    return node("rect", x=x, y=y, width=width, height=height, class_="hit")


def label(x: float, y: float, text: str, **attributes: Attribute) -> Markup:
    """Return a line of text whose baseline starts (by default) at (x, y)."""
    return node("text", text, x=x, y=y, **attributes)


def drawing(key: str, title: str, description: str, height: float, parts: Iterable[str]) -> Markup:
    """Return a whole plot.

    Args:
        key: Id that distinguishes this plot from the others of the page.
        title: What the plot shows, for those who cannot see it.
        description: Description of the plot.
        height: In units of which `WIDTH` make its width.
        parts: Its elements.
    """
    key = re.sub("[^A-Za-z0-9-]+", "-", key)
    return node(
        "svg",
        node("title", title, id=f"{key}-title"),
        node("desc", description, id=f"{key}-desc"),
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH:g} {height:g}",
        role="img",
        aria_labelledby=f"{key}-title {key}-desc",
        id=key,
    )


def text_width(text: str, font_size: float = FONT_SIZE, *, bold: bool = False) -> float:
    """Return about how wide `text` is drawn; there are no font metrics here.

    The figures are of DejaVu Sans, which is wider than the faces that most systems have.
    """
    advance = sum(_advance(character) for character in text)
    return advance * font_size * (1.1 if bold else 1.0)


def _advance(character: str) -> float:
    if character in _NARROW:
        return 0.4
    if character in _WIDE:
        return 0.96
    if ord(character) >= _EAST_ASIAN:
        return 1.1
    return 0.7 if character.isupper() else 0.64


def cut_end(text: str, room: float) -> str:
    """Return `text` with as much of its end cut off as `room` needs."""
    if text_width(text) <= room:
        return text
    while text and text_width(f"{text}…") > room:
        text = text[:-1]
    return f"{text}…" if text else ""


def cut_start(text: str, room: float) -> str:
    """Return `text` with as much of its start cut off as `room` needs: layers differ at the end."""
    return text if text_width(text) <= room else cut_end(text[::-1], room)[::-1]


@dataclass(frozen=True)
class Scale:
    """Maps values in [low, high] to places in [start, end], linearly."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def clamp(self, value: float) -> float:
        """Return the place of `value`, or of the nearer end if it lies outside."""
        return self(min(max(value, self.low), self.high))


EVERYWHERE = (-math.inf, math.inf)
_SAME = 1e-9  # values that are nearer to each other than this share of them look the same
_TINY = 1e-290


def spanning(
    values: Iterable[float],
    start: float,
    end: float,
    *,
    pad: float = 0.08,
    bounds: tuple[float, float] = EVERYWHERE,
) -> Scale:
    """Return a scale with all `values` in it.

    Args:
        values: Values that must fit on the scale.
        start: Start of the scale.
        end: End of the scale.
        pad: Part of the values' extent that is left free on both sides.
        bounds: Range of possible values, beyond which no room is left; values outside widen it.
    """
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = min(finite), max(finite)
    largest = max(abs(low), abs(high))
    free = (high - low) * pad
    if high - low <= _SAME * largest:
        free = 0.05 * largest if largest > _TINY else 0.5
    return Scale(
        min(low, max(low - free, bounds[0])), max(high, min(high + free, bounds[1])), start, end
    )


def ticks(low: float, high: float, wanted: int = 4) -> tuple[float, ...]:
    """Return round values within [low, high], as near to `wanted` as steps of 1, 2, 5 give."""
    magnitude = 10.0 ** math.floor(math.log10((high - low) / max(wanted, 1)))
    series = (_multiples(low, high, magnitude * nice) for nice in (1, 2, 5, 10))
    return min(series, key=lambda places: abs(len(places) - wanted))


def _multiples(low: float, high: float, step: float) -> tuple[float, ...]:
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return tuple(float(f"{index * step:.12g}") for index in range(first, last + 1))


def x_axis(
    scale: Scale, top: float, bottom: float, write: Callable[[float], str], wanted: int = 4
) -> Markup:
    """Return grid lines from `top` to `bottom` with their values below, as many as have room."""
    places = ticks(scale.low, scale.high, wanted)
    room = abs(scale.end - scale.start) / max(len(places), 1)
    while len(places) > 2 and max(text_width(write(value), 10) for value in places) > 0.9 * room:
        places = places[::2]
        room = abs(scale.end - scale.start) / len(places)
    return node(
        "g",
        *(
            node("line", x1=scale(value), x2=scale(value), y1=top, y2=bottom, class_="grid")
            + _tick(scale(value), bottom + 14, write(value))
            for value in places
        ),
    )


def _tick(x: float, y: float, text: str) -> Markup:
    """Return a tick's text, moved as far as the borders of the plot need."""
    half = text_width(text, 10) / 2
    middle = min(max(x, half + 1), WIDTH - half - 1)
    return label(middle, y, text, class_="tick", text_anchor="middle")


def y_axis(
    scale: Scale, left: float, right: float, write: Callable[[float], str], wanted: int = 4
) -> Markup:
    """Return grid lines from `left` to `right` with their values at the left."""
    return node(
        "g",
        *(
            node("line", x1=left, x2=right, y1=scale(value), y2=scale(value), class_="grid")
            + label(left - 6, scale(value) + 4, write(value), class_="tick", text_anchor="end")
            for value in ticks(scale.low, scale.high, wanted)
        ),
    )
