"""Two distributions of latency above one axis from zero, drawn from their quantiles.

The axis starts at zero because only then the eye sees the speed-up as a ratio of lengths.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from fulcrum_pipelines.report.formatting import milliseconds
from fulcrum_pipelines.report.svg import (
    WIDTH,
    Scale,
    drawing,
    group,
    hit_area,
    label,
    node,
    text_width,
    x_axis,
)

_LEFT = 8.0
_RIGHT = 10.0
_RIDGE = 58.0
_GAP = 22.0
_BINS = 160
_STRIPS = 24
"""Parts of the axis, each of which shows under the pointer how many calls end within it."""


@dataclass(frozen=True)
class Ridge:
    """One distribution.

    Attributes:
        name: Written above it.
        quantiles_ms: Evenly spaced from the smallest to the largest; at least 2.
        median_ms: Its median.
        p95_ms: Its 95th percentile, None if it was not measured.
        look: Which colour.
    """

    name: str
    quantiles_ms: tuple[float, ...]
    median_ms: float
    p95_ms: float | None
    look: str


def distribution_plot(key: str, title: str, description: str, ridges: Sequence[Ridge]) -> Markup:
    """Return the ridges above one another on one axis in milliseconds.

    The axis ends a little after the largest 99th percentile: one slow call would press all else
    against zero. The description says so.
    """
    end_ms = 1.05 * max(_quantile(ridge.quantiles_ms, 0.99) for ridge in ridges)
    scale = Scale(0.0, max(end_ms, 1e-9), _LEFT, WIDTH - _RIGHT)
    bottom = len(ridges) * (_RIDGE + _GAP)
    parts: list[str] = [x_axis(scale, 4, bottom, lambda value: f"{value:g} ms")]
    for index, ridge in enumerate(ridges):
        parts.append(_ridge(ridge, scale, _GAP + index * (_RIDGE + _GAP)))
    return drawing(key, title, description, bottom + 20, parts)


def densities(quantiles: Sequence[float], low: float, high: float, bins: int) -> tuple[float, ...]:
    """Return the mass in each of `bins` equal bins of [low, high], the largest scaled to 1.

    Between two neighbouring quantiles mass is spread evenly, so no kernel smooths a second mode
    away. Equal neighbours are a point of mass: it goes to the bin that it is in.
    """
    width = (high - low) / bins
    masses = [0.0] * bins
    for start, end in pairwise(quantiles):
        first = max(0, min(bins - 1, int((start - low) / width)))
        last = max(0, min(bins - 1, int((end - low) / width)))
        for index in range(first, last + 1):
            left, right = low + index * width, low + (index + 1) * width
            share = (min(end, right) - max(start, left)) / (end - start) if end > start else 1.0
            masses[index] += max(0.0, share)
    smooth = [
        (masses[max(0, i - 1)] + 2 * masses[i] + masses[min(bins - 1, i + 1)]) / 4
        for i in range(bins)
    ]
    peak = max(smooth) or 1.0
    return tuple(mass / peak for mass in smooth)


def _quantile(quantiles: Sequence[float], share: float) -> float:
    return quantiles[round(share * (len(quantiles) - 1))]


def _ridge(ridge: Ridge, scale: Scale, top: float) -> Markup:
    base = top + _RIDGE
    shape = densities(ridge.quantiles_ms, scale.low, scale.high, _BINS)
    step = (scale.end - scale.start) / _BINS
    edges = "".join(
        f"L{scale.start + (index + 0.5) * step:.1f} {base - height * (_RIDGE - 6):.1f}"
        for index, height in enumerate(shape)
    )
    outline = f"M{scale.start:.1f} {base:.1f}{edges}L{scale.end:.1f} {base:.1f}Z"
    text = f"{ridge.name}: median {milliseconds(ridge.median_ms)}"
    if ridge.p95_ms is not None:
        text += f", p95 {milliseconds(ridge.p95_ms)}"
    return group(
        node("path", d=outline, class_="area"),
        _tick(scale.clamp(ridge.median_ms), base, _RIDGE, "median"),
        "" if ridge.p95_ms is None else _tick(scale.clamp(ridge.p95_ms), base, 14, "p95"),
        _caption(text, scale.clamp(ridge.median_ms), top - 6),
        *_strips(ridge, scale, top),
        tip=text,
        class_=f"mark ridge {ridge.look}",
    )


def _strips(ridge: Ridge, scale: Scale, top: float) -> list[Markup]:
    width = (scale.end - scale.start) / _STRIPS
    largest = len(ridge.quantiles_ms) - 1
    parts = []
    for index in range(_STRIPS):
        end_ms = scale.low + (index + 1) * (scale.high - scale.low) / _STRIPS
        share = max(bisect_right(ridge.quantiles_ms, end_ms) - 1, 0) / largest
        area = hit_area(scale.start + index * width, top, width, _RIDGE)
        tip = f"{ridge.name}: about {share:.0%} of calls take {milliseconds(end_ms)} or less"
        parts.append(group(area, tip=tip))
    return parts


def _tick(x: float, base: float, height: float, name: str) -> Markup:
    return node("line", x1=x, x2=x, y1=base - height, y2=base, class_=name)


def _caption(text: str, place: float, y: float) -> Markup:
    """Return the text as near above `place` as the borders allow."""
    half = text_width(text) / 2
    middle = min(max(place, _LEFT + half), WIDTH - _RIGHT - half)
    return label(middle, y, text, class_="name", text_anchor="middle")
