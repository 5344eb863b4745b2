"""Settings of package indexes go into secrets, and their names into a test's environment."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from images import host

URL = "https://user:word@index.example/simple"


@pytest.fixture(autouse=True)
def _no_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the configuration files of this machine from the tests."""
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    for name in host.INDEX_VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_no_secret_where_nothing_is_configured(tmp_path: Path) -> None:
    assert host.secrets(tmp_path, {}) == {}


def test_index_of_pip_is_set_for_uv_too(tmp_path: Path) -> None:
    found = host.secrets(tmp_path, {"PIP_INDEX_URL": URL})
    shown = subprocess.run(
        ["sh", "-c", f'. {found["index"]}; echo "$PIP_INDEX_URL $UV_DEFAULT_INDEX"'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == f"{URL} {URL}\n"
    assert found["index"].stat().st_mode & 0o077 == 0


def test_index_of_pips_own_file_is_found(tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text(f"[global]\nindex-url = {URL}\n")
    assert host.index_variables({})["UV_DEFAULT_INDEX"] == URL


def test_index_of_uv_goes_first() -> None:
    given = {"PIP_INDEX_URL": URL, "UV_DEFAULT_INDEX": "https://other.example/simple"}
    assert host.index_variables(given) == given


def test_certificate_authorities_are_passed_where_the_file_exists(tmp_path: Path) -> None:
    bundle = tmp_path / "authorities.pem"
    assert host.secrets(tmp_path, {"SSL_CERT_FILE": str(bundle)}) == {}
    bundle.touch()
    assert host.secrets(tmp_path, {"SSL_CERT_FILE": str(bundle)}) == {"ca": bundle}


def test_addresses_are_hosts_without_credentials() -> None:
    given = {"PIP_INDEX_URL": URL, "UV_INDEX": "a=https://b.example:8080/x https://c.example"}
    assert host.addresses(given) == {"index.example", "b.example", "c.example"}
