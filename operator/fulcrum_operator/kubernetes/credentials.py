"""Address of the API server, and credentials of this process.

One value for our own calls and for the connections of kopf's watches (`watching`). It comes from
the service account of the pod (`finding`) or from kubeconfig files (`kubeconfig`).
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fulcrum_pipelines.errors import UserError

RENEW_WITHIN_S = 60.0
"""Log in again this long before a token expires, so that no call arrives with an expired one."""
RENEW_SHARE = 0.2
"""At most this share of its life, so that a token of a minute is not renewed for every call."""


@dataclass(frozen=True)
class Grant:
    """Result of a login: a token, a client certificate with its key, or both.

    Attributes:
        token: A bearer token.
        certificate_pem, key_pem: The client's certificate and key; both or none.
        expires_s: Unix time; infinite if the login did not say.
    """

    token: str = field(default="", repr=False)
    certificate_pem: str = field(default="", repr=False)
    key_pem: str = field(default="", repr=False)
    expires_s: float = math.inf


class Login:
    """Logs in when first needed, and again before what it got expires.

    One login is shared by our own calls and the watches of a process, in several threads.

    Args:
        log_in: Returns what the server accepts; may take as long as a person needs.
        clock: Unix time in seconds.
    """

    def __init__(self, log_in: Callable[[], Grant], clock: Callable[[], float] = time.time) -> None:
        self._log_in = log_in
        self._clock = clock
        self._lock = threading.Lock()
        self._grant: Grant | None = None
        self._due_s = 0.0

    def current(self) -> Grant | None:
        """Return what is valid now, or None if a login is due. Never blocks."""
        grant = self._grant
        return grant if grant is not None and self._clock() < self._due_s else None

    def renew(self, refused: Grant | None = None) -> Grant:
        """Return what is valid now, and log in for it if necessary.

        Args:
            refused: What the server did not accept; if another thread has replaced it meanwhile,
                that one's is returned.

        Raises:
            UserError: The login failed.
        """
        with self._lock:
            grant = self.current()
            if grant is None or grant is refused:
                grant = self._log_in()
                life_s = max(0.0, grant.expires_s - self._clock())
                self._due_s = grant.expires_s - min(RENEW_WITHIN_S, RENEW_SHARE * life_s)
                self._grant = grant
            return grant


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
        login: Renews token and certificate if a login plugin provides them.
        proxy_url: An HTTP proxy to go through.
        tls_server_name: The name that the server's certificate is checked for, if it differs
            from the URL's.
        namespace: The default of commands.
        origin: The file and the context that they were read from, for messages.
    """

    server: str
    ca_pem: str = ""
    insecure: bool = False
    certificate_pem: str = field(default="", repr=False)
    key_pem: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    token_path: Path | None = None
    login: Login | None = field(default=None, repr=False)
    proxy_url: str = field(default="", repr=False)
    tls_server_name: str = ""
    namespace: str = "default"
    origin: str = field(default="", compare=False)


class TokenSource:
    """The current bearer token; the kubelet replaces the file of a service account every hour."""

    def __init__(self, credentials: Credentials) -> None:
        self._token = credentials.token
        self._path = credentials.token_path
        self._version: tuple[int, int] | None = None

    def token(self) -> str:
        """Return it, empty without a token.

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


class Identity:
    """As whom a pool of connections calls: the token of a request, and the TLS settings.

    Attributes:
        ssl: For the connector of aiohttp. Connections that are opened after a login use its
            certificate.

    Raises:
        UserError: A certificate or key is not readable as PEM.
    """

    def __init__(self, credentials: Credentials) -> None:
        self._tokens = TokenSource(credentials)
        self._login = credentials.login
        self._grant: Grant | None = None
        self.ssl: ssl.SSLContext | bool = True
        if credentials.server.startswith("https:"):
            self.ssl = ssl_context(credentials)

    @property
    def is_bound_to_connections(self) -> bool:
        """Whether it is a certificate, which open connections keep after a later login."""
        return self._grant is not None and bool(self._grant.certificate_pem)

    async def prepare(self) -> Grant | None:
        """Log in if that is due; return what requests use now, None without a login.

        Raises:
            UserError: The login failed.
        """
        if self._login is None:
            return None
        if (grant := self._login.current()) is None:
            grant = await asyncio.to_thread(self._login.renew)
        return self._take(grant)

    async def renew(self, refused: Grant | None) -> bool:
        """Log in again after the server refused a request; return whether that was possible.

        Args:
            refused: What `prepare` returned for that request.

        Raises:
            UserError: The login failed.
        """
        if self._login is None:
            return False
        self._take(await asyncio.to_thread(self._login.renew, refused))
        return True

    def token(self) -> str:
        """Return the bearer token, empty without one.

        Raises:
            UserError: Its file cannot be read.
        """
        return self._tokens.token() if self._grant is None else self._grant.token

    def _take(self, grant: Grant) -> Grant:
        if grant is not self._grant:
            if grant.certificate_pem and isinstance(self.ssl, ssl.SSLContext):
                try:
                    _load(self.ssl, grant.certificate_pem, grant.key_pem)
                except (ssl.SSLError, ValueError) as error:
                    message = f"the login's client certificate cannot be used: {error}"
                    raise UserError(message) from error
            self._grant = grant
        return grant


def ssl_context(credentials: Credentials) -> ssl.SSLContext:
    """Return the TLS settings of `credentials`; their authority, if any, replaces the system's.

    Raises:
        UserError: A certificate or key is not readable as PEM.
    """
    try:
        context = ssl.create_default_context(cadata=credentials.ca_pem or None)
        if credentials.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if credentials.certificate_pem:
            _load(context, credentials.certificate_pem, credentials.key_pem)
    except (ssl.SSLError, ValueError) as error:
        message = f"the certificates for it cannot be used: {error}; they must be PEM"
        raise UserError(message, where=credentials.server) from error
    return context


def _load(context: ssl.SSLContext, certificate_pem: str, key_pem: str) -> None:
    """Python's ssl reads a client certificate only from files; these live for a moment."""
    with _file(certificate_pem) as certificate, _file(key_pem) as key:
        context.load_cert_chain(certificate, key)


@contextlib.contextmanager
def _file(content: str) -> Iterator[str]:
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(content)
        file.flush()
        yield file.name
