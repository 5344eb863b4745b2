"""Kubeconfigs mean what they mean to kubectl, and what is not supported is refused by name."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from builders.kubeconfigs import (
    SERVER,
    encoded,
    exec_user,
    write_file,
    write_kubeconfig,
)

from fulcrum_operator.kubernetes.credentials import Credentials
from fulcrum_operator.kubernetes.finding import load_credentials
from fulcrum_operator.kubernetes.kubeconfig import from_kubeconfig
from fulcrum_pipelines.errors import UserError

LOCKS = Path(__file__).parents[4] / "images" / "locks"
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep this machine's proxies out."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@dataclass(frozen=True)
class Accepted:
    name: str
    user: Mapping[str, Any]
    expected: Mapping[str, Any]
    cluster: Mapping[str, Any] = field(default_factory=dict)


ACCEPTED = [
    Accepted("token", {"token": "secret"}, {"token": "secret"}),
    Accepted("token goes over a plugin", {"token": "t", **exec_user("aws")}, {"token": "t"}),
    Accepted(
        "certificate in the file",
        {"client-certificate-data": encoded("C"), "client-key-data": encoded("K")},
        {"certificate_pem": "C", "key_pem": "K"},
    ),
    Accepted(
        "certificate in lines of base64",
        {"client-certificate-data": "QUJD\nREVG\n", "client-key-data": encoded("K")},
        {"certificate_pem": "ABCDEF", "key_pem": "K"},
    ),
    Accepted(
        "certificate beside the file",
        {"client-certificate": "cert.pem", "client-key": "./key.pem"},
        {"certificate_pem": "cert.pem of file\n", "key_pem": "key.pem of file\n"},
    ),
    Accepted(
        "authority in the file", {}, {"ca_pem": "A"}, {"certificate-authority-data": encoded("A")}
    ),
    Accepted(
        "authority beside it",
        {},
        {"ca_pem": "ca.pem of file\n"},
        {"certificate-authority": "ca.pem", "certificate-authority-data": ""},
    ),
    Accepted("insecure", {}, {"insecure": True}, {"insecure-skip-tls-verify": True}),
    Accepted(
        "proxy and name",
        {},
        {"proxy_url": "http://p:1", "tls_server_name": "api"},
        {"proxy-url": "http://p:1", "tls-server-name": "api"},
    ),
    Accepted(
        "path of a proxy of clusters",
        {},
        {"server": "https://rancher/k8s/clusters/c-1"},
        {"server": "https://rancher/k8s/clusters/c-1/"},
    ),
]


@pytest.mark.parametrize("row", ACCEPTED, ids=lambda row: row.name)
def test_kubeconfig(row: Accepted, tmp_path: Path) -> None:
    found = from_kubeconfig(write_kubeconfig(tmp_path, row.user, row.cluster))
    assert found == Credentials(**{"server": SERVER, **row.expected})
    assert found.origin == f"{tmp_path}/config, context main"


@pytest.mark.parametrize("fields", [{}, {"token": "older"}], ids=["alone", "with a token"])
def test_token_file_is_relative_and_goes_over_a_token(
    fields: dict[str, str], tmp_path: Path
) -> None:
    found = from_kubeconfig(write_kubeconfig(tmp_path, {"tokenFile": "token", **fields}))
    assert found.token_path == tmp_path / "token"


def auth_provider(name: str, **config: str) -> dict[str, Any]:
    """Return a user with a login of the kind that exec plugins replaced."""
    return {"auth-provider": {"name": name, "config": config}}


@dataclass(frozen=True)
class Refused:
    name: str
    user: Any
    words: str
    context: str = ""
    cluster: Mapping[str, Any] = field(default_factory=dict)


REFUSED = [
    Refused(
        "gcp",
        auth_provider("gcp"),
        r"users\[u\]\.user\.auth-provider: .*gke-gcloud-auth-plugin.*gcloud container clusters",
    ),
    Refused("azure", auth_provider("azure"), "kubelogin convert-kubeconfig"),
    Refused("unknown provider", auth_provider("acme"), "login acme is unknown; accepted is oidc"),
    Refused("two logins", {**exec_user("aws"), **auth_provider("oidc")}, "excludes auth-provider"),
    Refused("password", {"username": "ada", "password": "x"}, "passwords are not supported"),
    Refused("impersonation", {"token": "t", "as": "eve"}, r"user\.as: acting as another user"),
    Refused("unknown context", {}, "contexts has no 'nope'; it has: main, other", context="nope"),
    Refused(
        "not base64",
        {},
        "certificate-authority-data: is not base64",
        cluster={"certificate-authority-data": "%"},
    ),
    Refused(
        "missing file",
        {"client-certificate": "nowhere.pem"},
        r"user\.client-certificate: .*/nowhere.pem cannot be read: No such file",
    ),
    Refused("certificate alone", {"client-certificate": "cert.pem"}, "a login needs both"),
    Refused("no server", {}, r"clusters\[c\]\.cluster\.server: is missing", cluster={"server": ""}),
    Refused("no scheme", {}, "host:6443; it must begin with", cluster={"server": "host:6443"}),
    Refused(
        "proxy of another kind",
        {},
        r"clusters\[c\]\.cluster\.proxy-url: .*'socks5'.*accepted are http and https",
        cluster={"proxy-url": "socks5://me:hush@p"},
    ),
    Refused(
        "plugin without command",
        {"exec": {"apiVersion": "client.authentication.k8s.io/v1"}},
        r"users\[u\]\.user\.exec: command is missing",
    ),
    Refused(
        "plugin of an old version",
        exec_user("aws", apiVersion="client.authentication.k8s.io/v1alpha1"),
        "v1alpha1; accepted are .*aws eks update-kubeconfig",
    ),
    Refused(
        "plugin of no version", exec_user("aws", apiVersion=None), "apiVersion is missing; accepted"
    ),
    Refused("plugin that is a text", {"exec": "aws"}, "user.exec: must be a mapping"),
    Refused("arguments in one text", exec_user("aws", args="eks get-token"), "args must be a list"),
    Refused(
        "environment that is a mapping", exec_user("aws", env={"A": "1"}), "env must be a list"
    ),
    Refused("environment without values", exec_user("aws", env=[{"name": "A"}]), "env must be a"),
    Refused("provider that is a text", {"auth-provider": "oidc"}, "provider: must be a mapping"),
    Refused("user that is a text", "ann", r"users\[u\]\.user: must be a mapping"),
    Refused(
        "extensions that are none", {}, "extensions: must be a list", cluster={"extensions": "x"}
    ),
    Refused(
        "plugin of an unknown mode",
        exec_user("aws", interactiveMode="Sometimes"),
        "interactiveMode is Sometimes; accepted are IfAvailable, Never, Always",
    ),
]


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row.name)
def test_kubeconfig_that_cannot_be_used_says_where(row: Refused, tmp_path: Path) -> None:
    path = write_kubeconfig(tmp_path, row.user, row.cluster)
    with pytest.raises(UserError, match=row.words) as caught:
        from_kubeconfig(path, context=row.context)
    assert str(path) in str(caught.value)
    assert "hush" not in str(caught.value)


BROKEN = (
    "[]",
    "a: [",
    "{}",
    "# nothing",
    "text",
    "users: [1]",
    "contexts: {a: b}",
    "users: [{user: {}}]",
)


@pytest.mark.parametrize("content", BROKEN)
@pytest.mark.parametrize("merged", [False, True], ids=["alone", "second"])
def test_file_that_is_no_kubeconfig_is_named(content: str, merged: bool, tmp_path: Path) -> None:
    path = tmp_path / "broken"
    path.write_text(content)
    first = write_file(tmp_path / "first", contexts={})
    with pytest.raises(UserError, match=str(path)):
        from_kubeconfig(*([first] if merged else []), path)


@pytest.mark.parametrize("current", [{}, {"current": ""}, {"current": None}])
def test_missing_current_context_error_names_command_and_contexts(
    current: dict[str, Any], tmp_path: Path
) -> None:
    path = write_file(tmp_path / "config", contexts={"b": {}, "a": {}}, **current)
    with pytest.raises(UserError, match="kubectl config use-context NAME; there are: a, b"):
        from_kubeconfig(path)


def test_named_context_brings_its_namespace(tmp_path: Path) -> None:
    path = write_kubeconfig(tmp_path, {})
    assert from_kubeconfig(path, context="other").namespace == "elsewhere"


def load(*paths: Path) -> Credentials:
    """Return what the variable KUBECONFIG with `paths` leads to."""
    return load_credentials(environment={"KUBECONFIG": os.pathsep.join(map(str, paths))})


def test_files_are_merged_as_by_kubectl(tmp_path: Path) -> None:
    """The first to name something wins, and a path is relative to the file that it is in."""
    clusters, users = tmp_path / "clusters", tmp_path / "users"
    cluster = {"server": SERVER, "certificate-authority": "pki/ca.pem"}
    first = write_file(clusters / "config", clusters={"c": cluster}, current="main")
    second = write_file(
        users / "config",
        current="later",
        contexts={
            "main": {"cluster": "c", "user": "u", "namespace": "shop"},
            "later": {"cluster": "d", "user": "u"},
        },
        clusters={"c": {"server": "https://shadowed"}, "d": {"server": "https://d"}},
        users={"u": {"client-certificate": "pki/u.pem", "client-key": "pki/u.key"}},
    )
    for directory, name in ((clusters, "ca.pem"), (users, "u.pem"), (users, "u.key")):
        (directory / "pki").mkdir(exist_ok=True)
        (directory / "pki" / name).write_text(name)
    expected = Credentials(
        SERVER, ca_pem="ca.pem", certificate_pem="u.pem", key_pem="u.key", namespace="shop"
    )
    (empty := tmp_path / "empty").touch()
    assert load(empty, first, tmp_path / "nowhere", second) == expected
    assert load(second, first).server == "https://d"


def test_files_that_are_all_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{tmp_path}/a, {tmp_path}/b: no such file"):
        load(tmp_path / "a", tmp_path / "b")


@dataclass(frozen=True)
class Proxied:
    name: str
    environment: Mapping[str, str]
    expected: str
    server: str = SERVER


PROXIED = [
    Proxied("by the environment", {"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
    Proxied("without a scheme", {"https_proxy": "p:1"}, "http://p:1"),
    Proxied("for the other scheme", {"HTTP_PROXY": "http://p:1"}, ""),
    Proxied("not for this host", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "a,host"}, ""),
    Proxied(
        "not for this network",
        {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "a,10.0.0.0/8"},
        "",
        "https://10.1.2.3:6443",
    ),
    Proxied("not for this machine", {"HTTPS_PROXY": "http://p:1"}, "", "https://127.0.0.1:6443"),
]


@pytest.mark.parametrize("row", PROXIED, ids=lambda row: row.name)
def test_proxy_of_the_environment(
    row: Proxied, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in row.environment.items():
        monkeypatch.setenv(name, value)
    path = write_kubeconfig(tmp_path, {}, {"server": row.server})
    assert from_kubeconfig(path).proxy_url == row.expected
    path = write_kubeconfig(tmp_path, {}, {"server": row.server, "proxy-url": "http://own:2"})
    assert from_kubeconfig(path).proxy_url == "http://own:2"


LOADED = """
import sys
from pathlib import Path

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "kubernetes":
            frame = sys._getframe(1)
            while frame.f_globals["__name__"].startswith("importlib"):
                frame = frame.f_back
            askers.add(frame.f_globals["__name__"].partition(".")[0])
            raise ModuleNotFoundError(name=name)

