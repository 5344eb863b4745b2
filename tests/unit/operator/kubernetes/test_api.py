"""A call ends with an object or a typed error, after bounded tries, and never by itself twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from api_stand_in import QUICK, Answer, refusal, serve

from fulcrum_operator.kubernetes.api import Kube, connect, holds
from fulcrum_operator.kubernetes.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    NotLeader,
    TooManyRequests,
    Unauthorized,
    Unavailable,
)
from fulcrum_operator.kubernetes.fence import Fence
from fulcrum_operator.resources.names import (
    CLUSTER_GATE_POLICY,
    COMPRESSION_JOB,
    CONFIG_MAP,
    MODEL_CHANNEL,
)
from fulcrum_pipelines.errors import UserError

JOB = {"apiVersion": "fulcrum.dev/v1alpha1", "metadata": {"name": "a", "namespace": "demo"}}
EXISTS = refusal(409, "AlreadyExists", 'compressionjobs.fulcrum.dev "a" already exists')
BUSY = refusal(503, "ServiceUnavailable", "etcdserver: leader changed")
LOST = Answer(lost=True)
HANGS = Answer(hang_s=1.0)


def patch(kube: Kube) -> Awaitable[Any]:
    """Patch a job's status."""
    return kube.patch(COMPRESSION_JOB, "a", "demo", {"status": {}}, subresource="status")


@dataclass(frozen=True)
class Refusal:
    name: str
    answer: Answer
    expected: type[ApiError]
    words: str
    failure_class: str = "infrastructure"


REFUSALS = [
    Refusal("missing", refusal(404, "NotFound", '"a" not found'), NotFound, "404 NotFound"),
    Refusal("other version", refusal(409, "Conflict", "modified"), Conflict, "modified"),
    Refusal("name is taken", EXISTS, AlreadyExists, "already exists"),
    Refusal("too old", refusal(410, "Expired", "too old"), Gone, "410 Expired"),
    Refusal("no right", refusal(403, "Forbidden", "cannot"), Forbidden, "cannot", "user"),
    Refusal("unknown", refusal(401, "Unauthorized", "who"), Unauthorized, "401", "user"),
    Refusal("rule", refusal(422, "Invalid", "spec.seed: no"), Invalid, "spec.seed", "user"),
    Refusal("malformed", refusal(400, "BadRequest", "bad"), Invalid, "400 BadRequest", "user"),
]


@pytest.mark.parametrize("row", REFUSALS, ids=lambda row: row.name)
def test_refusals_are_typed_name_the_object_and_are_not_tried_again(row: Refusal) -> None:
    async def main() -> None:
        async with serve(row.answer) as (server, kube):
            with pytest.raises(row.expected, match=row.words) as caught:
                await patch(kube)
        assert str(caught.value).startswith("patch compressionjobs.fulcrum.dev/status demo/a: ")
        assert caught.value.status == row.answer.status
        assert caught.value.failure_class == row.failure_class
        assert len(server.asked) == 1

    asyncio.run(main())


@dataclass(frozen=True)
class Passing:
    name: str
    answer: Answer
    code: str


PASSING = [
    Passing("busy", BUSY, "503"),
    Passing("connection lost", LOST, "unreachable"),
    Passing("no answer in time", HANGS, "timeout"),
    Passing("a proxy's page", Answer(502, {"oops": "bad gateway"}), "502"),
]


@pytest.mark.parametrize("row", PASSING, ids=lambda row: row.name)
def test_transient_error_is_retried_and_each_try_is_recorded(row: Passing) -> None:
    async def main() -> None:
        async with serve(row.answer, row.answer, Answer(body=JOB)) as (server, kube):
            assert await patch(kube) == JOB
        assert [call[2] for call in server.calls] == [row.code, row.code, "200"]
        assert server.calls[0][:2] == ("patch", "compressionjobs.fulcrum.dev/status")

    asyncio.run(main())


def test_tries_are_bounded() -> None:
    async def main() -> None:
        async with serve(*[BUSY] * 9) as (server, kube):
            with pytest.raises(Unavailable, match="leader changed") as caught:
                await patch(kube)
        assert len(server.asked) == QUICK.retries + 1 == caught.value.tries

    asyncio.run(main())


