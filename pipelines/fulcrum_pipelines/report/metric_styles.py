"""Names of metrics and formats of their values: a share in per cent, a loss in digits.

Gates and evidence know a metric by one name; people know it by another and expect its own unit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fulcrum_pipelines.catalog import METRICS
from fulcrum_pipelines.evidence import Comparison, Interval
from fulcrum_pipelines.report.formatting import (
    NOT_MEASURED,
    SPACE,
    decimals_for,
    fixed,
    percent,
    points,
    relative_change,
    span,
)
from fulcrum_pipelines.report.svg import EVERYWHERE


@dataclass(frozen=True)
class Style:
    """How values of one metric are written.

    Attributes:
        label: What people call it.
        share: Whether 1 means all, so that it is written in per cent and its change in points.
        unit: Written after values that are not shares.
    """

    label: str
    share: bool = False
    unit: str = ""

    @property
    def bounds(self) -> tuple[float, float]:
        """The range of possible values."""
        return (0.0, 1.0) if self.share else EVERYWHERE

    def value(self, value: float | None, decimals: int | None = None) -> str:
        """Return one value with its unit."""
        if value is None:
            return NOT_MEASURED
        if self.share:
            return percent(value, 2 if decimals is None else decimals)
        text = fixed(value, decimals_for(value) if decimals is None else decimals)
        return f"{text}{SPACE}{self.unit}" if self.unit else text

    def delta(self, comparison: Comparison) -> str:
        """Return a change with its unit; if the metric is not a share, also in per cent."""
        if comparison.delta is None:
            return NOT_MEASURED
        if self.share:
            return points(comparison.delta, self._decimals(comparison))
        text = fixed(comparison.delta, self._decimals(comparison), sign=True)
        relative = relative_change(comparison.baseline, comparison.candidate)
        return f"{text} ({relative})" if relative else text

    def delta_span(self, comparison: Comparison) -> str:
        """Return the interval of a change, in the unit of `delta`."""
        if self.share:
            return span(comparison.interval, self._decimals(comparison), scale=100)
        return span(comparison.interval, self._decimals(comparison))

    def interval(self, interval: Interval | None, value: float | None) -> str:
        """Return the interval of a value, in the unit of `value`."""
        if self.share:
            return span(interval, _share_decimals(interval), scale=100, sign=False)
        return span(interval, _decimals(value or 0.0, interval), sign=False)

    def _decimals(self, comparison: Comparison) -> int:
        if self.share:
            return _share_decimals(comparison.interval)
        return _decimals(comparison.baseline or comparison.candidate or 0.0, comparison.interval)


def _share_decimals(interval: Interval | None) -> int:
    """Return decimals in per cent: two, or as many as show that `interval` has a width."""
    width = 0.0 if interval is None else 100 * (interval.high - interval.low)
    return max(2, decimals_for(width, 1) if width else 0)


def _decimals(value: float, interval: Interval | None) -> int:
    """Return decimals for `value` that show how wide `interval` is, in two digits at least."""
    width = 0.0 if interval is None else interval.high - interval.low
    return max(decimals_for(value), decimals_for(width, 2) if width else 0)


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names once each, known metrics first, the most asked for at the front."""
    found = dict.fromkeys(names)
    return (*(n for n in METRICS if n in found), *(n for n in found if n not in METRICS))


def style_of(metric: str, unit: str = "") -> Style:
    """Return how `metric` is written; an unknown one goes by its own name, in digits."""
    known = METRICS.get(metric)
    if known is None:
        return Style(metric, unit=unit)
    return Style(known.label, share=True) if known.share else Style(known.label, unit=unit)


def is_worse(direction: str, delta: float) -> bool:
    """Return whether a change by `delta` is for the worse."""
    return delta < 0 if direction == "higher" else delta > 0
