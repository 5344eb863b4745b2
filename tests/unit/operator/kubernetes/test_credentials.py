"""Find credentials, renew them, and use them for TLS."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import pytest
from builders.kubeconfigs import write_kubeconfig

from fulcrum_operator.kubernetes.credentials import (
    Credentials,
    TokenSource,
    ssl_context,
)
from fulcrum_operator.kubernetes.finding import load_credentials
from fulcrum_pipelines.errors import UserError


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
    pod["KUBECONFIG"] = str(write_kubeconfig(tmp_path, {"token": "mine"}))
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


def test_server_certificate_is_verified_by_default() -> None:
    assert ssl_context(Credentials("https://host")).verify_mode == ssl.CERT_REQUIRED
    assert ssl_context(Credentials("https://host", insecure=True)).verify_mode == ssl.CERT_NONE
    with pytest.raises(UserError, match="must be PEM"):
        ssl_context(Credentials("https://host", ca_pem="nonsense"))


def test_secrets_are_not_in_what_is_printed() -> None:
    assert "hush" not in repr(Credentials("https://host", token="hush", key_pem="hush"))
