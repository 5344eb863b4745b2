"""Addresses of a job hold the dates of its slot."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from fulcrum_operator.scheduling.placeholders import PlaceholderError, resolve

BERLIN = ZoneInfo("Europe/Berlin")
SLOT = datetime(2026, 3, 29, 22, 30, tzinfo=UTC)  # the 30th, 0:30, one day after a day of 23 hours


def filled(address: str, slot: datetime = SLOT) -> str:
    found: dict[str, Any] = resolve({"data": {"test": {"uri": address}}}, slot, BERLIN)
    return str(found["data"]["test"]["uri"])


ADDRESSES = {
    "day": ("s3://b/{slot:%Y-%m-%d}.csv", "s3://b/2026-03-30.csv"),
    "folders": ("d/{slot:%Y/%m/%d}/x.npz", "d/2026/03/30/x.npz"),
    "yesterday": ("{slot-1d:%Y%m%d}.npz", "20260329.npz"),
    "tomorrow": ("{slot+1d:%d}.npz", "31.npz"),
    "an hour before": ("{slot-1h:%Y-%m-%dT%H}.npz", "2026-03-29T23.npz"),
    "a day of 23 hours is a day": ("{slot-2d:%dT%H%M}.npz", "28T0030.npz"),
    "24 hours over it are not": ("{slot-48h:%dT%H%M}.npz", "27T2330.npz"),
    "weeks": ("{slot-1w:%G-W%V-%u}.csv", "2026-W13-1.csv"),
    "twice": ("{slot:%Y}/{slot-1d:%d}", "2026/29"),
    "day of the year": ("{slot:%j}", "089"),
    "a glob": ("{slot:%Y}/*.parquet", "2026/*.parquet"),
    "text in between": ("{slot:day_%d%%}", "day_30%"),
    "other braces": ("{model}.csv", "{model}.csv"),
    "none": ("plain.csv", "plain.csv"),
}


@pytest.mark.parametrize("name", ADDRESSES)
def test_dates_are_those_of_the_schedules_zone(name: str) -> None:
    address, expected = ADDRESSES[name]
    assert filled(address) == expected


def test_a_window_becomes_a_list_the_oldest_first() -> None:
    given = {
        "uris": ["old.parquet", "s3://b/{slots:1d*4:%Y-%m-%d}/*.parquet", "{slots:6h*2:%dT%H}"]
    }
    assert resolve(given, SLOT, BERLIN)["uris"] == [
        "old.parquet",
        *(f"s3://b/2026-03-{day}/*.parquet" for day in (27, 28, 29, 30)),
        "29T18",
        "30T00",
    ]


def test_a_window_may_end_before_the_slot() -> None:
    given = {"uris": ["{slots-1d:1d*2:%m-%d}", "{slots-1w:1w*2:%m-%d}", "{slots-48h:1d*2:%dT%H}"]}
    assert resolve(given, SLOT, BERLIN)["uris"] == [
        *("03-28", "03-29"),
        *("03-16", "03-23"),
        *("26T23", "27T23"),
    ]


def test_only_addresses_and_arguments_are_filled() -> None:
    given = {
        "data": {
            "train": {"uri": "f.py", "arguments": {"day": "{slot:%d}"}, "target": "{slot:%d}"},
            "test": {"uri": "x.npy", "targetUri": "{slot:%d}.npy", "skip": 3},
        },
        "gates": [{"name": "{slot:%d}"}],
    }
    found = resolve(given, SLOT, BERLIN)
    assert found["data"]["train"]["arguments"] == {"day": "30"}
    assert found["data"]["train"]["target"] == "{slot:%d}"
    assert found["data"]["test"] == {"uri": "x.npy", "targetUri": "30.npy", "skip": 3}
    assert found["gates"] == given["gates"]


MALFORMED = {
    "no format": "{slot}",
    "unit of months": "{slot-1m:%Y}",
    "no number": "{slot-d:%Y}",
    "not closed": "{slot:%Y",
    "a window in one address": "{slots:1d*2:%d}",
    "locale": "{slot:%c}",
    "seconds": "{slot:%s}",
    "percent at the end": "{slot:%Y%}",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_means_nothing_is_refused(name: str) -> None:
    with pytest.raises(PlaceholderError):
        filled(MALFORMED[name])


def test_a_date_before_all_years_is_refused() -> None:
    with pytest.raises(PlaceholderError, match="no date"):
        filled("{slot-9999w:%Y}", datetime(100, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    "window", ["{slots:0d*3:%d}", "{slots:1d*0:%d}", "{slots:1d*2:%d}{slots:1d*2:%d}"]
)
def test_windows_of_nothing_are_refused(window: str) -> None:
    with pytest.raises(PlaceholderError):
        resolve({"uris": [window]}, SLOT, BERLIN)
