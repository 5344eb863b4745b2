"""Kubeconfigs as clouds and teams have them get users of the commands into a real API server."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from builders.kubeconfigs import exec_user, write_file, write_plugin
from cluster.control_plane import ControlPlane
from promotion_team import Team, run_command

from fulcrum_operator.kubernetes.api import connect
from fulcrum_operator.kubernetes.credentials import Credentials
from fulcrum_operator.kubernetes.finding import load_credentials
from fulcrum_operator.kubernetes.relisting import Relisting
from fulcrum_operator.kubernetes.watching import Watches, open_watch_session
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.storage.store import Store

ACCOUNT = "pipeline"
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def team(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Team:
    """A namespace with people, a channel, and a service account that may look at it."""
    namespace = f"kubeconfigs-{secrets.token_hex(4)}"
    control_plane.kubectl("create", "namespace", namespace)
    made = Team(control_plane, namespace, Store(str(tmp_path_factory.mktemp("store"))))
    made.grant()
    made.channel()
    in_it = f"--namespace={namespace}"
    made.kubectl("create", "serviceaccount", ACCOUNT, in_it)
    role = ("--clusterrole=fulcrum-view", f"--serviceaccount={namespace}:{ACCOUNT}")
    made.kubectl("create", "rolebinding", ACCOUNT, *role, in_it)
    return made


@dataclass(frozen=True)
class Place:
    """A directory for kubeconfigs of a team, and what goes into them."""

    team: Team
    directory: Path

    @property
    def cluster(self) -> dict[str, Any]:
        """The API server, with its authority in the file."""
        return self._of("ann", "cluster")

    @property
    def ann(self) -> dict[str, Any]:
        """A promoter with a certificate in the file."""
        return self._of("ann", "user")

    @property
    def context(self) -> dict[str, str]:
        """The one context of all files."""
        return {"cluster": "c", "user": "u", "namespace": self.team.namespace}

    def _of(self, user: str, kind: str) -> dict[str, Any]:
        content = yaml.safe_load(self.team.kubeconfig(user).read_text())
        found: dict[str, Any] = content[f"{kind}s"][0][kind]
        return found

    def one_file(
        self, user: Mapping[str, Any] | None = None, cluster: Mapping[str, Any] | None = None
    ) -> str:
        """Write all into one file."""
        path = write_file(
            self.directory / "config",
            current="x",
            contexts={"x": self.context},
            clusters={"c": {**self.cluster, **(cluster or {})}},
            users={"u": dict(self.ann if user is None else user)},
        )
        return str(path)

    def two_files(self) -> str:
        """Write the cluster into one file, user and context into another."""
        one = write_file(self.directory / "clusters", clusters={"c": self.cluster})
        two = write_file(
            self.directory / "users",
            current="x",
            contexts={"x": self.context},
            users={"u": self.ann},
        )
        return f"{one}{os.pathsep}{two}"

    def certificates_in_files(self) -> str:
        """Write certificates beside the file, and their relative paths into it."""
        user, cluster = self.ann, self.cluster
        for entry in (user, cluster):
            for name in [each for each in entry if each.endswith("-data")]:
                file = self.directory / "pki" / name.removesuffix("-data")
                file.parent.mkdir(exist_ok=True)
                file.write_bytes(base64.b64decode(entry.pop(name)))
                entry[name.removesuffix("-data")] = f"pki/{file.name}"
        path = self.one_file(user)
        content = yaml.safe_load(Path(path).read_text())
        content["clusters"][0]["cluster"] = cluster
        Path(path).write_text(yaml.safe_dump(content))
        return path

    def token_plugin(self) -> Path:
        """Write a plugin that asks the API server for a token, as clouds' ones do theirs."""
        kubectl = self.team.plane.binaries.kubectl
        command = [str(kubectl), f"--kubeconfig={self.team.plane.admin_kubeconfig}"]
        command += ["create", "token", ACCOUNT, f"--namespace={self.team.namespace}"]
        return write_plugin(
            self.directory / "bin" / "get-token",
            "import subprocess\n"
            f"open({str(self.directory / 'runs')!r}, 'a').write('x')\n"
            f"token = subprocess.check_output({[*command, '--duration=600s']!r}, text=True)\n"
            "answer(token=token.strip(), expirationTimestamp=os.environ.get('EXPIRES'))",
        )

    def certificate_plugin(self, valid_for_s: float = 600.0) -> Path:
        """Write a plugin that makes a certificate of ann which is valid for a moment."""
        pki = self.team.plane.directory / "pki"
        return write_plugin(
            self.directory / "bin" / "get-certificate",
            f"sys.path[:0] = {sys.path!r}\n"
            "import datetime, pathlib\n"
            "from cluster import certificates\n"
            f"open({str(self.directory / 'runs')!r}, 'a').write('x')\n"
            f"certificates.VALID_FOR = datetime.timedelta(seconds={valid_for_s})\n"
            f"made = certificates.Authority(pathlib.Path({str(pki)!r}), 'ca').issue("
            f"'of-plugin-{self.team.namespace}', 'ann')\n"
            "answer(clientCertificateData=made.certificate.read_text(), "
            "clientKeyData=made.key.read_text())",
        )

    def runs(self) -> int:
        """Return how often a plugin was run."""
        return len((self.directory / "runs").read_text())


