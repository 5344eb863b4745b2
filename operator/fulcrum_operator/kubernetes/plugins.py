"""Runs the login plugin that a kubeconfig names (`exec`), as kubectl does.

The package `kubernetes` has a runner too, and it is not used: it decides by stdout whether a plugin
may ask, hides the plugin's messages until it has ended (such as a device code that the user must
type into a browser), does not know `interactiveMode` and `provideClusterInfo`, and its loader goes
on as an anonymous user when the plugin fails.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import math
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from fulcrum_operator.kubernetes.credentials import Grant
from fulcrum_pipelines.errors import UserError

GROUP = "client.authentication.k8s.io"
VERSIONS = (f"{GROUP}/v1", f"{GROUP}/v1beta1")
MODES = ("IfAvailable", "Never", "Always")
LIMIT_S = 900.0
"""Codes that a person types into a browser are valid for 15 minutes."""
TAIL = 4096
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True)
class Plugin:
    """A program that prints a token or a client certificate.

    Attributes:
        where: Its field, for messages.
        version: Of the API that it speaks.
        command: The program, and its arguments.
        environment: What is set for it beside our own environment.
        mode: One of `MODES`: whether it may ask on the terminal.
        hint: The kubeconfig's advice on how to install it.
        cluster: Information about the cluster for it; None for none.
    """

    where: str
    version: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    mode: str = MODES[0]
    hint: str = ""
    cluster: Mapping[str, Any] | None = None

    def log_in(self) -> Grant:
        """Run it, and return what it printed.

        Its stderr is passed on at once, since that may be a question.

        Raises:
            UserError: It is missing, failed, or printed something else.
        """
        program = shutil.which(self.command[0])
        if program is None:
            self._fail(
                f"{self.command[0]} is not installed or not executable; install it", hint=True
            )
        interactive = self.mode != "Never" and sys.stdin is not None and sys.stdin.isatty()
        if self.mode == "Always" and not interactive:
            self._fail("it has interactiveMode Always; run the command in a terminal")
        code, output, errors = self._run(program, interactive)
        if code:
            last = (ANSI.sub("", errors).strip().splitlines() or ["it said nothing"])[-1].strip()
            self._fail(f"{self.command[0]} ended with exit code {code}: {last}", hint=True)
        return self._read(output)

    def _run(self, program: str, interactive: bool) -> tuple[int, str, str]:
        """Return exit code, output, and the end of stderr."""
        spec: dict[str, Any] = {"interactive": interactive}
        if self.cluster is not None:
            spec["cluster"] = self.cluster
        info = {"apiVersion": self.version, "kind": "ExecCredential", "spec": spec}
        added = {**self.environment, "KUBERNETES_EXEC_INFO": json.dumps(info)}
        try:
            with _passed_on() as (stderr, tail):
                done = subprocess.run(
                    [program, *self.command[1:]],
                    stdin=None if interactive else subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    env={**os.environ, **added},
                    timeout=LIMIT_S,
                    check=False,
                )
        except subprocess.TimeoutExpired:
            self._fail(f"{self.command[0]} did not end in {LIMIT_S:.0f} s")
        except OSError as error:
            self._fail(f"{program} cannot be run: {error.strerror or error}", hint=True)
        text = bytes(tail).decode(errors="replace")
        return done.returncode, done.stdout.decode(errors="replace"), text

    def _read(self, output: str) -> Grant:
        """Never quotes `output`, which may have a token in it."""
        try:
            answer = json.loads(output)
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or answer.get("kind") != "ExecCredential":
            self._fail(f"{self.command[0]} printed no ExecCredential in JSON")
        if (version := answer.get("apiVersion")) != self.version:
            self._fail(
                f"apiVersion is {self.version}, but {self.command[0]} answered with {version}; "
                "update the plugin, or set apiVersion to what it speaks"
            )
        status = answer.get("status") or {}
        names = ("token", "clientCertificateData", "clientKeyData")
        token, certificate, key = (str(status.get(name) or "") for name in names)
        if bool(certificate) != bool(key) or not (token or certificate):
            self._fail(
                f"{self.command[0]} returned neither a token nor a certificate with its key; "
                "log in to it again"
            )
        return Grant(token, certificate, key, self._expiry(status.get("expirationTimestamp")))

    def _expiry(self, text: object) -> float:
        if not text:
            return math.inf
        try:
            time = datetime.datetime.fromisoformat(str(text))
        except ValueError:
            self._fail(f"{self.command[0]} returned expirationTimestamp {text}, which is no time")
        return (time if time.tzinfo else time.replace(tzinfo=datetime.UTC)).timestamp()

    def _fail(self, message: str, *, hint: bool = False) -> NoReturn:
        if hint and self.hint:
            message += f"; {self.hint}"
        raise UserError(message, where=self.where)


def read_plugin(fields: Any, where: str, directory: str, cluster: Mapping[str, Any]) -> Plugin:
    """Return the plugin of a user.

    Args:
        fields: The user's `exec`.
        where: File and field, for messages.
        directory: Of that file; a command with a slash in it is relative to it.
        cluster: Information about the cluster for a plugin that asks for it.

    Raises:
        UserError: A field is missing or wrong.
    """
    if not isinstance(fields, Mapping):
        raise UserError("must be a mapping with apiVersion and command", where=where)
    version, command = str(fields.get("apiVersion") or ""), str(fields.get("command") or "")
    if version not in VERSIONS:
        message = (
            f"apiVersion is {version or 'missing'}; accepted are {' and '.join(VERSIONS)}: "
            "let the tool that made this file write it again (aws eks update-kubeconfig, "
            "gcloud container clusters get-credentials, az aks get-credentials)"
        )
        raise UserError(message, where=where)
    if not command:
        raise UserError("command is missing", where=where)
    mode = str(fields.get("interactiveMode") or MODES[0])
    if mode not in MODES:
        message = f"interactiveMode is {mode}; accepted are {', '.join(MODES)}"
        raise UserError(message, where=where)
    arguments, variables = fields.get("args") or [], fields.get("env") or []
    if not isinstance(arguments, list):
        raise UserError("args must be a list", where=where)
    try:
        environment = {str(each["name"]): str(each["value"]) for each in variables}
    except (KeyError, TypeError) as error:
        raise UserError("env must be a list of entries with name and value", where=where) from error
    if os.sep in command:
        command = os.path.normpath(os.path.join(directory, command))
    return Plugin(
        where=where,
        version=version,
        command=(command, *map(str, arguments)),
        environment=environment,
        mode=mode,
        hint=" ".join(ANSI.sub("", str(fields.get("installHint") or "")).split()),
        cluster=cluster if fields.get("provideClusterInfo") else None,
    )


@contextlib.contextmanager
def _passed_on() -> Iterator[tuple[int, bytearray]]:
    """Yield a descriptor whose text goes on to stderr, and the end of it, whole after the block."""
    reader, writer = os.pipe()
    tail = bytearray()

    def pump() -> None:
        with open(reader, "rb", buffering=0) as source:
            while chunk := source.read(TAIL):
                sys.stderr.write(chunk.decode(errors="replace"))
                sys.stderr.flush()
                tail.extend(chunk)
                del tail[:-TAIL]

    thread = threading.Thread(target=pump, daemon=True)
    thread.start()
    try:
        yield writer, tail
    finally:
        os.close(writer)
        thread.join(timeout=1.0)  # a process that the plugin left behind may hold the other end
