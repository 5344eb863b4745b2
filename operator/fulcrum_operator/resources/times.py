"""Moments as the API server writes them: RFC 3339, UTC, whole seconds."""

from __future__ import annotations

from datetime import UTC, datetime

FORMAT = "%Y-%m-%dT%H:%M:%SZ"


def read_time(text: str) -> datetime:
    """Return the moment in `text`; fractions of a second are kept."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)


def write_time(moment: datetime) -> str:
    """Return `moment` as text."""
    return moment.astimezone(UTC).strftime(FORMAT)


def seconds_since(text: str, now: datetime) -> float:
    """Return how long ago the moment in `text` was; negative where it is to come."""
    return (now - read_time(text)).total_seconds()
