"""Dates of a slot in addresses: `{slot:%Y-%m-%d}`, `{slot-1d:%Y/%m/%d}`, `{slots:1d*28:%Y-%m-%d}`.

The last is a window of 28 days that ends with the slot's, `{slots-1d:1d*28:…}` the day before.

They are resolved when a job is created, so that its specification says what it reads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

ADDRESSES: Final = frozenset({"uri", "targetUri"})
"""Fields with an address, anywhere in a job's specification; `uris` has a list of them."""
ARGUMENTS: Final = "arguments"
"""Field with the arguments of a function that gives data."""
DIRECTIVES: Final = "YmdHMjGVuy%"

_ONE = re.compile(r"\{slot(?:([+-]\d{1,4})([hdw]))?:([^{}]*)\}")
_MANY = re.compile(r"\{slots(?:([+-]\d{1,4})([hdw]))?:(\d{1,4})([hdw])\*(\d{1,4}):([^{}]*)\}")
_UNITS: Final = {"h": "hours", "d": "days", "w": "weeks"}
_DIRECTIVE = re.compile(r"%(.?)")


class PlaceholderError(ValueError):
    """A placeholder that means nothing."""


def resolve(value: Any, slot: datetime, zone: ZoneInfo) -> Any:
    """Return a job's specification with the dates of `slot` in its addresses.

    Days and weeks are those of the calendar of `zone`, whatever its clock does; hours are 60
    minutes each.

    Raises:
        PlaceholderError: A placeholder is malformed, or one of several dates stands where one
            address is needed.
    """
    return _walk(value, "", slot, zone)


def _walk(value: Any, field: str, slot: datetime, zone: ZoneInfo) -> Any:
    if isinstance(value, Mapping):
        every = field == ARGUMENTS
        return {n: _walk(each, "uri" if every else n, slot, zone) for n, each in value.items()}
    if isinstance(value, list):
        if field == "uris":
            return [one for each in value for one in _expanded(str(each), slot, zone)]
        return [_walk(each, field, slot, zone) for each in value]
    return _one(value, slot, zone) if isinstance(value, str) and field in ADDRESSES else value


def _expanded(address: str, slot: datetime, zone: ZoneInfo) -> list[str]:
    """Return the addresses that an item of a list stands for, the oldest first."""
    found = _MANY.findall(address)
    if not found:
        return [_one(address, slot, zone)]
    if len(found) > 1:
        raise PlaceholderError(f"{address!r} has several windows {{slots:…}}; one is possible")
    by, of, step, unit, count, form = found[0]
    last = _moved(slot, int(by or 0), of or "d", zone)
    if not int(step) or not int(count):
        raise PlaceholderError(f"{address!r}: step and number of a window must be above 0")
    dates = [
        _format(_moved(last, -int(step) * back, unit, zone), form, address)
        for back in reversed(range(int(count)))
    ]
    before, *_, after = _MANY.split(address)
    return [_one(f"{before}{date}{after}", slot, zone) for date in dates]


def _one(address: str, slot: datetime, zone: ZoneInfo) -> str:
    if _MANY.search(address):
        raise PlaceholderError(f"{address!r}: a window {{slots:…}} is possible in a list uris only")

    def date(found: re.Match[str]) -> str:
        by, unit, form = found.groups()
        return _format(_moved(slot, int(by or 0), unit or "d", zone), form, address)

    filled = _ONE.sub(date, address)
    if "{slot" in filled:
        raise PlaceholderError(
            f"{address!r} has a malformed placeholder; write such as {{slot:%Y-%m-%d}}, "
            "{slot-1d:%Y/%m/%d} or, in a list uris, {slots:1d*28:%Y-%m-%d}"
        )
    return filled


def _moved(moment: datetime, by: int, unit: str, zone: ZoneInfo) -> datetime:
    """Return the moment so much later, on the zone's clock."""
    step, local = timedelta(**{_UNITS[unit]: by}), moment.astimezone(zone)
    try:
        if unit == "h":
            return (local.astimezone(UTC) + step).astimezone(zone)
        return local + step  # by the calendar: Python adds on the clock of the wall
    except OverflowError as error:
        raise PlaceholderError(f"{by}{unit} from {moment.astimezone(UTC)} is no date") from error


def _format(moment: datetime, form: str, address: str) -> str:
    wrong = [found for found in _DIRECTIVE.findall(form) if not found or found not in DIRECTIVES]
    if wrong:
        known = ", ".join(f"%{each}" for each in DIRECTIVES)
        raise PlaceholderError(f"{address!r}: %{wrong[0]} is not one of {known}")
    return moment.strftime(form)
