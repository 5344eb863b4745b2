"""The S3 server: started, stopped, killed and made to hang; with buckets, and objects on disk.

Who has its folder can use it and stop it. It keeps port, keys and objects over a restart. Objects
are plain files, so a test damages one as a broken disk would: behind the server's back.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import ssl
import time
import urllib.request
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import botocore.session
from botocore.config import Config
from cluster.certificates import Pair
from cluster.errors import ClusterError, PortTakenError
from cluster.ports import free_port
from cluster.processes import Processes

from s3.accounts import REGION, Accounts, Keys, client_environment, may_read

NAME = "s3"
HOST = "127.0.0.1"
HEALTH = "/healthz"
START_TIMEOUT_S = 30.0
STOP_GRACE_S = 5.0
POLL_S = 0.02


class Server:
    """An S3 server whose files are in `directory`.

    Args:
        directory: For keys, logs and objects.
        binary: From `server_binary`.
        address: It listens on loopback, or on an address that pods of a local node reach.
        owner: As for `Processes`: who, once gone, leaves the server abandoned.
        certificate: Serve TLS with it; plain HTTP otherwise.
    """

    def __init__(
        self,
        directory: Path,
        binary: Path,
        *,
        address: str = HOST,
        owner: str = "",
        certificate: Pair | None = None,
    ) -> None:
        self.directory = directory.resolve()
        self.processes = Processes(self.directory, owner)
        self._binary = binary
        self._address = address
        self._certificate = certificate

    @cached_property
    def accounts(self) -> Accounts:
        """Who may use it."""
        return Accounts.kept_in(self.directory)

    @property
    def url(self) -> str:
        """The URL for S3 clients."""
        scheme = "http" if self._certificate is None else "https"
        port = (self.directory / "port").read_text()
        return f"{scheme}://{self._address}:{port}"

    def environment(self, keys: Keys | None = None) -> dict[str, str]:
        """Return the variables of a client with the `keys`, by default the owner's."""
        return client_environment(self.url, keys or self.accounts.owner)

    def start(self) -> None:
        """Start it, on the port that it had, and wait until it answers.

        Raises:
            ClusterError: It ended, with the end of its log, or did not answer in time.
        """
        port = self.directory / "port"
        if port.exists():
            self._start()
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        port.write_text(str(free_port()))
        try:
            self._start()
        except PortTakenError:
            port.write_text(str(free_port()))
            self._start()

    def stop(self) -> None:
        """Stop it, politely at first; once stopped, do nothing."""
        self.processes.stop([NAME], STOP_GRACE_S)

    def kill(self) -> None:
        """End it as a crash does."""
        self.processes.stop([NAME], 0)

    def is_up(self) -> bool:
        """Return whether it runs and answers."""
        return self.processes.running(NAME) is not None and self._answers()

    @contextlib.contextmanager
    def hanging(self) -> Iterator[None]:
        """Let it take connections and answer nothing, as an overloaded server does."""
        process = self.processes.running(NAME)
        assert process is not None
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    def make_bucket(self, name: str) -> str:
        """Make the bucket `name`, which the reader may read and not write; return its URL."""
        client = self.client()
        client.create_bucket(Bucket=name)
        client.put_bucket_policy(
            Bucket=name, Policy=json.dumps(may_read(name, self.accounts.reader))
        )
        return f"s3://{name}"

    def client(self) -> Any:
        """Return a client that signs as the owner, without any of our own code in between."""
        keys = self.accounts.owner
        return botocore.session.get_session().create_client(
            "s3",
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=keys.access,
            aws_secret_access_key=keys.secret,
            config=Config(retries={"total_max_attempts": 1}),
        )

    def file(self, url: str) -> Path:
        """Return the file that holds the object at `url`."""
        return self._objects / url.removeprefix("s3://")

    @property
    def _objects(self) -> Path:
        return self.directory / "objects"

    def _start(self) -> None:
        self.accounts.write_users(self.directory / "users")
        self._objects.mkdir(exist_ok=True)
        (self.directory / "attributes").mkdir(exist_ok=True)
        owner = self.accounts.owner
        keys = {"ROOT_ACCESS_KEY": owner.access, "ROOT_SECRET_KEY": owner.secret}
        self.processes.start(NAME, self._command(), {**keys, "HOME": str(self.directory)})
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            self.processes.check(NAME)
            if time.monotonic() > deadline_s:
                self.stop()
                message = f"{self.url} did not answer; see {self.processes.log(NAME)}"
                raise ClusterError(message)
            time.sleep(POLL_S)

    def _command(self) -> list[str]:
        command = [
            str(self._binary),
            f"--port={self.url.partition('://')[2]}",
            f"--region={REGION}",
        ]
        # A user's rights count at once, so nothing about users is remembered.
        command += [f"--iam-dir={self.directory / 'users'}", "--iam-cache-disable"]
        command += [f"--health={HEALTH}", "--keep-alive", "--quiet"]
        if self._certificate is not None:
            pair = self._certificate
            command += [f"--cert={pair.certificate}", f"--key={pair.key}"]
        command.append("posix")
        if not _has_attributes(self._objects):  # an object is then not replaced all at once
            command.append(f"--sidecar={self.directory / 'attributes'}")
        return [*command, str(self._objects)]

    def _answers(self) -> bool:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # who it is matters not
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        with contextlib.suppress(OSError), opener.open(f"{self.url}{HEALTH}", timeout=1):
            return True
        return False


def _has_attributes(directory: Path) -> bool:
    """Return whether files in `directory` can have extended attributes."""
    try:
        os.setxattr(directory, "user.fulcrum", b"")
    except OSError:
        return False
    return True
