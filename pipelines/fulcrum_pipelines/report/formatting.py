"""How numbers become text, in one place, so that the page, its plots and the terminal agree.

Every function takes None for a figure that was not measured and says so: a blank or a zero would
be read as a result. Signs are typographic (U+2212) and units are held by no-break spaces.
"""

from __future__ import annotations

import math

from fulcrum_pipelines.evidence import Interval, RatioInterval

NOT_MEASURED = "not measured"
NOT_RECORDED = "not recorded"
SPACE = "\u00a0"
MINUS = "\u2212"
_MOST_DECIMALS = 9
_LARGEST = 1e15
_BYTE_UNITS = ("B", "kB", "MB", "GB", "TB")


def fixed(value: float | None, decimals: int, *, sign: bool = False) -> str:
    """Return `value` with a fixed number of decimals and grouped thousands; zero has no sign.

    If that would be a row of zeros or digits, it is written with an exponent.
    """
    if value is None:
        return NOT_MEASURED
    if decimals > _MOST_DECIMALS or abs(value) >= _LARGEST:
        text = f"{abs(value):.3g}".replace("e-", f"e{MINUS}")
    else:
        text = f"{abs(value):,.{decimals}f}"
    if not any(digit in "123456789" for digit in text):
        return text
    return f"{MINUS if value < 0 else '+' if sign else ''}{text}"


def decimals_for(value: float, significant: int = 4) -> int:
    """Return the decimals that show `significant` digits of `value`; 4 for zero."""
    if value == 0:
        return 4
    return max(0, significant - 1 - math.floor(math.log10(abs(value))))


def number(value: float | None, significant: int = 4, *, sign: bool = False) -> str:
    """Return `value` with `significant` digits."""
    if value is None:
        return NOT_MEASURED
    return fixed(value, decimals_for(value, significant), sign=sign)


def count(value: float | None) -> str:
    """Return a whole number with grouped thousands."""
    return fixed(value, 0)


def percent(share: float | None, decimals: int = 2, *, sign: bool = False) -> str:
    """Return a share (1 is all) as per cent."""
    if share is None:
        return NOT_MEASURED
    return f"{fixed(100 * share, decimals, sign=sign)}{SPACE}%"


def points(delta: float | None, decimals: int = 2) -> str:
    """Return a difference of two shares in percentage points."""
    if delta is None:
        return NOT_MEASURED
    return f"{fixed(100 * delta, decimals, sign=True)}{SPACE}points"


def relative_change(before: float | None, after: float | None) -> str:
    """Return after / before - 1 as signed per cent; "" where it has no meaning."""
    if before is None or after is None or before == 0:
        return ""
    change = after / before - 1
    return percent(change, 1 if abs(change) < 0.0995 else 0, sign=True)


def span(interval: Interval | None, decimals: int, *, scale: float = 1, sign: bool = True) -> str:
    """Return an interval's ends, multiplied by `scale`, as [low, high]."""
    if interval is None:
        return "no interval"
    low, high = (fixed(scale * end, decimals, sign=sign) for end in (interval.low, interval.high))
    return f"[{low},{SPACE}{high}]"


def level(interval: Interval | None) -> str:
    """Return an interval's confidence, e.g. "95 %"; "" without an interval."""
    return "" if interval is None else f"{100 * interval.level:g}{SPACE}%"


def factor(value: float | None) -> str:
    """Return a ratio as ×5.80, with three digits."""
    return NOT_MEASURED if value is None else f"×{fixed(value, decimals_for(value, 3))}"


def ratio(measured: RatioInterval | None) -> str:
    """Return a ratio with its interval, e.g. ×5.80 [5.66, 5.95]."""
    if measured is None:
        return NOT_MEASURED
    decimals = decimals_for(measured.ratio, 3)
    return f"{factor(measured.ratio)} {span(measured.interval, decimals, sign=False)}"


def byte_size(value: float | None) -> str:
    """Return bytes in decimal units with three digits."""
    if value is None:
        return NOT_MEASURED
    power = min(len(_BYTE_UNITS) - 1, int(math.log10(abs(value)) / 3) if abs(value) >= 1 else 0)
    scaled = value / 1000**power
    text = fixed(scaled, 0 if power == 0 else decimals_for(scaled, 3))
    return f"{text}{SPACE}{_BYTE_UNITS[power]}"


def short_count(value: float | None) -> str:
    """Return a large count with three digits and k, M, G or T."""
    if value is None:
        return NOT_MEASURED
    if abs(value) < 10_000:
        return count(value)
    power = min(4, int(math.log10(abs(value)) / 3))
    scaled = value / 1000**power
    return f"{fixed(scaled, decimals_for(scaled, 3))}{SPACE}{('', 'k', 'M', 'G', 'T')[power]}"


def milliseconds(value: float | None) -> str:
    """Return milliseconds with three digits."""
    return NOT_MEASURED if value is None else f"{number(value, 3)}{SPACE}ms"


def duration(seconds: float | None) -> str:
    """Return seconds as a person would say them."""
    if seconds is None:
        return NOT_MEASURED
    if seconds < 60:
        return f"{fixed(seconds, 1)}{SPACE}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}{SPACE}min {whole % 60}{SPACE}s"
    return f"{whole // 3600}{SPACE}h {whole % 3600 // 60}{SPACE}min"


def short_digest(digest: str) -> str:
    """Return the first digits of a digest, enough to distinguish two by eye."""
    return digest.removeprefix("sha256:")[:12]
