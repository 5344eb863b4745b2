"""Credentials mean what kubectl means by them, and what is not supported is said by name."""

from __future__ import annotations

import base64
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from fulcrum_operator.kubernetes.credentials import (
    Credentials,
    TokenSource,
    ssl_context,
)
from fulcrum_operator.kubernetes.kubeconfig import from_kubeconfig, load_credentials
from fulcrum_pipelines.errors import UserError


def encoded(text: str) -> str:
    """Return base64, as kubeconfigs hold it."""
    return base64.b64encode(text.encode()).decode()


def write(
    directory: Path, user: Mapping[str, Any], cluster: Mapping[str, Any] | None = None
) -> Path:
    """Write a kubeconfig with two contexts, and files beside it."""
    for name in ("ca.pem", "cert.pem", "key.pem", "token"):
        (directory / name).write_text(f"{name} of file\n")
    other = {"name": "other", "context": {"cluster": "c", "user": "u", "namespace": "elsewhere"}}
    content = {
        "current-context": "main",
        "contexts": [{"name": "main", "context": {"cluster": "c", "user": "u"}}, other],
        "clusters": [{"name": "c", "cluster": {"server": "https://host:6443/", **(cluster or {})}}],
        "users": [{"name": "u", "user": dict(user)}],
    }
    path = directory / "config"
    path.write_text(yaml.safe_dump(content))
    return path


@dataclass(frozen=True)
class Accepted:
    name: str
    user: Mapping[str, Any]
    expected: Mapping[str, Any]
    cluster: Mapping[str, Any] = field(default_factory=dict)


ACCEPTED = [
    Accepted("token", {"token": "secret"}, {"token": "secret"}),
    Accepted(
        "certificate in the file",
        {"client-certificate-data": encoded("C"), "client-key-data": encoded("K")},
        {"certificate_pem": "C", "key_pem": "K"},
    ),
    Accepted(
        "certificate beside the file",
        {"client-certificate": "cert.pem", "client-key": "key.pem"},
        {"certificate_pem": "cert.pem of file\n", "key_pem": "key.pem of file\n"},
    ),
    Accepted(
        "authority in the file", {}, {"ca_pem": "A"}, {"certificate-authority-data": encoded("A")}
    ),
    Accepted(
        "authority beside it",
        {},
        {"ca_pem": "ca.pem of file\n"},
        {"certificate-authority": "ca.pem"},
    ),
    Accepted("insecure", {}, {"insecure": True}, {"insecure-skip-tls-verify": True}),
    Accepted(
        "proxy and name",
        {},
        {"proxy_url": "http://p:1", "tls_server_name": "api"},
        {"proxy-url": "http://p:1", "tls-server-name": "api"},
    ),
]


@pytest.mark.parametrize("row", ACCEPTED, ids=lambda row: row.name)
def test_kubeconfig(row: Accepted, tmp_path: Path) -> None:
    found = from_kubeconfig(write(tmp_path, row.user, row.cluster))
    assert found == Credentials(server="https://host:6443", **row.expected)


@dataclass(frozen=True)
class Refused:
    name: str
    user: Mapping[str, Any]
    words: str
    context: str = ""
    cluster: Mapping[str, Any] = field(default_factory=dict)


REFUSED = [
    Refused("exec plugin", {"exec": {"command": "aws"}}, r"users\[u\]\.user\.exec: .*token"),
    Refused("auth provider", {"auth-provider": {"name": "gcp"}}, "auth-provider: .*not supported"),
    Refused("password", {"username": "ada", "password": "x"}, "passwords are not supported"),
    Refused("unknown context", {}, "contexts has no 'nope'; it has: main, other", context="nope"),
    Refused(
        "not base64",
        {},
        "certificate-authority-data is not base64",
        cluster={"certificate-authority-data": "%"},
    ),
    Refused("missing file", {"client-certificate": "nowhere.pem"}, "nowhere.pem: cannot be read"),
    Refused("no server", {}, r"clusters\[c\]\.cluster\.server is missing", cluster={"server": ""}),
]


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row.name)
def test_kubeconfig_that_cannot_be_used_says_where(row: Refused, tmp_path: Path) -> None:
    path = write(tmp_path, row.user, row.cluster)
    with pytest.raises(UserError, match=row.words):
        from_kubeconfig(path, row.context)


@pytest.mark.parametrize("content", ["[]", "a: [", "{}"])
def test_file_that_is_no_kubeconfig_is_named(content: str, tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(content)
    with pytest.raises(UserError, match=str(path)):
        from_kubeconfig(path)


def test_named_context_brings_its_namespace(tmp_path: Path) -> None:
    assert from_kubeconfig(write(tmp_path, {}), "other").namespace == "elsewhere"


def test_kubeconfig_goes_over_the_pods_account(tmp_path: Path) -> None:
    account = tmp_path / "account"
    account.mkdir()
    for name, content in (("token", "t"), ("ca.crt", "A"), ("namespace", "fulcrum-system\n")):
        (account / name).write_text(content)
    pod = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "6443"}
    expected = Credentials(
        "https://10.0.0.1:6443",
        ca_pem="A",
        token_path=account / "token",
        namespace="fulcrum-system",
    )
    assert load_credentials(environment=pod, account=account) == expected
    pod["KUBECONFIG"] = str(write(tmp_path, {"token": "mine"}))
    assert load_credentials(environment=pod, account=account).token == "mine"


def test_no_credentials_at_all_say_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UserError, match="set KUBECONFIG"):
        load_credentials(environment={}, account=tmp_path)


def test_replaced_token_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("first\n")
    tokens = TokenSource(Credentials("https://host", token_path=path))
    assert tokens.token() == "first"
    replacement = tmp_path / "new"
    replacement.write_text("second\n")
    os.replace(replacement, path)
    assert tokens.token() == "second"
    path.unlink()
    with pytest.raises(UserError, match="token file cannot be read"):
        tokens.token()


def test_server_is_checked_unless_told_otherwise() -> None:
    assert ssl_context(Credentials("https://host")).verify_mode == ssl.CERT_REQUIRED
    assert ssl_context(Credentials("https://host", insecure=True)).verify_mode == ssl.CERT_NONE
    with pytest.raises(UserError, match="must be PEM"):
        ssl_context(Credentials("https://host", ca_pem="nonsense"))


def test_secrets_are_not_in_what_is_printed() -> None:
    assert "hush" not in repr(Credentials("https://host", token="hush", key_pem="hush"))
