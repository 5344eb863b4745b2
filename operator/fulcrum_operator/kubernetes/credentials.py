"""Where the API server is, and how this process proves who it is.

One value for our own calls and for the connections of kopf's watches (`watching`). It comes from
a kubeconfig or from the service account of the pod. Exec plugins are refused by name: they run
other people's programs, and a token does as well.
"""

from __future__ import annotations

import contextlib
import ssl
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fulcrum_pipelines.errors import UserError


@dataclass(frozen=True)
class Credentials:
    """All that is needed to talk to one API server.

    Attributes:
        server: Its URL.
        ca_pem: Certificates that its own is checked against; empty means the system's.
        insecure: Do not check its certificate at all.
        certificate_pem, key_pem: The client's certificate and key; both or none.
        token: A bearer token.
        token_path: A file with one; wins over `token`, and is read again when it changes.
        proxy_url: An HTTP proxy to go through.
        tls_server_name: The name that the server's certificate is checked for, where the URL's
            is another one.
        namespace: The one that commands mean where they name none.
    """

    server: str
    ca_pem: str = ""
    insecure: bool = False
    certificate_pem: str = field(default="", repr=False)
    key_pem: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    token_path: Path | None = None
    proxy_url: str = ""
    tls_server_name: str = ""
    namespace: str = "default"


class TokenSource:
    """The current bearer token; the kubelet replaces the file of a service account every hour."""

    def __init__(self, credentials: Credentials) -> None:
        self._token = credentials.token
        self._path = credentials.token_path
        self._version: tuple[int, int] | None = None

    def token(self) -> str:
        """Return it, empty where there is none.

        Raises:
            UserError: The file cannot be read.
        """
        if self._path is None:
            return self._token
        try:
            stat = self._path.stat()
            if (version := (stat.st_mtime_ns, stat.st_ino)) != self._version:
                self._token = self._path.read_text().strip()
                self._version = version
        except OSError as error:
            message = f"the token file cannot be read: {error.strerror or error}"
            raise UserError(message, where=str(self._path)) from error
        return self._token


def ssl_context(credentials: Credentials) -> ssl.SSLContext:
    """Return the TLS settings of `credentials`; an authority of their own replaces the system's.

    Raises:
        UserError: A certificate or key is not readable as PEM.
    """
    try:
        context = ssl.create_default_context(cadata=credentials.ca_pem or None)
        if credentials.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if credentials.certificate_pem:
            with _files(credentials.certificate_pem, credentials.key_pem) as (certificate, key):
                context.load_cert_chain(certificate, key)
    except (ssl.SSLError, ValueError) as error:
        message = f"the certificates for it cannot be used: {error}; they must be PEM"
        raise UserError(message, where=credentials.server) from error
    return context


@contextlib.contextmanager
def _files(*contents: str) -> Iterator[list[str]]:
    """Python's ssl reads a client certificate only from files; these live for a moment."""
    with contextlib.ExitStack() as stack:
        names = []
        for content in contents:
            file = stack.enter_context(tempfile.NamedTemporaryFile("w", suffix=".pem"))
            file.write(content)
            file.flush()
            names.append(file.name)
        yield names