def test_server_that_asks_for_a_pause_gets_it() -> None:
    busy = Answer(429, retry_after="1")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with serve(busy, Answer(body=JOB)) as (_, kube):
            started_s = loop.time()
            await patch(kube)
            assert loop.time() - started_s >= 1.0

    asyncio.run(main())


def test_pause_that_is_too_long_is_left_to_the_caller() -> None:
    async def main() -> None:
        async with serve(Answer(429, retry_after="60")) as (_, kube):
            with pytest.raises(TooManyRequests) as caught:
                await patch(kube)
        assert caught.value.retry_after_s == 60.0

    asyncio.run(main())


def test_server_that_is_not_there_is_unavailable() -> None:
    async def main() -> None:
        async with serve() as (_, stopped):
            gone = stopped.transport.credentials
        async with connect(gone, policy=QUICK) as kube:
            with pytest.raises(Unavailable, match=f"no answer from {gone.server}"):
                await kube.get(COMPRESSION_JOB, "a", "demo")

    asyncio.run(main())


@dataclass(frozen=True)
class Creation:
    name: str
    answers: tuple[Answer, ...]
    ours: bool


FOUND = {**JOB, "metadata": {**JOB["metadata"], "uid": "1"}, "status": {}}  # type: ignore[dict-item]
CREATIONS = [
    Creation("answer lost, and it is there", (LOST, EXISTS, Answer(body=FOUND)), True),
    Creation("answer lost, another is there", (LOST, EXISTS, Answer(body={"kind": "X"})), False),
    Creation("answer lost, and it is not there", (LOST, Answer(201, FOUND)), True),
    Creation("it was there before", (EXISTS,), False),
]


@pytest.mark.parametrize("row", CREATIONS, ids=lambda row: row.name)
def test_create_recognises_its_own_doing(row: Creation) -> None:
    async def main() -> None:
        async with serve(*row.answers) as (server, kube):
            if row.ours:
                assert await kube.create(COMPRESSION_JOB, JOB) == FOUND
            else:
                with pytest.raises(AlreadyExists):
                    await kube.create(COMPRESSION_JOB, JOB)
        assert not server.answers

    asyncio.run(main())


def test_object_without_a_name_is_created_once_or_not() -> None:
    async def main() -> None:
        async with serve(LOST, Answer(201, FOUND)) as (server, kube):
            with pytest.raises(Unavailable):
                await kube.create(COMPRESSION_JOB, {"metadata": {"namespace": "demo"}})
        assert len(server.asked) == 1

    asyncio.run(main())


def test_delete_is_done_where_an_earlier_try_did_it() -> None:
    missing = refusal(404, "NotFound", "not found")

    async def main() -> None:
        async with serve(LOST, missing, missing) as (server, kube):
            await kube.delete(COMPRESSION_JOB, "a", "demo", uid="1")
            assert server.bodies[0]["preconditions"] == {"uid": "1"}
            with pytest.raises(NotFound):
                await kube.delete(COMPRESSION_JOB, "a", "demo")

    asyncio.run(main())


def test_version_makes_a_patch_compare_and_set() -> None:
    async def main() -> None:
        async with serve(Answer(body=JOB)) as (server, kube):
            change = {"metadata": {"labels": {"x": None}}, "status": {"moves": 1}}
            await kube.patch(
                MODEL_CHANNEL, "m", "demo", change, subresource="status", resource_version="7"
            )
        assert server.bodies[0]["metadata"] == {"labels": {"x": None}, "resourceVersion": "7"}
        assert server.asked[0].content_type == "application/merge-patch+json"
        assert server.asked[0].path.endswith("/namespaces/demo/modelchannels/m/status")
        assert "resourceVersion" not in change["metadata"]

    asyncio.run(main())


