"""The proxy breaks exactly what its rules say, and is otherwise not noticed."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cluster.control_plane import ControlPlane
from fault_proxy import Fault, FaultProxy

from fulcrum_operator.kubernetes.api import Kube, connect
from fulcrum_operator.kubernetes.credentials import ssl_context
from fulcrum_operator.kubernetes.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Gone,
    NotFound,
    TooManyRequests,
    Unavailable,
)
from fulcrum_operator.kubernetes.kubeconfig import from_kubeconfig
from fulcrum_operator.kubernetes.retries import CallPolicy
from fulcrum_operator.resources.names import CONFIG_MAP

ONCE = CallPolicy(timeout_s=3.0, deadline_s=3.0, retries=0)
TRYING = CallPolicy(timeout_s=3.0, deadline_s=20.0, retries=5, first_pause_s=0.05)
PATCH: dict[str, Any] = {"data": {"a": "2"}}


@pytest.fixture
def token(control_plane: ControlPlane, namespace: str) -> str:
    """The token of a service account that may edit its namespace."""
    kubectl = control_plane.kubectl
    kubectl(
        *("create", "rolebinding", "edits", "--clusterrole=edit", f"--namespace={namespace}"),
        f"--serviceaccount={namespace}:default",
    )
    return kubectl("create", "token", "default", f"--namespace={namespace}").strip()


@pytest.fixture(params=["https", "http"])
def proxy(
    request: pytest.FixtureRequest, control_plane: ControlPlane, tmp_path: Path
) -> Iterator[FaultProxy]:
    """A proxy before the control plane, with and without TLS."""
    upstream = from_kubeconfig(control_plane.admin_kubeconfig)
    with FaultProxy(upstream, tmp_path, tls=request.param == "https") as serving:
        yield serving


@asynccontextmanager
async def client(proxy: FaultProxy, token: str, policy: CallPolicy = ONCE) -> AsyncIterator[Kube]:
    """Open a client by the proxy's kubeconfig."""
    async with connect(from_kubeconfig(proxy.kubeconfig(token)), policy=policy) as kube:
        yield kube


async def make(kube: Kube, namespace: str) -> str:
    """Create a ConfigMap, and return its name."""
    name = f"c-{secrets.token_hex(4)}"
    metadata = {"name": name, "namespace": namespace}
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "1"}}
    await kube.create(CONFIG_MAP, body)
    return name


async def value(kube: Kube, name: str, namespace: str) -> str:
    """Return what the ConfigMap holds."""
    return str((await kube.get(CONFIG_MAP, name, namespace))["data"]["a"])


def test_without_faults_it_passes_all_on(proxy: FaultProxy, token: str, namespace: str) -> None:
    async def main() -> None:
        async with client(proxy, token) as kube:
            assert await kube.whoami() == f"system:serviceaccount:{namespace}:default"
            name = await make(kube, namespace)
            await kube.patch(CONFIG_MAP, name, namespace, PATCH)
            assert await value(kube, name, namespace) == "2"
            await kube.delete(CONFIG_MAP, name, namespace)
            with pytest.raises(NotFound):
                await kube.get(CONFIG_MAP, name, namespace)

    asyncio.run(main())
    assert proxy.done == {"forward": 6}


@dataclass(frozen=True)
class Row:
    name: str
    fault: Fault
    error: type[ApiError]
    then: str