@pytest.fixture
def place(team: Team, tmp_path: Path) -> Place:
    """A directory for this test's kubeconfigs."""
    (tmp_path / "kube").mkdir()
    return Place(team, tmp_path / "kube")


@pytest.fixture
def fulcrum(monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command, as a user with KUBECONFIG runs it: exit code, output and errors."""

    def run(kubeconfig: str, *words: str) -> tuple[int, str, str]:
        monkeypatch.setenv("KUBECONFIG", kubeconfig)
        return run_command(*words)

    return run


WAYS: dict[str, Callable[[Place], str]] = {
    "plugin with tokens": lambda place: place.one_file(exec_user(place.token_plugin())),
    "plugin with certificates": lambda place: place.one_file(exec_user(place.certificate_plugin())),
    "two files": lambda place: place.two_files(),
    "certificates in files": lambda place: place.certificates_in_files(),
}


@pytest.mark.parametrize("way", WAYS)
def test_history_by_kubeconfig(way: str, place: Place, fulcrum: Command) -> None:
    code, output, errors = fulcrum(WAYS[way](place), "history", "production")
    assert (code, errors) == (0, "")
    assert output.startswith("TIME")


@pytest.mark.parametrize("way", ["plugin with certificates", "two files"])
def test_promote_by_kubeconfig(way: str, place: Place, fulcrum: Command) -> None:
    job = way.replace(" ", "-")
    digest = place.team.ended_job(job)
    code, _, errors = fulcrum(WAYS[way](place), "promote", job, "--wait", "0")
    assert (code, errors) == (0, "")
    specs = [each["spec"] for each in place.team.promotions() if each["spec"]["job"]["name"] == job]
    assert [(spec["requestedBy"], spec["to"]["digest"]) for spec in specs] == [("ann", digest)]


def watch(kubeconfig: str, namespace: str) -> int:
    """Return the status of the list that the operator's watch of channels begins with."""
    credentials = credentials_of(kubeconfig)
    path = f"/apis/fulcrum.dev/v1alpha1/namespaces/{namespace}/modelchannels"

    async def work() -> int:
        watches = Watches(("modelchannels",))
        listener = Relisting(lambda plural, namespace: (), lambda plural, body: None)
        opened = open_watch_session(credentials, watches, listener)
        url = credentials.server + path
        async with opened.aiohttp_session as session, session.get(url) as answer:
            return answer.status

    return asyncio.run(work())


@pytest.mark.parametrize("way", WAYS)
def test_watch_by_kubeconfig(way: str, place: Place) -> None:
    assert watch(WAYS[way](place), place.team.namespace) == 200


FILES: dict[str, dict[str, Any]] = {
    "clusters": {"current": "", "clusters": {"one": {"server": "https://first"}}},
    "team": {
        "current": "one",
        "contexts": {
            "one": {"cluster": "one", "user": "ann"},
            "two": {"cluster": "two", "user": "ann", "namespace": "shop"},
        },
        "clusters": {"one": {"server": "https://second"}, "two": {"server": "https://third"}},
        "users": {"ann": {"token": "of the team"}},
    },
    "own": {"current": "two", "users": {"ann": {"token": "her own"}}},
}


@pytest.mark.parametrize(
    "names",
    [
        ("clusters", "team", "own"),
        ("own", "clusters", "team"),
        ("nowhere", "empty", "own", "team", "clusters"),
    ],
    ids=" ".join,
)
def test_files_are_merged_as_kubectl_merges_them(
    names: tuple[str, ...], control_plane: ControlPlane, tmp_path: Path
) -> None:
    for name, sections in FILES.items():
        write_file(tmp_path / name, **sections)
    (tmp_path / "empty").touch()
    kubeconfig = os.pathsep.join(str(tmp_path / name) for name in names)
    view = subprocess.run(
        [control_plane.binaries.kubectl, "config", "view", "--minify", "--raw", "--output=json"],
        env={"KUBECONFIG": kubeconfig},
        capture_output=True,
        check=True,
    )
    seen, ours = json.loads(view.stdout), credentials_of(kubeconfig)
    (context,), (cluster,), (user,) = seen["contexts"], seen["clusters"], seen["users"]
    assert ours.server == cluster["cluster"]["server"]
    assert ours.token == user["user"]["token"]
    assert ours.namespace == context["context"].get("namespace", "default")
    assert ours.origin.endswith(f", context {seen['current-context']}")


def whoami(kubeconfig: str, *pauses_s: float) -> list[str]:
    """Return who the API server says this is, at the beginning and after each pause."""

    async def work() -> list[str]:
        async with connect(credentials_of(kubeconfig)) as kube:
            names = [await kube.whoami()]
            for pause_s in pauses_s:
                await asyncio.sleep(pause_s)
                names.append(await kube.whoami())
            return names

    return asyncio.run(work())


def credentials_of(kubeconfig: str) -> Credentials:
    """Return what the variable KUBECONFIG leads to."""
    return load_credentials(environment={"KUBECONFIG": kubeconfig})


def test_certificate_that_has_expired_is_replaced(place: Place) -> None:
    """The API server looks at each call whether it is still valid, also on open connections."""
    path = place.one_file(exec_user(place.certificate_plugin(valid_for_s=2.0)))
    assert whoami(path, 0.0, 3.0) == ["ann"] * 3
    assert place.runs() == 2


def test_token_is_renewed_before_it_expires(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3))
    monkeypatch.setenv("EXPIRES", soon)
    path = place.one_file(exec_user(place.token_plugin()))
    account = f"system:serviceaccount:{place.team.namespace}:{ACCOUNT}"
    assert whoami(path, 0.0, 3.0) == [account] * 3
    assert place.runs() >= 2


