"""Who may promote, approve and write status, asked of the real API server as each user."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from cluster.control_plane import ControlPlane
from cluster.kubectl import Kubectl
from manifest_tables.access import (
    APPROVED,
    CREATED,
    GRANTS,
    JOBS,
    ONE_CHANNEL,
    ROLES,
    STATUS_WRITERS,
    Grant,
    Request,
    User,
    name_of,
)
from manifest_tables.job import GOOD
from manifest_tables.promotions import CHANNEL, PROMOTION
from manifest_tables.rows import changed
from manifest_tables.schedules import SCHEDULE
from manifest_tables.server import Server
from manifest_tables.statuses import STATUSES

from fulcrum_operator.resources.names import (
    COMPRESSION_JOB,
    COMPRESSION_SCHEDULE,
    MODEL_CHANNEL,
    MODEL_PROMOTION,
    OPERATOR_NAME,
    OPERATOR_NAMESPACE,
    Kind,
)

NAMESPACE = "access"
WAIT_S = 20.0  # roles and policies reach the API server's own caches in about a second
Servers = dict[User, Server]
WITH_STATUS = (COMPRESSION_JOB, COMPRESSION_SCHEDULE, MODEL_CHANNEL, MODEL_PROMOTION)


@pytest.fixture(scope="module")
def servers(control_plane: ControlPlane) -> Iterator[Servers]:
    """The API server as each user, once it knows their roles and our policies."""
    kubectl = control_plane.kubectl
    kubectl("create", "namespace", NAMESPACE)
    files: dict[User, Path] = {
        "admin": control_plane.admin_kubeconfig,
        "operator": control_plane.token_kubeconfig(OPERATOR_NAMESPACE, OPERATOR_NAME),
    }
    for user, roles in ROLES.items():
        files[user] = control_plane.kubeconfig_for(user)
        for role in roles:
            _bind(kubectl, user, f"--clusterrole={role}", f"{user}-{role}")
    words = ("role", "one-channel", "--verb=promote", "--resource=modelchannels.fulcrum.dev")
    kubectl("create", *words, f"--resource-name={ONE_CHANNEL}", f"--namespace={NAMESPACE}")
    _bind(kubectl, "one-channel", "--role=one-channel", "one-channel")
    with ExitStack() as stack:
        found = {user: stack.enter_context(Server(file)) for user, file in files.items()}
        _wait(lambda: _enforced(found))
        yield found
    kubectl("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.fixture(scope="module")
def objects(servers: Servers) -> dict[Kind, str]:
    """Name of one object of each kind that has a status."""
    names = {}
    for kind, manifest in (
        (COMPRESSION_JOB, GOOD),
        (MODEL_CHANNEL, CHANNEL.good),
        (MODEL_PROMOTION, changed(PROMOTION.good, {"metadata.name": "there"})),
        (COMPRESSION_SCHEDULE, SCHEDULE.good),
    ):
        answer = servers["admin"].create(kind, manifest, NAMESPACE, keep=True)
        assert answer.accepted, answer.message
        names[kind] = manifest["metadata"]["name"]
    return names


@pytest.mark.parametrize("row", CREATED, ids=lambda row: f"{row.user}: {row.name}")
def test_promotions_are_created_by_who_may(servers: Servers, row: Request) -> None:
    own = {"metadata.name": "new", "spec.requestedBy": name_of(row.user)}
    manifest = changed(PROMOTION.good, own | row.changes)
    answer = servers[row.user].create(MODEL_PROMOTION, manifest, NAMESPACE)
    _check(answer.status, answer.message, row.words)


@pytest.mark.parametrize("row", JOBS, ids=lambda row: f"{row.user}: {row.name}")
def test_jobs_that_promote_by_themselves_are_created_by_who_may(
    servers: Servers, row: Request
) -> None:
    manifest = changed(GOOD, {"metadata.name": "new"} | row.changes)
    answer = servers[row.user].create(COMPRESSION_JOB, manifest, NAMESPACE)
    _check(answer.status, answer.message, row.words)


@pytest.mark.parametrize("row", JOBS, ids=lambda row: f"{row.user}: {row.name}")
def test_schedules_of_such_jobs_are_created_and_changed_by_who_may(
    servers: Servers, row: Request
) -> None:
    """The operator creates their jobs by its own rights."""
    template = {f"spec.jobTemplate.{path}": value for path, value in row.changes.items()}
    words = tuple(
        each.replace("spec.promotion", "spec.jobTemplate.spec.promotion") for each in row.words
    )
    manifest = changed(SCHEDULE.good, {"metadata.name": "new"} | template)
    answer = servers[row.user].create(COMPRESSION_SCHEDULE, manifest, NAMESPACE)
    _check(answer.status, answer.message, words)

    there = changed(SCHEDULE.good, {"metadata.name": f"of-{row.user}"} | template)
    servers["admin"].create(COMPRESSION_SCHEDULE, there, NAMESPACE, keep=True)
    patch = {"spec": {"jobTemplate": {"spec": {"seed": 7}}}}
    name = there["metadata"]["name"]
    answer = servers[row.user].patch(COMPRESSION_SCHEDULE, name, patch, NAMESPACE)
    _check(answer.status, answer.message, words)
    servers["admin"].delete(COMPRESSION_SCHEDULE, name, NAMESPACE)


@pytest.mark.parametrize("row", APPROVED, ids=lambda row: f"{row.user}: {row.name}")
def test_promotions_are_approved_by_who_may(
    servers: Servers, objects: dict[Kind, str], row: Request
) -> None:
    patch = changed({}, row.changes)
    answer = servers[row.user].patch(MODEL_PROMOTION, objects[MODEL_PROMOTION], patch, NAMESPACE)
    _check(answer.status, answer.message, row.words)


@pytest.mark.parametrize(
    "kind",
    [COMPRESSION_JOB, COMPRESSION_SCHEDULE, MODEL_CHANNEL, MODEL_PROMOTION],
    ids=lambda kind: kind.kind,
)
@pytest.mark.parametrize(("user", "words"), STATUS_WRITERS)
def test_status_is_the_operators(
    servers: Servers, objects: dict[Kind, str], kind: Kind, user: User, words: tuple[str, ...]
) -> None:
    status = {"status": {"observedGeneration": 1}}
    answer = servers[user].patch(kind, objects[kind], status, NAMESPACE, part="status")
    _check(answer.status, answer.message, words)


@pytest.mark.parametrize(
    "kind",
    [COMPRESSION_JOB, COMPRESSION_SCHEDULE, MODEL_CHANNEL, MODEL_PROMOTION],
    ids=lambda kind: kind.kind,
)
def test_nothing_of_a_full_status_is_lost(
    servers: Servers, objects: dict[Kind, str], kind: Kind
) -> None:
    status = STATUSES[kind.kind]
    answer = servers["operator"].patch(
        kind, objects[kind], {"status": status}, NAMESPACE, part="status"
    )
    assert answer.accepted, answer.message
    assert answer.body["status"] == status


@pytest.mark.parametrize(
    ("kind", "header", "row"),
    [
        (
            COMPRESSION_JOB,
            "NAME PHASE STAGE VERDICT DELTA SPEEDUP SIZE CHANNEL AGE",
            "mnist Promoting validate 100 % Pass -0.40 points x4.1 x13.8",
        ),
        (
            MODEL_CHANNEL,
            "NAME CURRENT JOB BY SINCE HELD AGE",
            "production 111111111111 mnist ann",
        ),
        (
            MODEL_PROMOTION,
            "NAME CHANNEL KIND PHASE REASON TO BY AGE",
            "there production Promotion Promoted Promoted 111111111111 admin",
        ),
        (
            COMPRESSION_SCHEDULE,
            "NAME SCHEDULE ZONE SUSPEND ACTIVE LAST OUTCOME NEXT SUCCESS CHANNEL AGE",
            "nightly 0 2 * * * UTC false 1",
        ),
    ],
    ids=lambda value: value.kind if isinstance(value, Kind) else "",
)
def test_one_line_says_how_it_is_going(
    servers: Servers,
    objects: dict[Kind, str],
    control_plane: ControlPlane,
    kind: Kind,
    header: str,
    row: str,
) -> None:
    name = objects[kind]
    status = {"status": STATUSES[kind.kind]}
    servers["operator"].patch(kind, name, status, NAMESPACE, part="status", keep=True)
    words = ("get", f"{kind.plural}.{kind.group}", name, f"--namespace={NAMESPACE}")
    lines = control_plane.kubectl(*words, "--output=wide").splitlines()
    first, second = (" ".join(line.split()) for line in lines)
    assert first == header
    assert second.startswith(row)


def test_status_in_a_manifest_is_dropped(servers: Servers) -> None:
    """A user cannot bypass the policy by creating a channel that already holds a model."""
    manifest = changed(CHANNEL.good, {"metadata.name": "forged", "status.shortDigest": "abc"})
    answer = servers["admin"].create(MODEL_CHANNEL, manifest, NAMESPACE)
    assert answer.accepted, answer.message
    assert "status" not in answer.body or "shortDigest" not in answer.body["status"]


@pytest.mark.parametrize("row", GRANTS, ids=lambda row: row.name)
def test_roles_grant_this_and_no_more(servers: Servers, row: Grant) -> None:
    wrong = [
        question
        for question in row.questions(NAMESPACE)
        if servers["admin"].may(name_of(row.user), question) != row.allowed
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("role", "verb", "resource", "allowed"),
    [
        ("view", "list", "compressionjobs", True),
        ("view", "create", "compressionjobs", False),
        ("edit", "create", "compressionjobs", True),
        ("edit", "create", "modelchannels", False),
        ("admin", "create", "modelchannels", True),
        ("admin", "delete", "modelpromotions", True),
        ("admin", "promote", "modelchannels", False),
        ("admin", "approve", "modelchannels", False),
    ],
)
def test_kubernetes_own_roles_have_ours(
    servers: Servers,
    control_plane: ControlPlane,
    role: str,
    verb: str,
    resource: str,
    allowed: bool,
) -> None:
    user = f"kubernetes-{role}"
    binding = json.dumps(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": user, "namespace": NAMESPACE},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": role,
            },
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        }
    )
    control_plane.kubectl("apply", "-f", "-", stdin=binding)

    def may(verb: str, resource: str) -> bool:
        attributes = {"verb": verb, "resource": resource, "group": "fulcrum.dev"}
        return servers["admin"].may(user, attributes | {"namespace": NAMESPACE})

    _wait(lambda: may("get", "compressionjobs"))
    assert may(verb, resource) == allowed


def _check(status: int, message: str, words: tuple[str, ...]) -> None:
    assert status == (403 if words else 200) or (status == 201 and not words), message
    assert all(word in message for word in words), message


def _bind(kubectl: Kubectl, user: str, role: str, name: str) -> None:
    kubectl("create", "rolebinding", name, role, f"--user={user}", f"--namespace={NAMESPACE}")


def _enforced(servers: Servers) -> bool:
    """Return whether both policies refuse, and the last role that was bound is known."""
    forged: dict[str, Any] = changed(PROMOTION.good, {"spec.requestedBy": "another"})
    one = {"verb": "promote", "resource": "modelchannels", "group": "fulcrum.dev"}
    one |= {"namespace": NAMESPACE, "name": ONE_CHANNEL}
    admin = servers["admin"]
    return (
        admin.create(MODEL_PROMOTION, forged, NAMESPACE).status == 403
        and admin.may("one-channel", one)
        and _status_is_guarded(admin)
    )


def _status_is_guarded(admin: Server) -> bool:
    channel = changed(CHANNEL.good, {"metadata.name": "guarded"})
    admin.create(MODEL_CHANNEL, channel, NAMESPACE, keep=True)
    patch = {"status": {"moves": 0}}
    answer = admin.patch(MODEL_CHANNEL, "guarded", patch, NAMESPACE, part="status")
    return answer.status == 403


def _wait(holds: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline_s, f"still not so after {WAIT_S:.0f} s"
        time.sleep(0.1)
