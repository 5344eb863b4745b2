"""One format for all log lines, with the job that they are about and without secrets.

Code that works on a job names it once, with `bind`; every line that is logged inside then has the
job, also lines of libraries. Lines are JSON for machines or text for people.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final, TextIO

from fulcrum_operator.kopf_internals import object_of
from fulcrum_pipelines.texts import one_line

CHATTY: Final = {
    "aiohttp.access": logging.WARNING,  # a line for each probe and each scrape
    "asyncio": logging.WARNING,
    "kopf": logging.WARNING,  # a line for each handler of each event
}
"""Libraries' loggers and the level from which on they are heard; DEBUG lets all of them speak."""

_HIDDEN: Final = r"\1***"
_SECRETS: Final = (
    re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/\s@'\"]+(?=@)", re.IGNORECASE),
    re.compile(r"(\b(?:Bearer|Basic)\s+)[A-Za-z0-9._~+/=-]+", re.IGNORECASE),
    re.compile(
        r"([?&][\w-]*(?:signature|credential|token|password|secret|key|sig)[\w-]*=)[^&\s'\"]+",
        re.IGNORECASE,
    ),
)

_bound: ContextVar[Mapping[str, object]] = ContextVar("bound", default=MappingProxyType({}))


@contextmanager
def bind(**fields: object) -> Iterator[None]:
    """Let every line that is logged inside carry `fields`, beside those bound around it.

    Tasks that are begun inside carry them as well. By custom they are `job`, `namespace`, `uid`
    and `attempt`.
    """
    token = _bound.set({**_bound.get(), **fields})
    try:
        yield
    finally:
        _bound.reset(token)


def redact(text: str) -> str:
    """Return `text` without user and password in URLs, signatures in queries, and tokens."""
    for secret in _SECRETS:
        text = secret.sub(_HIDDEN, text)
    return text


def configure(log_format: str, level: str, stream: TextIO) -> None:
    """Let the root logger write to `stream`, and nothing else write anything.

    Args:
        log_format: `json` or `text`.
        level: From which on lines are written: DEBUG, INFO, WARNING or ERROR.
        stream: The output.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name, least in CHATTY.items():
        logging.getLogger(name).setLevel(logging.NOTSET if level == "DEBUG" else least)


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        trace = _trace(self, record)
        if trace:
            line["exception"] = trace
        redacted = {name: _redacted(value) for name, value in line.items()}
        return json.dumps(redacted, ensure_ascii=False, default=lambda value: redact(str(value)))


class TextFormatter(logging.Formatter):
    """A line for people: time, level, logger, message, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and the lines of an exception below it."""
        fields = "".join(f" {name}={value}" for name, value in _fields(record).items())
        line = f"{_time(record)} {record.levelname:<7} {record.name}: {record.getMessage()}{fields}"
        trace = _trace(self, record)
        line = one_line(line)
        return redact(f"{line}\n{trace}" if trace else line)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _fields(record: logging.LogRecord) -> dict[str, object]:
    """Return what was bound, else the object that kopf attached to the record."""
    bound = _bound.get()
    if bound:
        return dict(bound)
    reference = object_of(record)
    named = {"job": "name", "namespace": "namespace", "uid": "uid"}
    return {field: reference[key] for field, key in named.items() if reference.get(key)}


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    parts = [
        formatter.formatException(record.exc_info) if record.exc_info else "",
        formatter.formatStack(record.stack_info) if record.stack_info else "",
    ]
    return "\n".join(part for part in parts if part)


def _redacted(value: object) -> object:
    return redact(value) if isinstance(value, str) else value
