"""File systems behind URLs, with failures in words that a person can act on.

Each library raises different errors, and some say too little or, with a URL, too much. A call is
bounded in time (`s3`); callers that can wait longer for a server ask again (`patiently`).
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from typing import Any, TypeVar

import fsspec

from fulcrum_pipelines.errors import CorruptError, InfrastructureError

S3 = ("s3", "s3a")
BUCKETS = frozenset((*S3, "gs", "gcs", "abfs", "abfss", "az"))
"""Protocols whose first path component is a bucket, which we use and never make."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 10.0
LONGEST_REASON = 300

SECRETS = re.compile(r"SECRET|TOKEN|PASSWORD|KEY$", re.IGNORECASE)
USER_INFO = re.compile(r"(?<=://)[^/@\s\"']*@")
QUERY = re.compile(r"\?[^\s\"'=]+=[^\s\"']*")  # a lone question mark is a pattern of names

NO_BUCKET = frozenset(("NoSuchBucket",))
DENIED = frozenset(("AccessDenied", "AllAccessDisabled", "ExpiredToken", "Forbidden", "403",
                    "InvalidAccessKeyId", "InvalidToken", "PermissionError",
                    "SignatureDoesNotMatch"))  # fmt: skip
TAKEN = frozenset(("412", "FileExistsError", "PreconditionFailed"))
NO_CREDENTIALS = frozenset(("CredentialRetrievalError", "NoCredentialsError",
                            "PartialCredentialsError"))  # fmt: skip
UNTRUSTED = frozenset(("SSLError", "SSLCertVerificationError", "ClientConnectorCertificateError"))
DAMAGED = frozenset(("ChecksumError", "FlexibleChecksumError"))
BUSY = frozenset(("500", "502", "503", "504", "ConditionalRequestConflict", "InternalError",
                  "OperationAborted",
                  "RequestTimeout", "ServiceUnavailable", "SlowDown", "Throttling"))  # fmt: skip
SILENT = frozenset(("ClientPayloadError", "ConnectTimeoutError", "ConnectionClosedError",
                    "ConnectionError", "EndpointConnectionError", "FSTimeoutError",
                    "HTTPClientError", "IncompleteRead", "ReadTimeoutError",
                    "ResponseParserError", "TimeoutError"))  # fmt: skip

T = TypeVar("T")


class UnreachableError(InfrastructureError):
    """The server gave no answer, or one that it is busy; asking again may help."""


def open_url(url: str) -> tuple[Any, str]:
    """Return the file system of `url` and the path on it.

    Raises:
        ValueError: The protocol is unknown, or the URL names no bucket or has credentials in it.
        ImportError: The package for the protocol is not installed.
    """
    protocol, remote, rest = url.partition("://")
    if protocol not in BUCKETS or not remote:
        filesystem, path = fsspec.core.url_to_fs(url)
        return filesystem, str(path)
    bucket = rest.partition("/")[0]
    if not bucket or ("@" in bucket and protocol in S3):
        message = "no bucket" if not bucket else "credentials, which belong into the environment"
        raise ValueError(f"the URL has {message}; expected {protocol}://<bucket>/<path>")
    kind = fsspec.get_filesystem_class(protocol)
    if kind.__module__.startswith("s3fs."):
        from fulcrum_pipelines.storage.s3 import BoundedS3 as kind  # noqa: N813
    filesystem = kind() if protocol in S3 else fsspec.core.url_to_fs(url)[0]
    return filesystem, str(kind._strip_protocol(url))


def patiently(act: Callable[[], T], patience_s: float) -> T:
    """Return what `act` returns, asking again for `patience_s` where the server does not answer.

    Raises:
        UnreachableError: It did not in all that time.
    """
    until_s, pause_s = time.monotonic() + patience_s, FIRST_PAUSE_S
    while True:
        try:
            return act()
        except UnreachableError:
            if time.monotonic() + pause_s > until_s:
                raise
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def explain(error: Exception, what: str, url: str, filesystem: Any = None) -> InfrastructureError:
    """Return the `error` of a file system in words for the person who set it up.

    Args:
        error: What was raised.
        what: What failed, such as "cannot read runs/x/plan.json".
        url: Of the store or the file, for the message.
        filesystem: That of `url`, which knows its server.
    """
    signs, reason = _signs(error), without_secrets(_reason(error))
    server = _server(filesystem)
    kind: type[InfrastructureError] = InfrastructureError
    if signs & NO_BUCKET:
        bucket = url.partition("://")[2].partition("/")[0]
        why = f"there is no bucket '{bucket}'{server}; make it, or correct the URL"
    elif signs & NO_CREDENTIALS:
        why = (
            f"there are no credentials ({reason}); set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or let the service account have a role"
        )
    elif signs & DENIED:
        why = f"access was denied{server} ({reason}); give credentials with this right"
    elif signs & DAMAGED:  # by the server's own checksum
        kind, why = CorruptError, f"it is not what was written ({reason})"
    elif signs & UNTRUSTED:
        why = f"no secure connection{server} ({reason}); AWS_CA_BUNDLE names who is trusted"
    elif signs & BUSY:
        kind, why = UnreachableError, f"the server{server} failed or is busy ({reason})"
    elif signs & SILENT:
        kind = UnreachableError
        why = f"no answer{server} ({reason}); is the server up, and AWS_ENDPOINT_URL_S3 right?"
    else:
        why = reason
    return kind(f"{what}: {why}", where=without_secrets(url))


def without_secrets(text: str) -> str:
    """Return `text` without what is secret in the environment or in a URL in it."""
    for name, value in os.environ.items():
        if len(value) >= 8 and SECRETS.search(name) and "/" not in value[:1]:
            text = text.replace(value, "***")
    return QUERY.sub("", USER_INFO.sub("", text))


def is_missing(error: Exception) -> bool:
    """Whether `error` says that a file is not there, and not that its bucket is not."""
    return isinstance(error, FileNotFoundError) and not _signs(error) & NO_BUCKET


def is_taken(error: Exception) -> bool:
    """Return whether `error` says that the file to create exists already."""
    return bool(_signs(error) & TAKEN)


def _signs(error: BaseException) -> set[str]:
    """Return the names of the error's classes and its codes; s3fs keeps the latter in the cause."""
    found = {each.__name__ for each in type(error).__mro__}
    for source in (error, error.__cause__):
        response = getattr(source, "response", None)
        if isinstance(response, dict):
            status = (response.get("ResponseMetadata") or {}).get("HTTPStatusCode")
            found |= {str((response.get("Error") or {}).get("Code")), str(status)}
    return found


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:LONGEST_REASON].removesuffix(": ")


def _server(filesystem: Any) -> str:
    """Return ` at <address>` where it is known which server a file system talks to."""
    meta = getattr(getattr(filesystem, "_s3", None), "meta", None)
    address = getattr(meta, "endpoint_url", None)
    return f" at {without_secrets(str(address))}" if address else ""
