"""How the engine proves who it is, whom it trusts, and whose runs it makes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cluster.certificates import SERVER, Authority, Pair
from engine_suite import ended
from kubeflow.engines import execute, make_engine
from kubeflow.server import Server
from kubeflow.world import World
from stand_in import stand_in_plan

from fulcrum_operator.engines.kubeflow.api_errors import KubeflowError
from fulcrum_pipelines.errors import InfrastructureError, UserError
from fulcrum_pipelines.storage.store import Store

PLAN = stand_in_plan("succeed")


def test_token_of_a_secret_is_sent(server: Server, store: Store) -> None:
    server.token = "from-a-secret"
    engine = make_engine(server, store, token="from-a-secret")
    assert asyncio.run(engine.find(PLAN.run)) == ()
    with pytest.raises(InfrastructureError, match="401 Unauthenticated"):
        asyncio.run(make_engine(server, store).find(PLAN.run))


def test_token_file_is_read_again_when_it_is_replaced(
    server: Server, store: Store, tmp_path: Path
) -> None:
    path = tmp_path / "token"
    path.write_text("first\n")
    server.token = "first"
    engine = make_engine(server, store, token_path=path)
    assert asyncio.run(engine.find(PLAN.run)) == ()
    server.token = "second-one"
    (tmp_path / "next").write_text("second-one")
    (tmp_path / "next").replace(path)
    assert asyncio.run(engine.find(PLAN.run)) == ()


def test_missing_token_file_is_reported(server: Server, store: Store, tmp_path: Path) -> None:
    engine = make_engine(server, store, token_path=tmp_path / "nowhere")
    with pytest.raises(InfrastructureError, match="the token file cannot be read"):
        asyncio.run(engine.find(PLAN.run))


def test_refused_token_is_never_shown(server: Server, store: Store) -> None:
    server.token = "another"
    with pytest.raises(KubeflowError) as refusal:
        asyncio.run(make_engine(server, store, token="my-secret").find(PLAN.run))
    assert "my-secret" not in str(refusal.value)


def test_session_cookie_is_sent(store: Store) -> None:
    seen: list[str] = []

    class Watching(Server):
        async def _handle(self, request: web.Request) -> web.StreamResponse:
            seen.append(request.headers.get("Cookie", ""))
            return await super()._handle(request)

    with Watching().running() as server:
        engine = make_engine(server, store, cookie="authservice_session=abc")
        assert asyncio.run(engine.find(PLAN.run)) == ()
    assert set(seen) == {"authservice_session=abc"}


def tls_of(pair: Pair) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.certificate, pair.key)
    return context


SHUTDOWN_S = 0.1


class TlsServer(Server):
    """The stand-in behind TLS."""

    pair: Pair

    async def _start(self) -> web.AppRunner:
        runner = await super()._start()
        self._listener = await asyncio.get_running_loop().create_server(
            runner.server,
            "127.0.0.1",
            0,
            ssl=tls_of(self.pair),
            ssl_shutdown_timeout=SHUTDOWN_S,
        )
        self.url = f"https://127.0.0.1:{self._listener.sockets[0].getsockname()[1]}"
        return runner

    async def _stop(self, runner: web.AppRunner) -> None:
        self._listener.close()
        await super()._stop(runner)
        await asyncio.sleep(3 * SHUTDOWN_S)  # for the client's goodbye, which does not come


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """An authority that no system knows."""
    return Authority(tmp_path, "authority")


@pytest.fixture
def pair(authority: Authority) -> Pair:
    """Its certificate for a server on this machine."""
    return authority.issue("server", "kubeflow", usages=(SERVER,))


def test_server_of_a_given_authority_is_trusted(
    authority: Authority, pair: Pair, store: Store
) -> None:
    stand_in = TlsServer()
    stand_in.pair = pair
    with stand_in.running() as server:
        engine = make_engine(server, store, ca_path=authority.pair.certificate)
        assert asyncio.run(engine.find(PLAN.run)) == ()


def test_server_of_another_authority_is_sent_nothing(pair: Pair, store: Store) -> None:
    received: list[bytes] = []

    def listen(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the handshake that the client breaks off
            connection, _ = listener.accept()
            with tls_of(pair).wrap_socket(connection, server_side=True) as tls:
                received.append(tls.recv(1))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=listen, args=(listener,))
        thread.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(KubeflowError, match="CERTIFICATE_VERIFY_FAILED") as refusal:
            asyncio.run(make_engine(Server(url=url), store, token="t").find(PLAN.run))
        thread.join(10)
    assert not refusal.value.acted
    assert received in ([], [b""])


def test_missing_authority_file_is_reported(server: Server, store: Store, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.pem: kubeflow\.ca_path"):
        make_engine(server, store, ca_path=tmp_path / "nowhere.pem")


def multi_user() -> Server:
    return Server(world=World(multi_user=True), execute=execute)


def test_runs_are_made_in_the_profile_of_the_settings(store: Store) -> None:
    async def scenario(server: Server) -> None:
        engine = make_engine(server, store, namespace="team-a")
        handle = await engine.submit(PLAN.run, PLAN)
        assert (await ended(engine, handle)).state == "Succeeded"
        assert await engine.runs() == (handle,)
        assert await engine.find(PLAN.run) == (handle,)
        assert {each.namespace for each in server.world.pipelines.values()} == {"team-a"}
        assert server.world.runs[handle.reference].namespace == "team-a"

    with multi_user().running() as server:
        asyncio.run(scenario(server))


def test_runs_are_made_in_their_jobs_own_profiles(store: Store) -> None:
    async def scenario(server: Server) -> None:
        given: dict[str, Any] = {
            "namespaces": ("team-a", "team-b"),
            "in_job_namespace": True,
            "ui_url": "https://k/?ns={namespace}#{run_id}",
        }
        engine = make_engine(server, store, **given)
        plans = [
            stand_in_plan(f"succeed.{name}").model_copy(update={"namespace": name})
            for name in ("team-a", "team-b")
        ]
        handles = [await engine.submit(plan.run, plan) for plan in plans]
        for plan, handle in zip(plans, handles, strict=True):
            assert server.world.runs[handle.reference].namespace == plan.namespace
            assert handle.url == f"https://k/?ns={plan.namespace}#{handle.reference}"
            assert await engine.find(plan.run) == (handle,)
        later = make_engine(server, store, **given)
        assert set(await later.runs()) == set(handles)

    with multi_user().running() as server:
        asyncio.run(scenario(server))


@pytest.mark.parametrize(
    ("is_multi_user", "namespace", "message"),
    [
        pytest.param(True, "", "set kubeflow.namespace or", id="namespace is needed"),
        pytest.param(False, "team-a", "leave out kubeflow.namespace", id="namespaces do not exist"),
    ],
)
def test_wrong_kind_of_installation_is_reported(
    is_multi_user: bool, namespace: str, message: str, store: Store
) -> None:
    with Server(world=World(multi_user=is_multi_user)).running() as server:
        engine = make_engine(server, store, namespace=namespace)
        with pytest.raises(UserError, match=message):
            asyncio.run(engine.submit(PLAN.run, PLAN))
        assert server.world.runs == {}
