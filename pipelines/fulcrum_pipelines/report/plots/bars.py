"""Horizontal bars: sizes beside the baseline's, shares of a whole, seconds of stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from fulcrum_pipelines.report.formatting import NOT_MEASURED
from fulcrum_pipelines.report.svg import WIDTH, cut_start, drawing, group, label, node, text_width

_ROW = 22.0
_NAME_ROOM = 150.0


@dataclass(frozen=True)
class Bar:
    """One bar.

    Attributes:
        name: Written at the left; cut at its start where it is long.
        share: Length, 0 to 1; None if it was not measured.
        text: Written after the bar, and under the pointer.
        look: Which colour.
        gap_before: Whether a little room separates it from the bar above.
    """

    name: str
    share: float | None
    text: str
    look: str
    gap_before: bool = False


def bar_plot(key: str, title: str, description: str, bars: Sequence[Bar]) -> Markup:
    """Return the bars below one another."""
    names = [cut_start(bar.name, _NAME_ROOM) for bar in bars]
    left = max((text_width(name) for name in names), default=0.0) + 10
    right = max((text_width(bar.text, bold=True) for bar in bars), default=0.0) + 12
    full = max(WIDTH - left - right, 40.0)
    parts = []
    y = 4.0
    for bar, name in zip(bars, names, strict=True):
        y += 10 * bar.gap_before
        parts.append(_bar(bar, name, left, y, full))
        y += _ROW
    return drawing(key, title, description, y + 4, parts)


def _bar(bar: Bar, name: str, left: float, y: float, full: float) -> Markup:
    middle = y + _ROW / 2 + 4
    parts: list[str] = [label(left - 8, middle, name, class_="name", text_anchor="end")]
    if bar.share is None:
        parts.append(label(left + 4, middle, NOT_MEASURED, class_="missing"))
    else:
        width = max(1.0, min(1.0, max(0.0, bar.share)) * full)
        parts.extend(
            node("rect", x=left, y=y + 3, width=long, height=_ROW - 6, rx=3, class_=look)
            for long, look in ((full, "track"), (width, "bar"))
        )
        parts.append(label(WIDTH - 2, middle, bar.text, class_="value", text_anchor="end"))
    return group(*parts, tip=f"{bar.name}: {bar.text}", class_=f"mark {bar.look}")