def test_token_that_was_revoked_is_replaced(place: Place) -> None:
    """As by a plugin with a cache, or on a machine whose clock is wrong."""
    account = place.team.plane.token_kubeconfig(place.team.namespace, ACCOUNT)
    revoked = yaml.safe_load(account.read_text())["users"][0]["user"]["token"] + "x"
    good = place.token_plugin().read_text().partition("import subprocess")[2]
    plugin = write_plugin(
        place.directory / "bin" / "cached",
        f"if not os.path.exists({str(place.directory / 'runs')!r}):\n"
        f"    open({str(place.directory / 'runs')!r}, 'a').write('x')\n"
        f"    answer(token={revoked!r})\n"
        f"    sys.exit()\nimport subprocess{good}",
    )
    path = place.one_file(exec_user(plugin))
    assert whoami(path, 0.0) == [f"system:serviceaccount:{place.team.namespace}:{ACCOUNT}"] * 2
    assert place.runs() == 2


@contextmanager
def proxy() -> Iterator[tuple[str, list[str]]]:
    """Serve a tunnelling proxy, and yield its URL and the addresses it was asked for."""
    asked: list[str] = []

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method, target, _ = (await reader.readuntil(b"\r\n\r\n")).decode().split(None, 2)
        asked.append(f"{method} {target}")
        host, _, port = target.rpartition(":")
        to_reader, to_writer = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(pipe(reader, to_writer), pipe(to_reader, writer))

    loop = asyncio.new_event_loop()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        server = loop.run_until_complete(asyncio.start_server(serve, sock=listening))
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        try:
            yield url, asked
        finally:
            loop.call_soon_threadsafe(server.close)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