def test_list_reads_all_pages_and_goes_on_after_an_expired_one() -> None:
    def page(name: str, token: str) -> Answer:
        meta = {"metadata": {"continue": token}, "apiVersion": "v1"}
        return Answer(body={**meta, "items": [{"metadata": {"name": name}}]})

    expired = refusal(410, "Expired", "the continue parameter is too old")
    expired.body["metadata"] = {"continue": "fresh"}

    async def main() -> None:
        answers = (page("a", "next"), expired, page("b", ""))
        async with serve(*answers) as (server, kube):
            listed = kube.list(CONFIG_MAP, label_selector="x=y", page=1)
            names = [(each["kind"], each["metadata"]["name"]) async for each in listed]
        assert names == [("ConfigMap", "a"), ("ConfigMap", "b")]
        assert [each.query.get("continue") for each in server.asked] == [None, "next", "fresh"]
        assert server.asked[0].path == "/api/v1/configmaps"
        assert server.asked[0].query["labelSelector"] == "x=y"

    asyncio.run(main())


WRITES: list[tuple[str, Callable[[Kube], Awaitable[Any]]]] = [
    ("create", lambda kube: kube.create(COMPRESSION_JOB, JOB)),
    ("patch", patch),
    ("delete", lambda kube: kube.delete(COMPRESSION_JOB, "a", "demo")),
]


@pytest.mark.parametrize(("name", "write"), WRITES, ids=[name for name, _ in WRITES])
def test_closed_fence_stops_writes_and_lets_reads_pass(
    name: str, write: Callable[[Kube], Awaitable[Any]]
) -> None:
    async def main() -> None:
        async with serve(Answer(body=JOB)) as (server, kube):
            fenced = kube.behind(Fence())
            with pytest.raises(NotLeader):
                await write(fenced)
            assert await fenced.get(COMPRESSION_JOB, "a", "demo") == JOB
        assert [each.method for each in server.asked] == ["GET"]

    asyncio.run(main())


def test_fence_cuts_the_time_of_a_write_and_its_further_tries() -> None:
    async def main() -> None:
        now = asyncio.get_running_loop().time
        fence = Fence(now)
        async with serve(Answer(hang_s=5.0), Answer(body=JOB)) as (server, kube):
            fence.open_until(now() + 0.2)
            started_s = now()
            with pytest.raises(NotLeader):
                await patch(kube.behind(fence))
            assert now() - started_s < 0.45
        assert len(server.asked) == 1
        assert int(server.asked[0].query["timeout"].removesuffix("ms")) <= 200

    asyncio.run(main())


def test_questions_about_oneself() -> None:
    who = Answer(201, {"status": {"userInfo": {"username": "ada"}}})
    may = Answer(201, {"status": {"allowed": True}})

    async def main() -> None:
        async with serve(who, may, Answer(body={"gitVersion": "v1.37.2"})) as (server, kube):
            fenced = kube.behind(Fence())
            assert await fenced.whoami() == "ada"
            assert await fenced.can_i("promote", MODEL_CHANNEL, "m", "demo")
            assert await fenced.server_version() == "v1.37.2"
        assert server.bodies[1]["spec"]["resourceAttributes"] == {
            "verb": "promote",
            "group": "fulcrum.dev",
            "resource": "modelchannels",
            "name": "m",
            "namespace": "demo",
        }

    asyncio.run(main())


@pytest.mark.parametrize(
    ("name", "namespace", "words"),
    [("", "demo", "''"), ("..", "demo", "name"), ("a/b", "demo", "a/b"), ("a", "", "namespace")],
)
def test_names_that_would_ask_for_something_else_are_refused(
    name: str, namespace: str, words: str
) -> None:
    async def main() -> None:
        async with serve() as (_, kube):
            with pytest.raises(UserError, match=words):
                await kube.get(COMPRESSION_JOB, name, namespace)

    asyncio.run(main())


def test_kinds_without_namespace_need_none() -> None:
    async def main() -> None:
        async with serve(Answer(body={})) as (server, kube):
            await kube.get(CLUSTER_GATE_POLICY, "strict")
        assert server.asked[0].path == "/apis/fulcrum.dev/v1alpha1/clustergatepolicies/strict"

    asyncio.run(main())


def test_what_the_server_adds_leaves_an_object_ours() -> None:
    sent = {"spec": {"list": [{"a": 1}], "n": None}}
    assert holds({"spec": {"list": [{"a": 1, "b": 2}], "n": None, "more": 1}, "status": {}}, sent)
    assert not holds({"spec": {"list": [{"a": 1}, {"a": 2}], "n": None}}, sent)
    assert not holds({"spec": {"list": [{"a": 2}], "n": None}}, sent)
    assert not holds({"spec": {}}, sent)