PATCHES = "PATCH"
ROWS = [
    Row("busy", Fault("answer", PATCHES), Unavailable, "1"),
    Row(
        "too many",
        Fault("answer", PATCHES, status=429, reason="TooManyRequests", retry_after="1"),
        TooManyRequests,
        "1",
    ),
    Row("gone", Fault("answer", PATCHES, status=410, reason="Expired"), Gone, "1"),
    Row("dropped before", Fault("drop", PATCHES), Unavailable, "1"),
    Row("dropped after", Fault("drop_after", PATCHES), Unavailable, "2"),
    Row("late", Fault("delay", PATCHES, delay_s=4.0), Unavailable, "1"),
    Row("conflict", Fault("conflict_once", times=None), Conflict, "1"),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_fault_is_what_it_says_and_passes_by_trying_again(
    row: Row, proxy: FaultProxy, token: str, namespace: str
) -> None:
    async def main() -> None:
        async with client(proxy, token) as kube:
            name = await make(kube, namespace)
            proxy.add(row.fault)
            with pytest.raises(row.error):
                await kube.patch(CONFIG_MAP, name, namespace, PATCH)
            assert await value(kube, name, namespace) == row.then
            await kube.patch(CONFIG_MAP, name, namespace, PATCH)
            assert await value(kube, name, namespace) == "2"

    asyncio.run(main())
    assert proxy.done[row.fault.action] == 1


def test_create_with_a_lost_answer_is_recognised_as_ours(
    proxy: FaultProxy, token: str, namespace: str
) -> None:
    async def main() -> None:
        async with client(proxy, token, TRYING) as kube:
            proxy.add(Fault("drop_after", "POST"))
            name = await make(kube, namespace)
            assert await value(kube, name, namespace) == "1"
            proxy.add(Fault("drop_after", "POST"))
            body = {"metadata": {"name": name, "namespace": namespace}, "data": {"a": "other"}}
            with pytest.raises(AlreadyExists):
                await kube.create(CONFIG_MAP, body)
            proxy.add(Fault("drop_after", "DELETE"))
            await kube.delete(CONFIG_MAP, name, namespace)

    asyncio.run(main())
    assert proxy.done["drop_after"] == 3


def test_outage_refuses_all_clients_until_it_ends(
    proxy: FaultProxy, token: str, namespace: str
) -> None:
    async def main() -> None:
        async with client(proxy, token, TRYING) as kube:
            name = await make(kube, namespace)
            url = proxy.url
            proxy.outage()
            with pytest.raises(Unavailable):
                await value(kube.with_policy(ONCE), name, namespace)
            asyncio.get_running_loop().call_later(0.3, proxy.restore)
            assert await value(kube, name, namespace) == "1"
            assert proxy.url == url

    asyncio.run(main())


@asynccontextmanager
async def watching(
    proxy: FaultProxy, token: str, namespace: str
) -> AsyncIterator[Callable[[], Awaitable[dict[str, Any]]]]:
    """Open a watch; the function that is given returns its next event, within two seconds."""
    credentials = proxy.credentials(token)
    secure = credentials.server.startswith("https:")
    headers = {"Authorization": f"Bearer {token}"}
    url = f"{proxy.url}/api/v1/namespaces/{namespace}/configmaps?watch=true"
    connector = aiohttp.TCPConnector(ssl=ssl_context(credentials) if secure else True)
    async with (
        aiohttp.ClientSession(connector=connector, headers=headers) as session,
        session.get(url) as response,
    ):

        async def following() -> dict[str, Any]:
            line = await asyncio.wait_for(response.content.readline(), 2)
            return dict(json.loads(line or b"{}"))

        yield following


async def until(following: Callable[[], Awaitable[dict[str, Any]]], name: str) -> None:
    """Read a watch up to an event about `name`."""
    while (await following())["object"]["metadata"]["name"] != name:
        pass


def test_watch_is_passed_on_as_it_comes_until_it_falls_silent(
    proxy: FaultProxy, token: str, namespace: str
) -> None:
    async def main() -> None:
        async with client(proxy, token) as kube, watching(proxy, token, namespace) as following:
            started_s = time.monotonic()
            await until(following, await make(kube, namespace))
            assert time.monotonic() - started_s < 2
            proxy.add(Fault("silence", "GET", "watch=true", times=None))
            await make(kube, namespace)
            with pytest.raises(TimeoutError):
                await following()
            proxy.clear()
            await make(kube, namespace)
            with pytest.raises(TimeoutError):
                await following()

    asyncio.run(main())


def test_watch_can_get_an_expired_version_error(
    proxy: FaultProxy, token: str, namespace: str
) -> None:
    async def main() -> None:
        proxy.add(Fault("expire", "GET", "watch=true"))
        async with watching(proxy, token, namespace) as following:
            event = await following()
            assert (event["type"], event["object"]["code"]) == ("ERROR", 410)
            assert await following() == {}
        async with client(proxy, token) as kube, watching(proxy, token, namespace) as following:
            await until(following, await make(kube, namespace))
            proxy.cut()
            with pytest.raises(aiohttp.ClientError):
                await following()

    asyncio.run(main())


def test_watch_can_get_an_error_and_invalid_json(
    proxy: FaultProxy, token: str, namespace: str
) -> None:
    async def main() -> None:
        proxy.add(Fault("break", "GET", "watch=true", status=500, reason="InternalError"))
        async with watching(proxy, token, namespace) as following:
            event = await following()
            assert (event["type"], event["object"]["code"]) == ("ERROR", 500)
        proxy.add(Fault("garble", "GET", "watch=true"))
        async with watching(proxy, token, namespace) as following:
            with pytest.raises(json.JSONDecodeError):
                await following()

    asyncio.run(main())


def test_share_of_the_requests_is_met(proxy: FaultProxy, token: str, namespace: str) -> None:
    async def main() -> list[bool]:
        async with client(proxy, token) as kube:
            name, met = await make(kube, namespace), []
            proxy.add(Fault("answer", "GET", times=None, share=0.5))
            for _ in range(40):
                try:
                    await value(kube, name, namespace)
                    met.append(False)
                except Unavailable:
                    met.append(True)
            return met

    met = asyncio.run(main())
    assert sum(met) == proxy.done["answer"]
    assert 8 < sum(met) < 32