@pytest.mark.parametrize(
    ("name", "trusted"),
    [("", True), ("kubernetes.default.svc", True), ("nowhere", False)],
    ids=["own name", "another name", "wrong name"],
)
def test_calls_and_watches_go_through_the_proxy(name: str, trusted: bool, place: Place) -> None:
    with proxy() as (url, asked):
        path = place.one_file(cluster={"proxy-url": url, "tls-server-name": name})
        if trusted:
            assert whoami(path) == ["ann"]
            assert watch(path, place.team.namespace) == 200
        else:
            with pytest.raises(UserError, match="its certificate is not trusted"):
                whoami(path)
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                watch(path, place.team.namespace)
        server = place.cluster["server"].removeprefix("https://")
        assert asked == [f"CONNECT {server}"] * 2


@dataclass(frozen=True)
class Trust:
    name: str
    cluster: Mapping[str, Any]
    refused: str = ""


TRUSTS = [
    Trust("name that it does not have", {"tls-server-name": "nowhere"}, "not trusted"),
    Trust("name that it has", {"tls-server-name": "kubernetes.default.svc"}),
    Trust("unknown authority", {"certificate-authority-data": ""}, "not trusted"),
    Trust(
        "unknown authority, unchecked",
        {"certificate-authority-data": "", "insecure-skip-tls-verify": True},
    ),
]


@pytest.mark.parametrize("row", TRUSTS, ids=lambda row: row.name)
def test_server_is_trusted_as_the_kubeconfig_says(
    row: Trust, place: Place, fulcrum: Command
) -> None:
    code, _, errors = fulcrum(place.one_file(cluster=row.cluster), "history", "production")
    assert code == (2 if row.refused else 0), errors
    assert row.refused in errors


@pytest.mark.parametrize("row", TRUSTS, ids=lambda row: row.name)
def test_watch_trusts_the_server_as_the_kubeconfig_says(row: Trust, place: Place) -> None:
    path = place.one_file(cluster=row.cluster)
    if row.refused:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            watch(path, place.team.namespace)
    else:
        assert watch(path, place.team.namespace) == 200


def test_command_whose_login_fails_says_so(place: Place, fulcrum: Command) -> None:
    write_plugin(place.directory / "login", "sys.exit('the session has expired')")
    path = place.one_file(exec_user("./login", installHint="Run acme login"))
    code, _, errors = fulcrum(path, "history", "production")
    assert code == 2
    assert errors.splitlines() == [
        "the session has expired",
        f"error: {path}: users[u].user.exec: {place.directory}/login ended with exit code 1: "
        "the session has expired; Run acme login",
    ]


def test_command_with_a_token_that_is_refused_names_file_and_context(
    place: Place, fulcrum: Command
) -> None:
    path = place.one_file({"token": "old"})
    code, _, errors = fulcrum(path, "history", "production")
    said = f"{place.cluster['server']} does not accept these credentials; log in again"
    assert (code, errors) == (1, f"error: {path}, context x: {said}\n")
