"""Login plugins are run as kubectl runs them, and again when what they returned expires."""

from __future__ import annotations

import asyncio
import io
import json
import ssl
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from api_stand_in import Answer, refusal, serve
from builders.kubeconfigs import (
    VERSION,
    encoded,
    exec_user,
    web_token,
    write_kubeconfig,
    write_plugin,
)
from cluster.certificates import SERVER, Authority

from fulcrum_operator.kubernetes.credentials import Grant, Login
from fulcrum_operator.kubernetes.errors import Unauthorized
from fulcrum_operator.kubernetes.kubeconfig import from_kubeconfig
from fulcrum_operator.resources.names import CONFIG_MAP
from fulcrum_pipelines.errors import UserError

DAY_S = 86_400.0


class Terminal(io.StringIO):
    """A stdin on which a person sits."""

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return 0


def log_in(
    directory: Path,
    code: str,
    cluster: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Grant:
    """Return what the plugin of a kubeconfig returns."""
    plugin = write_plugin(directory / "bin" / "plugin", code)
    fields = {"command": plugin, **fields}
    path = write_kubeconfig(directory, exec_user(**fields), cluster)
    login = from_kubeconfig(path).login
    assert login is not None
    return login.renew()


REPORT_ALL = "answer(token=json.dumps([info, sys.argv[1:], os.environ.get('A'), os.getcwd()]))"


def reported(directory: Path, cluster: Mapping[str, Any] | None = None, **fields: Any) -> list[Any]:
    """Return what a plugin receives: its information, arguments, variable A and directory."""
    found: list[Any] = json.loads(log_in(directory, REPORT_ALL, cluster, **fields).token)
    return found


def test_plugin_gets_arguments_and_environment(tmp_path: Path) -> None:
    env = [{"name": "A", "value": "1"}]
    info, arguments, value, directory = reported(tmp_path, args=["get", 7], env=env)
    assert info == {"apiVersion": VERSION, "kind": "ExecCredential", "spec": {"interactive": False}}
    assert (arguments, value, directory) == (["get", "7"], "1", str(Path.cwd()))


@pytest.mark.parametrize("nothing", [{"args": None, "env": None}, {"installHint": None}])
def test_plugin_fields_may_be_null(nothing: dict[str, None], tmp_path: Path) -> None:
    assert reported(tmp_path, **nothing)[1] == []


def test_plugin_gets_cluster_details_if_it_asks(tmp_path: Path) -> None:
    name = "client.authentication.k8s.io/exec"
    cluster = {
        "certificate-authority": "ca.pem",
        "tls-server-name": "api",
        "proxy-url": "http://p:1",
        "extensions": [{"name": name, "extension": {"audience": "x"}}, {"name": "else"}],
    }
    assert reported(tmp_path, cluster, provideClusterInfo=True)[0]["spec"]["cluster"] == {
        "server": "https://host:6443",
        "tls-server-name": "api",
        "certificate-authority-data": encoded("ca.pem of file\n"),
        "proxy-url": "http://p:1",
        "config": {"audience": "x"},
    }
    assert "cluster" not in reported(tmp_path, cluster, provideClusterInfo=False)[0]["spec"]


@pytest.mark.parametrize(
    ("mode", "terminal", "interactive"),
    [
        ("IfAvailable", True, True),
        (None, True, True),
        ("IfAvailable", False, False),
        ("Never", True, False),
        ("Never", False, False),
        ("Always", True, True),
    ],
)
def test_plugin_may_ask_on_a_terminal(
    mode: str, terminal: bool, interactive: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal() if terminal else io.StringIO())
    assert reported(tmp_path, interactiveMode=mode)[0]["spec"]["interactive"] == interactive


@pytest.mark.parametrize("command", ["bin/plugin", "./bin/plugin"])
def test_command_with_a_slash_is_relative_to_its_file(command: str, tmp_path: Path) -> None:
    assert log_in(tmp_path, "answer(token='t')", command=command).token == "t"


def test_command_without_a_slash_is_looked_up_in_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert log_in(tmp_path, "answer(token='t')", command="plugin").token == "t"


def test_messages_of_a_plugin_are_shown_while_it_waits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Otherwise the user could not type the code that it prints into a browser."""
    log_in(tmp_path, "print('enter AB12', file=sys.stderr)\nanswer(token='t')")
    assert capsys.readouterr().err == "enter AB12\n"


EXPIRING = "answer(expirationTimestamp='2026-01-02T03:04:05Z', "


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("answer(token='t')", Grant("t")),
        (f"{EXPIRING}token='t')", Grant("t", expires_s=1767323045.0)),
        (
            "answer(clientCertificateData='C', clientKeyData='K', token='t')",
            Grant("t", "C", "K"),
        ),
        (f"{EXPIRING}clientCertificateData='C', clientKeyData='K')",
         Grant("", "C", "K", 1767323045.0)),
    ],
    ids=["token", "that expires", "both", "certificate"],
)  # fmt: skip
def test_answer_of_a_plugin(code: str, expected: Grant, tmp_path: Path) -> None:
    assert log_in(tmp_path, code) == expected


@dataclass(frozen=True)
class Failure:
    name: str
    words: str
    code: str = "answer(token='t')"
    fields: Mapping[str, Any] = field(default_factory=dict)


HINT = "\x1b[1mInstall it from\n  https://install"
FAILURES = [
    Failure(
        "not installed",
        "acme-login is not installed or not executable; install it; Install it from https://install",
        fields={"command": "acme-login", "installHint": HINT},
    ),
    Failure(
        "exit code",
        "plugin ended with exit code 3: Token has expired; Install it from https://install",
        "print('usage...\\n\\x1b[31mToken has expired\\x1b[0m\\n', file=sys.stderr); sys.exit(3)",
        {"installHint": HINT},
    ),
    Failure("silent", "ended with exit code 4: it said nothing", "sys.exit(4)"),
    Failure("no JSON", "printed no ExecCredential in JSON", "print('hush')"),
    Failure("other JSON", "printed no ExecCredential in JSON", "answer(kind='Hush', token='hush')"),
    Failure(
        "other version",
        f"apiVersion is {VERSION}, but .* answered with {VERSION}beta1; update the plugin",
        f"answer(version='{VERSION}beta1', token='hush')",
    ),
    Failure("nothing", "returned neither a token nor a certificate", "answer(token='')"),
    Failure(
        "certificate without key", "neither a token nor", "answer(clientCertificateData='hush')"
    ),
    Failure("expiry", "Timestamp soon, which", "answer(token='hush', expirationTimestamp='soon')"),
    Failure(
        "no terminal",
        "interactiveMode Always; run the command in a terminal",
        fields={"interactiveMode": "Always"},
    ),
]  # fmt: skip


@pytest.mark.parametrize("row", FAILURES, ids=lambda row: row.name)
def test_login_that_fails_says_where_and_why(
    row: Failure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(UserError, match=row.words) as caught:
        log_in(tmp_path, row.code, **row.fields)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}/config: users[u].user.exec: ")
    assert "hush" not in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    ("life_s", "valid_s"), [(DAY_S, DAY_S - 60), (60.0, 48.0), (float("inf"), 99 * DAY_S)]
)
def test_login_is_renewed_before_it_expires(life_s: float, valid_s: float) -> None:
    now_s, grants = [1e9], []

    def log_in() -> Grant:
        grants.append(Grant(f"t{len(grants)}", expires_s=now_s[0] + life_s))
        return grants[-1]

    login = Login(log_in, clock=lambda: now_s[0])
    assert login.current() is None
    first = login.renew()
    now_s[0] += valid_s - 1
    assert login.current() is login.renew() is first
    if life_s < float("inf"):
        now_s[0] += 2
        assert login.current() is None
        assert login.renew() is grants[1]


def test_refused_login_is_renewed_once_for_all_who_share_it() -> None:
    grants = iter([Grant("a"), Grant("b")])
    login = Login(lambda: next(grants))
    first = login.renew()
    assert login.renew(first).token == login.renew(first).token == "b"


REFUSED = refusal(401, "Unauthorized", "Unauthorized")


@pytest.mark.parametrize(
    ("answers", "logins"),
    [((Answer(200, {}),), 1), ((REFUSED, Answer(200, {})), 2), ((REFUSED, REFUSED), 2)],
    ids=["accepted", "refused once", "refused again"],
)
def test_refused_call_logs_in_again_and_is_tried_once_more(
    answers: tuple[Answer, ...], logins: int
) -> None:
    tokens = []

    def log_in() -> Grant:
        tokens.append(f"t{len(tokens)}")
        return Grant(tokens[-1])

    async def work() -> None:
        async with serve(*answers, login=Login(log_in)) as (server, kube):
            try:
                await kube.get(CONFIG_MAP, "c", "demo")
            except Unauthorized:
                assert answers[-1] is REFUSED
            else:
                assert answers[-1] is not REFUSED
            sent = [each.headers["Authorization"] for each in server.asked]
            assert sent == [f"Bearer t{number}" for number in range(logins)]

    asyncio.run(work())
    assert len(tokens) == logins


def oidc_user(**config: str) -> dict[str, Any]:
    """Return a user who logs in with OpenID Connect."""
    return {"auth-provider": {"name": "oidc", "config": {"client-id": "c", **config}}}


def test_valid_token_of_openid_connect_is_used(tmp_path: Path) -> None:
    token = web_token(exp=time.time() + DAY_S)
    login = from_kubeconfig(write_kubeconfig(tmp_path, oidc_user(**{"id-token": token}))).login
    assert login is not None
    assert login.renew().token == token


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, "has no id-token; log in again"),
        ({"id-token": "nonsense"}, "cannot be renewed: .*log in again"),
        ({"id-token": web_token(exp=1)}, "cannot be renewed: .*idp-issuer-url.*log in again"),
        (
            {"id-token": web_token(exp=1), "idp-issuer-url": "http://127.0.0.1:1"},
            "cannot be renewed: .*log in again",
        ),
    ],
    ids=["no token", "no web token", "expired", "provider is away"],
)
def test_openid_connect_without_a_token_says_what_to_do(
    config: dict[str, str], words: str, tmp_path: Path
) -> None:
    login = from_kubeconfig(write_kubeconfig(tmp_path, oidc_user(**config))).login
    assert login is not None
    with pytest.raises(UserError, match=words) as caught:
        login.renew()
    assert str(caught.value).startswith(f"{tmp_path}/config: users[u].user.auth-provider: ")


@contextmanager
def provider(directory: Path, fresh: str) -> Iterator[str]:
    """Serve an OpenID Connect provider that gives `fresh` for the refresh token `r1`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer({"token_endpoint": f"{url}/token"})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            assert "refresh_token=r1" in body
            self.answer({"access_token": "a", "id_token": fresh, "refresh_token": "r2"})

        def answer(self, body: dict[str, str]) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, format: str, *_: Any) -> None:
            """Be quiet."""

    pair = Authority(directory, "idp").issue("idp-server", "idp", usages=(SERVER,), addresses=())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    url = f"https://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield url
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("by", ["data", "file", "nothing"])
def test_expired_token_of_openid_connect_is_renewed_and_saved(by: str, tmp_path: Path) -> None:
    """Only at a provider whose certificate is trusted: it is sent the client's secret."""
    fresh = web_token(exp=time.time() + DAY_S)
    with provider(tmp_path, fresh) as url:
        name = "idp-certificate-authority"
        authority = {
            "data": {f"{name}-data": encoded((tmp_path / "idp.crt").read_text())},
            "file": {name: "idp.crt"},
            "nothing": {},
        }[by]
        given = {"id-token": web_token(exp=1), "refresh-token": "r1", "idp-issuer-url": url}
        path = write_kubeconfig(tmp_path, oidc_user(**given, **authority))
        login = from_kubeconfig(path).login
        assert login is not None
        if by == "nothing":
            with pytest.raises(UserError, match=r"cannot be renewed: .*CERTIFICATE_VERIFY"):
                login.renew()
            return
        assert login.renew().token == fresh
    (user,) = yaml.safe_load(path.read_text())["users"]
    saved = user["user"]["auth-provider"]["config"]
    assert saved == {"client-id": "c", **given, **authority} | {
        "id-token": fresh,
        "refresh-token": "r2",
    }
