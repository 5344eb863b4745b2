"""The real API server understands the client, and the client understands its answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from cluster.control_plane import ControlPlane
from cluster.kubectl import Kubectl

from fulcrum_operator.kubernetes.api import Kube, connect
from fulcrum_operator.kubernetes.credentials import Credentials
from fulcrum_operator.kubernetes.errors import (
    AlreadyExists,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    Unauthorized,
)
from fulcrum_operator.kubernetes.events import Events, Happening
from fulcrum_operator.kubernetes.kubeconfig import from_kubeconfig
from fulcrum_operator.resources.names import CONFIG_MAP, EVENT, MODEL_CHANNEL, NAMESPACE, Kind
from fulcrum_pipelines.errors import UserError


def config_map(namespace: str, name: str = "c", **labels: str) -> dict[str, Any]:
    """Return a ConfigMap."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "data": {"a": "1"},
    }


@pytest.fixture
def admin(control_plane: ControlPlane) -> Credentials:
    """Credentials that may do everything, with a client certificate."""
    return from_kubeconfig(control_plane.admin_kubeconfig)


def run(credentials: Credentials, work: Callable[[Kube], Awaitable[None]]) -> None:
    """Run `work` with a client."""

    async def main() -> None:
        async with connect(credentials, user_agent="fulcrum-test/1") as kube:
            await work(kube)

    asyncio.run(main())


def test_object_is_made_changed_and_deleted(admin: Credentials, namespace: str) -> None:
    async def work(kube: Kube) -> None:
        made = await kube.create(CONFIG_MAP, config_map(namespace, kept="yes"))
        assert made["metadata"]["managedFields"][0]["manager"] == "fulcrum-test"
        with pytest.raises(AlreadyExists, match=f"create configmaps {namespace}/c: 409"):
            await kube.create(CONFIG_MAP, config_map(namespace))
        version = made["metadata"]["resourceVersion"]
        change = {"metadata": {"labels": {"kept": None}}, "data": {"b": "2"}}
        changed = await kube.patch(CONFIG_MAP, "c", namespace, change, resource_version=version)
        assert changed["data"] == {"a": "1", "b": "2"}
        assert "labels" not in changed["metadata"]
        with pytest.raises(Conflict, match="the object has been modified"):
            await kube.patch(CONFIG_MAP, "c", namespace, change, resource_version=version)
        with pytest.raises(Conflict, match=r"[Pp]recondition"):
            await kube.delete(CONFIG_MAP, "c", namespace, uid="another")
        await kube.delete(CONFIG_MAP, "c", namespace, uid=made["metadata"]["uid"])
        with pytest.raises(NotFound):
            await kube.delete(CONFIG_MAP, "c", namespace)

    run(admin, work)


def test_list_is_complete_over_pages_and_can_be_narrowed(
    admin: Credentials, namespace: str
) -> None:
    async def work(kube: Kube) -> None:
        for place in range(7):
            await kube.create(CONFIG_MAP, config_map(namespace, f"c{place}", odd=str(place % 2)))
        odd = kube.list(CONFIG_MAP, namespace, "odd=1", page=2)
        assert [each["metadata"]["name"] async for each in odd] == ["c1", "c3", "c5"]
        one = kube.list(CONFIG_MAP, namespace, field_selector="metadata.name=c4")
        found = [each async for each in one]
        assert [(each["kind"], each["apiVersion"]) for each in found] == [("ConfigMap", "v1")]

    run(admin, work)


