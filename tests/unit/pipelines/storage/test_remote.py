"""Errors of file systems become words and a class; who has time asks again; secrets do not show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    FlexibleChecksumError,
    NoCredentialsError,
    SSLError,
)
from s3fs.errors import translate_boto_error

from fulcrum_pipelines.errors import CorruptError, InfrastructureError
from fulcrum_pipelines.storage import remote
from fulcrum_pipelines.storage.remote import (
    UnreachableError,
    explain,
    is_missing,
    open_url,
    patiently,
    without_secrets,
)

URL = "s3://models/store"


def answered(code: str, status: int, message: str = "") -> Exception:
    """Return what s3fs makes of a server's answer."""
    response = {
        "Error": {"Code": code, "Message": message or code},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return translate_boto_error(ClientError(response, "GetObject"))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Case:
    """An error, the class that it becomes, and what is said of it."""

    name: str
    error: Exception
    kind: type[InfrastructureError]
    words: str


CASES = (
    Case("busy", answered("SlowDown", 503, "reduce your request rate"), UnreachableError,
         "failed or is busy (OSError: [Errno 16] reduce your request rate)"),
    Case("broken", answered("InternalError", 500), UnreachableError, "failed or is busy"),
    Case("gateway", answered("502", 502), UnreachableError, "failed or is busy"),
    Case("time-out", ConnectTimeoutError(endpoint_url="http://s3"), UnreachableError, "no answer"),
    Case("reset", ConnectionResetError("reset by peer"), UnreachableError, "no answer"),
    Case("silence", TimeoutError(), UnreachableError, "no answer (TimeoutError); is the server up"),
    Case("bucket", answered("NoSuchBucket", 404), InfrastructureError,
         "there is no bucket 'models'"),
    Case("denied", answered("AccessDenied", 403), InfrastructureError, "access was denied"),
    Case("expired", answered("ExpiredToken", 400), InfrastructureError, "access was denied"),
    Case("no-keys", NoCredentialsError(), InfrastructureError, "there are no credentials"),
    Case("authority", SSLError(endpoint_url="https://s3", error="self-signed"), InfrastructureError,
         "no secure connection"),
    Case("damage", FlexibleChecksumError(error_msg="expected a, found b"), CorruptError,
         "it is not what was written (FlexibleChecksumError: expected a, found b)"),
    Case("quota", answered("QuotaExceeded", 409, "the bucket is full"), InfrastructureError,
         "the bucket is full"),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda each: each.name)
def test_error_is_explained(case: Case) -> None:
    found = explain(case.error, "cannot read a.json", URL)
    assert type(found) is case.kind
    assert str(found).startswith(f"{URL}: cannot read a.json: ")
    assert case.words in str(found)


def test_missing_file_is_not_a_missing_bucket() -> None:
    assert is_missing(answered("NoSuchKey", 404))
    assert is_missing(FileNotFoundError("a"))
    assert not is_missing(answered("NoSuchBucket", 404))
    assert not is_missing(answered("AccessDenied", 403))


def test_secrets_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "FQoGZXIvYXdzEBYaD")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/secrets/token")
    text = (
        "FQoGZXIvYXdzEBYaD of https://ann:open-sesame@s3/b?X-Amz-Signature=0123 "
        "with wJalrXUtnFEMI/K7MDENG from /var/run/secrets/token"
    )
    assert without_secrets("no file matches 's3://b/part-?.csv'").endswith("part-?.csv'")
    assert without_secrets(text) == "*** of https://s3/b with *** from /var/run/secrets/token"


@dataclass
class Clock:
    """Time that passes only during `sleep`."""

    now_s: float = 0.0

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(remote.time, "sleep", made.sleep)
    monkeypatch.setattr(remote.time, "monotonic", lambda: made.now_s)
    return made


def failing(clock: Clock, until_s: float, error: Exception) -> Callable[[], float]:
    def act() -> float:
        if clock.now_s < until_s:
            raise error
        return clock.now_s

    return act


def test_patience_outlasts_an_outage(clock: Clock) -> None:
    assert patiently(failing(clock, 60, UnreachableError("away")), 180) < 71


def test_patience_is_bounded(clock: Clock) -> None:
    with pytest.raises(UnreachableError):
        patiently(failing(clock, 1e9, UnreachableError("away")), 180)
    assert 169 < clock.now_s <= 180


def test_patience_is_only_for_silence(clock: Clock) -> None:
    with pytest.raises(InfrastructureError):
        patiently(failing(clock, 60, InfrastructureError("denied")), 180)
    assert clock.now_s == 0


@pytest.mark.parametrize("url", ["s3://", "gs:///path", "s3://key:secret@bucket/path"])
def test_url_without_a_bucket_or_with_credentials_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"the URL has (no bucket|credentials)") as caught:
        open_url(url)
    assert "secret" not in str(caught.value)
