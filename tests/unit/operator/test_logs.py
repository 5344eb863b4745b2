"""Every log line of every module names its job, and none holds a secret."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from fulcrum_operator import logs

KOPF_REFERENCE = {"name": "mnist", "namespace": "team", "uid": "3f9c", "kind": "CompressionJob"}


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Give the root logger and the tamed ones back as they were."""
    root = logging.getLogger()
    before = root.level, root.handlers[:]
    yield
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    for name in logs.CHATTY:
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def last(stream: io.StringIO) -> dict[str, object]:
    line = json.loads(stream.getvalue().splitlines()[-1])
    assert isinstance(line, dict)
    return line


def test_json_line_has_time_level_logger_and_message(stream: io.StringIO) -> None:
    logs.configure("json", "INFO", stream)
    logging.getLogger("fulcrum_operator.runtime.app").info("submitted %s", "run-1")
    line = last(stream)
    assert str(line.pop("time")).endswith("+00:00")
    assert line == {
        "level": "INFO",
        "logger": "fulcrum_operator.runtime.app",
        "message": "submitted run-1",
    }


def test_bound_fields_are_in_lines_of_any_library_and_only_inside(stream: io.StringIO) -> None:
    logs.configure("json", "INFO", stream)
    with logs.bind(job="mnist", namespace="team"), logs.bind(attempt=2):
        logging.getLogger("some.library").warning("slow")
        inner = last(stream)
    logging.getLogger("some.library").warning("slow")
    assert (inner["job"], inner["namespace"], inner["attempt"]) == ("mnist", "team", 2)
    assert "job" not in last(stream)


def test_tasks_do_not_see_each_others_fields(stream: io.StringIO) -> None:
    async def work(job: str) -> None:
        with logs.bind(job=job):
            await asyncio.sleep(0)
            logging.getLogger("work").info("on %s", job)

    async def scenario() -> None:
        await asyncio.gather(*(work(f"job-{number}") for number in range(5)))

    logs.configure("json", "INFO", stream)
    asyncio.run(scenario())
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(lines) == 5
    assert all(line["message"] == f"on {line['job']}" for line in lines)


def test_kopfs_lines_name_the_object_that_kopf_attached(stream: io.StringIO) -> None:
    logs.configure("json", "INFO", stream)
    logging.getLogger("kopf.objects").error("failed", extra={"k8s_ref": KOPF_REFERENCE})
    line = last(stream)
    assert (line["job"], line["namespace"], line["uid"]) == ("mnist", "team", "3f9c")


def test_exception_stays_on_the_line(stream: io.StringIO) -> None:
    logs.configure("json", "INFO", stream)
    try:
        raise ValueError("s3://user:geheim@store is away")
    except ValueError:
        logging.getLogger("app").exception("broke")
    assert len(stream.getvalue().splitlines()) == 1
    line = last(stream)
    assert "ValueError: s3://***@store is away" in str(line["exception"])
    assert "geheim" not in stream.getvalue()


def test_text_is_for_people(stream: io.StringIO) -> None:
    logs.configure("text", "INFO", stream)
    with logs.bind(job="mnist", attempt=1):
        logging.getLogger("app").info("at https://user:geheim@store/x")
    line = stream.getvalue()
    assert line.endswith(" INFO    app: at https://***@store/x job=mnist attempt=1\n")


def test_text_of_an_exception_follows_and_is_redacted(stream: io.StringIO) -> None:
    logs.configure("text", "INFO", stream)
    try:
        raise ValueError("https://user:geheim@store")
    except ValueError:
        logging.getLogger("app").exception("broke", stack_info=True)
    text = stream.getvalue()
    assert "ValueError: https://***@store" in text
    assert "Stack (most recent call last)" in text
    assert "geheim" not in text.replace('raise ValueError("https://user:geheim@store")', "")


def test_bound_secrets_are_redacted_too(stream: io.StringIO) -> None:
    logs.configure("json", "INFO", stream)
    with logs.bind(store="s3://key:geheim@host", error=ValueError("ftp://a:geheim@b")):
        logging.getLogger("app").info("reads")
    assert "geheim" not in stream.getvalue()


@dataclass(frozen=True)
class Loudness:
    name: str
    level: str
    heard: set[str]


@pytest.mark.parametrize(
    "row",
    [
        Loudness("libraries are quiet", "INFO", {"app"}),
        Loudness("for debugging all speak", "DEBUG", {"app", "kopf.objects", "aiohttp.access"}),
        Loudness("only errors", "ERROR", set()),
    ],
    ids=lambda row: row.name,
)
def test_who_is_heard(row: Loudness, stream: io.StringIO) -> None:
    logs.configure("json", row.level, stream)
    for name in ("app", "kopf.objects", "aiohttp.access"):
        logging.getLogger(name).info("something")
    assert {json.loads(line)["logger"] for line in stream.getvalue().splitlines()} == row.heard


def test_last_configuration_counts(stream: io.StringIO) -> None:
    first = io.StringIO()
    logs.configure("json", "DEBUG", first)
    logs.configure("json", "INFO", stream)
    logging.getLogger("kopf.objects").info("something")
    logging.getLogger("app").info("something")
    assert first.getvalue() == ""
    assert len(stream.getvalue().splitlines()) == 1


@dataclass(frozen=True)
class Redaction:
    name: str
    text: str
    expected: str


REDACTIONS = [
    Redaction("user and password", "s3://key:secret@host/b", "s3://***@host/b"),
    Redaction("token as user", "https://ghp_x@host/x", "https://***@host/x"),
    Redaction("twice", "a://u:p@h b://u:p@h", "a://***@h b://***@h"),
    Redaction("no credentials", "https://host/x?limit=5", "https://host/x?limit=5"),
    Redaction("mail address", "write to team@host", "write to team@host"),
    Redaction("digest in a path", "file:///a/b@sha256:12", "file:///a/b@sha256:12"),
    Redaction("bearer", "Authorization: Bearer abc.def-1", "Authorization: Bearer ***"),
    Redaction(
        "signed address",
        "https://h/x?X-Amz-Credential=AK/1&X-Amz-Date=20&X-Amz-Signature=ff",
        "https://h/x?X-Amz-Credential=***&X-Amz-Date=20&X-Amz-Signature=***",
    ),
    Redaction("shared key", "https://h/x?sp=r&sig=ab%3D", "https://h/x?sp=r&sig=***"),
]


@pytest.mark.parametrize("row", REDACTIONS, ids=lambda row: row.name)
def test_is_redacted(row: Redaction) -> None:
    assert logs.redact(row.text) == row.expected