def test_refusals_name_object_and_reason(
    admin: Credentials, control_plane: ControlPlane, namespace: str
) -> None:
    async def wrong(kube: Kube) -> None:
        with pytest.raises(Invalid, match=r"metadata\.name") as caught:
            await kube.create(CONFIG_MAP, config_map(namespace, "No Capitals"))
        assert "FieldValueInvalid" in caught.value.causes
        unknown = Kind("nowhere.dev", "v1", "things", "Thing")
        with pytest.raises(NotFound, match="404 page not found"):
            await kube.get(unknown, "x", namespace)
        with pytest.raises(Invalid, match="not a known field selector"):
            await anext(kube.list(CONFIG_MAP, namespace, field_selector="nonsense=1"))

    async def without_rights(kube: Kube) -> None:
        with pytest.raises(Forbidden, match='User "ada" cannot get resource "configmaps"'):
            await kube.get(CONFIG_MAP, "c", namespace)

    async def unknown(kube: Kube) -> None:
        with pytest.raises(Unauthorized):
            await kube.get(CONFIG_MAP, "c", namespace)

    run(admin, wrong)
    run(from_kubeconfig(control_plane.kubeconfig_for("ada")), without_rights)
    run(Credentials(admin.server, ca_pem=admin.ca_pem, token="made up"), unknown)


def test_server_with_an_unknown_certificate_is_not_talked_to(admin: Credentials) -> None:
    async def work(kube: Kube) -> None:
        with pytest.raises(UserError, match="its certificate is not trusted"):
            await kube.server_version()

    run(Credentials(admin.server), work)


def test_who_am_i_and_what_may_i(
    admin: Credentials, control_plane: ControlPlane, kubectl: Kubectl, namespace: str
) -> None:
    kubectl(
        *("create", "role", "promotes", "--verb=promote", f"--namespace={namespace}"),
        *("--resource=modelchannels.fulcrum.dev", "--resource-name=mine"),
    )
    kubectl(
        *("create", "rolebinding", "promotes", "--role=promotes", "--user=ada"),
        f"--namespace={namespace}",
    )

    async def work(kube: Kube) -> None:
        assert await kube.whoami() == "ada"
        assert await kube.can_i("promote", MODEL_CHANNEL, "mine", namespace)
        assert not await kube.can_i("promote", MODEL_CHANNEL, "other", namespace)
        assert not await kube.can_i("approve", MODEL_CHANNEL, "mine", namespace)
        assert (await kube.server_version()).startswith("v1.")

    run(from_kubeconfig(control_plane.kubeconfig_for("ada")), work)


def test_token_of_a_service_account(control_plane: ControlPlane, namespace: str) -> None:
    async def work(kube: Kube) -> None:
        assert await kube.whoami() == f"system:serviceaccount:{namespace}:default"

    run(from_kubeconfig(control_plane.token_kubeconfig(namespace, "default")), work)


def test_event_recorded_repeatedly_is_shown_once(
    admin: Credentials, kubectl: Kubectl, namespace: str
) -> None:
    async def work(kube: Kube) -> None:
        subject = await kube.create(CONFIG_MAP, config_map(namespace))
        for instance in ("before", "after-a-crash"):
            happening = Happening("Evaluated", "×4.1 " + "ä" * 2000, "attempt-1")
            await Events(kube, instance).record(subject, happening)
        about = f"involvedObject.uid={subject['metadata']['uid']}"
        found = [each async for each in kube.list(EVENT, namespace, field_selector=about)]
        assert [each["reportingInstance"] for each in found] == ["before"]

    run(admin, work)
    assert "Evaluated" in kubectl("describe", "configmap", "c", f"--namespace={namespace}")


def test_event_in_a_terminating_namespace_is_not_missed(
    admin: Credentials, kubectl: Kubectl, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    ending = f"{namespace}-ending"
    kubectl("create", "namespace", ending)

    async def work(kube: Kube) -> None:
        held = config_map(ending)
        held["metadata"]["finalizers"] = ["fulcrum.dev/test"]
        subject = await kube.create(CONFIG_MAP, held)
        await kube.delete(NAMESPACE, ending)
        with pytest.raises(Forbidden) as caught:
            await kube.create(CONFIG_MAP, config_map(ending, "late"))
        assert caught.value.namespace_is_terminating
        await Events(kube, "x").record(subject, Happening("Cancelled", "deleted"))
        await kube.patch(CONFIG_MAP, "c", ending, {"metadata": {"finalizers": None}})

    run(admin, work)
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
