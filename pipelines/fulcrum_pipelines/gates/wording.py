"""How the gates write numbers, so that one look at a reason is enough.

Shares are written as percentages and their differences as points, since people set margins so.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from fulcrum_pipelines.evidence import Interval
from fulcrum_pipelines.gates.verdict import Limit

Show = Callable[[float], str]


def number(value: float) -> str:
    """Return `value` with four significant digits."""
    return f"{value:.4g}"


def signed(value: float) -> str:
    """Return the change `value` with its sign."""
    return f"{value:+.4g}"


def percent(value: float) -> str:
    """Return the share `value` as a percentage."""
    return f"{100 * value:.2f} %"


def signed_percent(value: float) -> str:
    """Return the relative change `value` as a percentage with its sign."""
    return f"{100 * value:+.2f} %"


def points(value: float) -> str:
    """Return the difference of two shares in percentage points."""
    return f"{100 * value:+.2f} points"


def times(value: float) -> str:
    """Return the ratio `value` as a multiple."""
    return f"{value:.2f}x"


def bounds(interval: Interval, show: Show) -> str:
    """Return the interval with its confidence; a unit that both ends share is written once."""
    low, _, unit = show(interval.low).partition(" ")
    high = show(interval.high).removesuffix(f" {unit}")
    return f"{number(100 * interval.level)} % interval [{low}, {high}] {unit}".rstrip()


def limit(limit: Limit, show: Show) -> str:
    """Return what a limit asks for, to follow "must be"."""
    low, high = ("above", "below") if limit.strict else ("at least", "at most")
    parts = []
    if limit.minimum is not None:
        parts.append(f"{low} {show(limit.minimum)}")
    if limit.maximum is not None:
        parts.append(f"{high} {show(limit.maximum)}")
    return " and ".join(parts)


def about(count: float) -> str:
    """Return `count` rounded up to two significant digits."""
    if count > 1e9:
        return "more than a billion"
    step = 10 ** max(0, math.floor(math.log10(max(count, 1))) - 1)
    return f"about {math.ceil(count / step) * step:,}"