askers = set()
sys.meta_path.insert(0, Absent())
import fulcrum_operator.runtime.app
from fulcrum_operator.kubernetes.finding import load_credentials
print(load_credentials({path}, {environment}, Path({account!r})).server, *askers)
"""


def load_without_the_package(
    tmp_path: Path, *, kubeconfig: bool
) -> subprocess.CompletedProcess[str]:
    """Load credentials where the package `kubernetes` is missing, and print who asked for it."""
    for name in ("token", "ca.crt", "namespace"):
        (tmp_path / name).write_text(name)
    code = LOADED.format(
        path=f"Path({str(write_kubeconfig(tmp_path, {}))!r})" if kubeconfig else None,
        environment={"KUBERNETES_SERVICE_HOST": "10.0.0.1"},
        account=str(tmp_path),
    )
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )


def test_operator_in_a_pod_does_not_import_the_package_kubernetes(tmp_path: Path) -> None:
    """Only kopf looks whether it is there, which is why the operator's image must not have it."""
    done = load_without_the_package(tmp_path, kubeconfig=False)
    assert done.stdout == "https://10.0.0.1:443 kopf\n", done.stderr


def test_image_of_the_operator_is_without_the_package_kubernetes() -> None:
    lock = (LOCKS / "operator.txt").read_text()
    assert "\nkopf==" in lock
    assert "\nkubernetes==" not in lock


def test_kubeconfig_without_the_package_kubernetes_says_what_to_install(tmp_path: Path) -> None:
    done = load_without_the_package(tmp_path, kubeconfig=True)
    assert "pip install 'fulcrum-operator[kubeconfig]'" in done.stderr
