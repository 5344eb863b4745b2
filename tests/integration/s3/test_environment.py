"""Which variables lead a client to its server, and that nothing of them shows."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cluster.certificates import SERVER, Authority
from cluster.processes import this_process
from s3.accounts import Keys
from s3.building import server_binary
from s3.server import Server

from fulcrum_pipelines.errors import InfrastructureError
from fulcrum_pipelines.storage.s3 import BoundedS3
from fulcrum_pipelines.storage.store import PATIENCE, Store, patience_s

ADDRESS = "AWS_ENDPOINT_URL_S3"
NO_KEYS = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}


@dataclass(frozen=True)
class Way:
    """A way to give a client the address of its server and its credentials.

    Attributes:
        name: Of the way.
        variables: From address, keys and a directory for files.
    """

    name: str
    variables: Callable[[str, Keys, Path], dict[str, str | None]]


def _shared_files(url: str, keys: Keys, directory: Path) -> dict[str, str | None]:
    credentials, config = directory / "credentials", directory / "config"
    credentials.write_text(
        f"[default]\naws_access_key_id={keys.access}\naws_secret_access_key={keys.secret}\n"
    )
    config.write_text(f"[default]\nendpoint_url={url}\nregion=us-east-1\n")
    files = {"AWS_SHARED_CREDENTIALS_FILE": str(credentials), "AWS_CONFIG_FILE": str(config)}
    return {ADDRESS: None, "AWS_DEFAULT_REGION": None, **NO_KEYS, **files}


WAYS = (
    Way("the-address-of-s3", lambda url, keys, directory: {ADDRESS: url}),
    Way("the-address-of-all",
        lambda url, keys, directory: {ADDRESS: None, "AWS_ENDPOINT_URL": url}),
    Way("s3-before-all", lambda url, keys, directory: {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}),
    Way("no-region", lambda url, keys, directory: {"AWS_DEFAULT_REGION": None}),
    Way("files", _shared_files),
)  # fmt: skip


@pytest.mark.parametrize("way", WAYS, ids=lambda each: each.name)
def test_way_to_the_server(
    server: Server, bucket: str, be: Callable[..., None], way: Way, tmp_path: Path
) -> None:
    be(**way.variables(server.url, server.accounts.owner, tmp_path))
    store = Store(f"{bucket}/{way.name}")
    store.write("a.json", b"{}")
    assert store.read("a.json") == b"{}"


def test_fsspecs_own_variables(
    server: Server, bucket: str, be: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    import fsspec.config

    owner = server.accounts.owner
    be(AWS_ENDPOINT_URL_S3=None, **NO_KEYS)
    given: dict[str, dict[str, object]] = {}
    variables = {
        "FSSPEC_S3_ENDPOINT_URL": server.url,
        "FSSPEC_S3_KEY": owner.access,
        "FSSPEC_S3_SECRET": owner.secret,
        "FSSPEC_S3": json.dumps({"config_kwargs": {"read_timeout": 7}}),
    }
    fsspec.config.set_conf_env(given, variables)  # as it does when it is imported
    monkeypatch.setitem(fsspec.config.conf, "s3", given["s3"])
    store = Store(f"{bucket}/fsspec")
    store.write("a.json", b"{}")
    assert store.read("a.json") == b"{}"
    (filesystem,) = BoundedS3._cache.values()
    assert filesystem.config_kwargs["read_timeout"] == 7
    assert filesystem.config_kwargs["retries"]["total_max_attempts"] == 3


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[tuple[Server, Path]]:
    """A server with TLS, and the authority that the client must trust."""
    authority = Authority(tmp_path, "s3-ca")
    pair = authority.issue("s3", "s3", usages=(SERVER,))
    made = Server(tmp_path / "server", server_binary(), owner=this_process(), certificate=pair)
    made.start()
    yield made, authority.pair.certificate
    made.stop()


def test_tls(secure: tuple[Server, Path], be: Callable[..., None]) -> None:
    server, authority = secure
    keys = server.accounts.owner
    variables = {ADDRESS: server.url, "AWS_ACCESS_KEY_ID": keys.access}
    variables["AWS_SECRET_ACCESS_KEY"] = keys.secret
    be(**variables)
    with pytest.raises(InfrastructureError, match="AWS_CA_BUNDLE names who is trusted") as caught:
        Store("s3://secure/store").read("a.json")
    assert f"no secure connection at {server.url}" in str(caught.value)
    be(**variables, AWS_CA_BUNDLE=str(authority))
    with pytest.raises(InfrastructureError, match="there is no bucket 'secure'"):
        Store("s3://secure/store").read("a.json")


def test_nothing_secret_is_logged_in_detail(
    bucket: str, be: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    token = "an-invalid-session-token"
    be(Keys("unknown", "an-invalid-secret"), AWS_SESSION_TOKEN=token)
    with caplog.at_level(logging.DEBUG), pytest.raises(InfrastructureError) as caught:
        Store(f"{bucket}/store").write("a.json", b"{}")
    for text in (caplog.text, str(caught.value)):
        assert token not in text
        assert "an-invalid-secret" not in text


def test_address_with_a_password_is_not_repeated(bucket: str, be: Callable[..., None]) -> None:
    be(AWS_ENDPOINT_URL_S3="http://ann:open-sesame@127.0.0.1:9")
    with pytest.raises(InfrastructureError) as caught:
        Store(f"{bucket}/store").read("a.json")
    assert "open-sesame" not in str(caught.value)
    assert "127.0.0.1:9" in str(caught.value)


def test_patience_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PATIENCE, "7.5")
    assert patience_s() == 7.5
    monkeypatch.setenv(PATIENCE, "long")
    with pytest.raises(InfrastructureError, match=f"{PATIENCE}: 'long' is no number of seconds"):
        patience_s()
