"""Times of a schedule: cron's five fields in an IANA time zone, as moments in UTC.

cronsim decides what a field means and what happens when clocks change: a time that does not exist
moves to the next one that does, and a time that exists twice is used once, the first time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

ALIASES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
FIELDS: Final = 5
NO_ZONES: Final = frozenset({"localtime", "posixrules", "Factory"})
"""Files beside those of zones. What they mean depends on the machine."""
COUNTED: Final = 100
"""Missed slots beyond this number are not counted."""

_SINGLE_STEP = re.compile(r"(^|,)\w+/")
_LOOKBACKS = tuple(timedelta(days=days) for days in (1 / 24, 1, 32, 366, 5 * 366))


class ScheduleError(ValueError):
    """A schedule that names no times; `reason` is one word for programs."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Due:
    """SlotOutcome that are due.

    Attributes:
        last: The last of them.
        before: How many there are before it; at most `COUNTED` are counted.
    """

    last: datetime
    before: int


@dataclass(frozen=True)
class Cron:
    """The slots of a schedule; `parse` makes it."""

    expression: str
    zone: ZoneInfo

    def next(self, after: datetime) -> datetime | None:
        """Return the first slot after a moment, in UTC; None if there is none for 50 years."""
        after = after.astimezone(UTC)
        found = self._next(after, after)
        change = None if found is None else self._change(after - timedelta(hours=1), found)
        if found is None or change is None:
            return found
        # If clocks change by half an hour, cronsim may step over slots of the next full hour.
        minutes = 60 - change.astimezone(self.zone).minute
        other = self._next(change + timedelta(minutes=minutes, seconds=-1), after)
        return found if other is None else min(found, other)

    def due(self, after: datetime, until: datetime) -> Due | None:
        """Return the slots after one moment and up to another, or None if there is none."""
        count, last, slot = 0, None, self.next(after)
        while slot is not None and slot <= until:
            count, last = count + 1, slot
            if count > COUNTED:
                last = self._last(after, until)
                break
            slot = self.next(slot)
        return None if last is None else Due(last, min(count - 1, COUNTED))

    def _last(self, after: datetime, until: datetime) -> datetime:
        """Return the last of many slots without a walk over all of them."""
        for lookback in _LOOKBACKS:
            last, slot = None, self.next(max(after, until - lookback))
            while slot is not None and slot <= until:
                last, slot = slot, self.next(slot)
            if last is not None:
                return last
        raise AssertionError("a hundred slots in the time, and none in its last five years")

    def _next(self, start: datetime, after: datetime) -> datetime | None:
        """Return what cronsim gives from `start` on, the first after another moment.

        In the second of two equal hours it goes on from the clock on the wall, so it may give slots
        of the first again.
        """
        for slot in CronSim(self.expression, start.astimezone(self.zone)):
            moment = slot.astimezone(UTC)
            if moment > after:
                return moment
        return None

    def _change(self, low: datetime, high: datetime) -> datetime | None:
        """Return the second at which the zone's offset is that of `high` first, if it changes."""
        before = low.astimezone(self.zone).utcoffset()
        if high.astimezone(self.zone).utcoffset() == before:
            return None
        while high - low > timedelta(seconds=1):
            middle = low + (high - low) / 2
            if middle.astimezone(self.zone).utcoffset() == before:
                low = middle
            else:
                high = middle
        return high.replace(microsecond=0)


@lru_cache(maxsize=1024)
def parse(schedule: str, time_zone: str) -> Cron:
    """Return the slots of `schedule`.

    Raises:
        ScheduleError: Its reason is `InvalidSchedule`, `UnknownTimeZone` or `NeverFires`.
    """
    expression = ALIASES.get(schedule, schedule).strip()
    parts = expression.split()
    if len(parts) != FIELDS:
        raise ScheduleError(
            "InvalidSchedule",
            f"spec.schedule {schedule!r} has {len(parts)} fields, not the five minute, hour, day "
            f"of month, month and day of week; or use one of {', '.join(ALIASES)}",
        )
    if any(_SINGLE_STEP.search(part) for part in parts):
        raise ScheduleError(
            "InvalidSchedule",
            f"spec.schedule {schedule!r} has a step after a single value; write a range, such as "
            "0-59/15, or */15",
        )
    try:
        zone = ZoneInfo("" if time_zone in NO_ZONES else time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ScheduleError(
            "UnknownTimeZone",
            f"spec.timeZone {time_zone!r} is not known here; use an IANA name, such as UTC or "
            "Europe/Berlin",
        ) from error
    cron = Cron(expression, zone)
    try:
        first = cron.next(datetime(2024, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        raise ScheduleError("InvalidSchedule", f"spec.schedule {schedule!r}: {error}") from error
    if first is None:
        raise ScheduleError("NeverFires", f"spec.schedule {schedule!r} names no day that exists")
    return cron
