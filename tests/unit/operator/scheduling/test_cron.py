"""Slots are right on both sides of every change of a clock, and found without a walk over years."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from fulcrum_operator.scheduling.cron import COUNTED, ScheduleError, parse


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@dataclass(frozen=True)
class Case:
    """Slots of a schedule after a moment, in UTC."""

    name: str
    schedule: str
    zone: str
    after: str
    slots: tuple[str, ...]


CASES = (
    Case("UTC", "0 2 * * *", "UTC", "2026-11-28T02:00", ("2026-11-29T02:00", "2026-11-30T02:00")),
    Case("into a gap", "30 2 * * *", "Europe/Berlin", "2026-03-28T12:00",
         ("2026-03-29T01:00", "2026-03-30T00:30")),
    Case("once in an hour that is twice", "30 2 * * *", "Europe/Berlin", "2026-10-24T12:00",
         ("2026-10-25T00:30", "2026-10-26T01:30")),
    Case("asked in the second of two hours", "30 2 * * *", "Europe/Berlin", "2026-10-25T01:10",
         ("2026-10-26T01:30",)),
    Case("each hour of a day with 25", "0 * * * *", "Europe/Berlin", "2026-10-24T23:30",
         ("2026-10-25T00:00", "2026-10-25T01:00", "2026-10-25T02:00")),
    Case("each hour of a day with 23", "0 * * * *", "Europe/Berlin", "2026-03-28T23:30",
         ("2026-03-29T00:00", "2026-03-29T01:00", "2026-03-29T02:00")),
    Case("half an hour back", "45 1 * * *", "Australia/Lord_Howe", "2026-04-04T00:00",
         ("2026-04-04T14:45", "2026-04-05T15:15")),
    Case("hours over half an hour forth", "15 */3 * * *", "Australia/Lord_Howe",
         "2026-10-03T13:45", ("2026-10-03T16:15", "2026-10-03T19:15")),
    Case("half an hour forth", "15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00",
         ("2026-10-03T15:30", "2026-10-04T15:15")),
    Case("a day that a zone skipped", "0 12 * * *", "Pacific/Apia", "2011-12-29T00:00",
         ("2011-12-29T22:00", "2011-12-30T10:00", "2011-12-30T22:00")),
    Case("minutes of 45", "0 0 * * *", "Asia/Kathmandu", "2026-01-01T00:00",
         ("2026-01-01T18:15",)),
    Case("daily", "@daily", "America/New_York", "2026-07-01T00:00", ("2026-07-01T04:00",)),
    Case("leap day", "0 0 29 2 *", "UTC", "2026-01-01T00:00", ("2028-02-29T00:00",)),
    Case("names", "0 9 * JAN MON-FRI", "UTC", "2026-01-02T10:00", ("2026-01-05T09:00",)),
    Case("sunday is 0 and 7", "0 0 * * 7", "UTC", "2026-11-28T00:00", ("2026-11-29T00:00",)),
    Case("spaces", " 0   2 * * * ", "UTC", "2026-11-28T02:00", ("2026-11-29T02:00",)),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_slots_follow_the_zones_clock(case: Case) -> None:
    cron, after = parse(case.schedule, case.zone), utc(case.after)
    for expected in map(utc, case.slots):
        found = cron.next(after)
        assert found == expected
        assert cron.due(after, expected) is not None
        assert cron.due(after, expected - timedelta(seconds=1)) is None
        after = expected


CHANGES = ("2026-03-28T00:10", "2026-04-03T00:10", "2026-09-04T00:10", "2026-10-02T00:10")
"""Before the clocks of these zones change, and at no slot."""


@pytest.mark.parametrize("change", [*CHANGES, "2026-10-24T00:10"])
@pytest.mark.parametrize("zone", ["Europe/Berlin", "Australia/Lord_Howe", "America/Santiago"])
@pytest.mark.parametrize("schedule", ["30 2 * * *", "*/20 * * * *", "15 */3 * * *", "5 0-4 * * *"])
def test_slots_are_the_same_from_wherever_one_asks(schedule: str, zone: str, change: str) -> None:
    """A walk by cronsim itself may step over one right after a change by half an hour."""
    cron, start = parse(schedule, zone), utc(change)
    walk, end = set(), start + timedelta(days=3)
    for minutes in range(0, 2 * 24 * 60, 13):
        moment = start + timedelta(minutes=minutes)
        slot = cron.next(moment)
        assert slot is not None
        assert not any(moment < each < slot for each in walk)
        walk.add(slot)
    for slot in CronSim(schedule, start.astimezone(ZoneInfo(zone))):
        moment = slot.astimezone(UTC)
        if moment > end:
            break
        assert cron.next(moment - timedelta(seconds=1)) == moment
    asked, moment = set(), start
    while moment < start + timedelta(days=2):
        found = cron.next(moment)
        assert found is not None
        asked.add(found)
        moment = found
    assert {slot for slot in walk if slot <= moment} <= asked


SCHEDULES = ("* * * * *", "*/7 3 * * *", "0 0 * * 1", "0 12 1 * *", "30 2 * * *", "0 0 29 2 *")
MOMENTS = st.datetimes(datetime(2025, 1, 1), datetime(2027, 1, 1)).map(
    lambda moment: moment.replace(tzinfo=UTC, microsecond=0)
)


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from(SCHEDULES),
    st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe"]),
    MOMENTS,
    st.integers(0, 40 * 24 * 3600),
)
def test_due_is_what_a_walk_finds(schedule: str, zone: str, after: datetime, seconds: int) -> None:
    cron, until = parse(schedule, zone), after + timedelta(seconds=seconds)
    walked, moment = [], cron.next(after)
    while moment is not None and moment <= until and len(walked) < 150:
        walked.append(moment)
        moment = cron.next(moment)
    found = cron.due(after, until)
    if not walked:
        assert found is None
        return
    assert found is not None
    assert found.before == min(len(walked) - 1, COUNTED)
    if len(walked) < 150:
        assert found.last == walked[-1]
    else:
        following = cron.next(found.last)
        assert found.last <= until < (following or until)


def test_years_of_minutes_take_no_walk() -> None:
    cron = parse("* * * * *", "Europe/Berlin")
    found = cron.due(utc("1990-01-01T00:00"), utc("2026-11-28T02:30"))
    assert found is not None
    assert (found.last, found.before) == (utc("2026-11-28T02:30"), COUNTED)


REFUSED = {
    "six fields": ("0 0 0 * * *", "UTC", "InvalidSchedule", "6 fields"),
    "four fields": ("0 0 * *", "UTC", "InvalidSchedule", "4 fields"),
    "nothing": ("", "UTC", "InvalidSchedule", "0 fields"),
    "zone in the schedule": ("TZ=UTC 0 0 * * *", "UTC", "InvalidSchedule", "6 fields"),
    "reboot": ("@reboot", "UTC", "InvalidSchedule", "1 fields"),
    "interval": ("@every 5m", "UTC", "InvalidSchedule", "2 fields"),
    "step after a value": ("59/1 * * * *", "UTC", "InvalidSchedule", "0-59/15"),
    "step after a value in a list": ("0,5/10 * * * *", "UTC", "InvalidSchedule", "0-59/15"),
    "minute 60": ("60 * * * *", "UTC", "InvalidSchedule", "minute"),
    "step 0": ("*/0 * * * *", "UTC", "InvalidSchedule", "minute"),
    "backward range": ("5-3 * * * *", "UTC", "InvalidSchedule", "minute"),
    "day of week 8": ("0 0 * * 8", "UTC", "InvalidSchedule", "day-of-week"),
    "30 February": ("0 0 30 2 *", "UTC", "InvalidSchedule", "day"),
    "unknown zone": ("@daily", "Europe/Nowhere", "UnknownTimeZone", "IANA"),
    "a path": ("@daily", "../../etc/passwd", "UnknownTimeZone", "IANA"),
    "the machine's zone": ("@daily", "localtime", "UnknownTimeZone", "IANA"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_names_no_slots_says_why(name: str) -> None:
    schedule, zone, reason, words = REFUSED[name]
    with pytest.raises(ScheduleError, match=words) as caught:
        parse(schedule, zone)
    assert caught.value.reason == reason


def test_every_zone_of_the_package_is_known() -> None:
    """The image has no zones of a system."""
    from importlib.resources import files

    import tzdata.zoneinfo  # noqa: F401 - it is the package that is looked for

    names = files("tzdata").joinpath("zones").read_text().split()
    for name in itertools.islice(names, 0, None, 37):
        assert parse("@daily", name).next(utc("2026-01-01T00:00")) is not None
