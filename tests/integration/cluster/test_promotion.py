"""Channels move on a real API server by the rules, despite crashes, races and other users."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cluster.control_plane import ControlPlane
from promotion_team import Team
from stored_runs import Outcome, store_run

from fulcrum_operator.controllers.promotion_reconciler import PLAN_BYTES
from fulcrum_operator.kubernetes.api import Kube
from fulcrum_operator.resources.names import (
    COMPRESSION_JOB,
    MODEL_CHANNEL,
    MODEL_PROMOTION,
    OPERATOR_USER,
)
from fulcrum_pipelines.contract import digest_of, to_json
from fulcrum_pipelines.errors import InfrastructureError
from fulcrum_pipelines.storage.store import Store, object_path

GUIDE = Path(__file__).parents[3] / "docs" / "promotion.md"
RACES = 25
NO_WAIT = ("--wait", "0")


class Stopped(BaseException):
    """Ends a command as a kill would, past all handlers of exceptions."""


@pytest.fixture
def team(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> Team:
    """A namespace with people and an empty store."""
    made = Team(control_plane, namespace, Store(str(tmp_path / "store")))
    made.grant()
    return made


@contextmanager
def operator(team: Team) -> Iterator[None]:
    """Reconcile in the background."""
    stop = threading.Event()

    async def work(kube: Kube) -> None:
        while not stop.is_set():
            await team.look(kube)
            await asyncio.sleep(0.1)

    thread = threading.Thread(target=lambda: team.as_operator(work))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def events(team: Team, name: str) -> Counter[str]:
    """Return the reasons of the Events about an object."""
    words = (f"--namespace={team.namespace}", "--output=json")
    found = json.loads(team.kubectl("get", "events", *words))["items"]
    return Counter(each["reason"] for each in found if each["involvedObject"]["name"] == name)


def test_passing_job_moves_its_channel_by_itself(team: Team) -> None:
    team.channel()
    digest = team.ended_job("mnist")
    name = team.automatic("mnist")
    team.reconcile()
    promotion = team.get(MODEL_PROMOTION, name)
    assert promotion["status"]["phase"] == "Promoted"
    status = team.status()
    assert status["current"]["digest"] == digest
    assert Path(status["current"]["uri"]).read_bytes() == b"model of mnist"
    (move,) = status["history"]
    assert (move["by"], move["verdict"], move["job"]) == (OPERATOR_USER, "Pass", "mnist")
    assert move["promotionUID"] == promotion["metadata"]["uid"]
    assert events(team, name) == events(team, "production") == {"Promoted": 1}
    assert team.decided == [("Promotion", "Promoted")]
    assert team.probed == ["channel-kept", "channel-moved", "promotion-promoted"]
    team.kubectl(
        *("wait", "--for=condition=Promoted", f"modelpromotion/{name}"),
        *(f"--namespace={team.namespace}", "--timeout=1s"),
    )
    team.reconcile()
    assert team.status() == status, "once is enough"


def test_channel_that_asks_for_approval_waits_for_it(team: Team) -> None:
    team.channel(approval="Required")
    digest = team.ended_job("mnist")
    name = team.automatic("mnist")
    team.reconcile()
    assert team.get(MODEL_PROMOTION, name)["status"]["phase"] == "AwaitingApproval"
    assert "current" not in team.status()
    code, _, errors = team.fulcrum("ann", "approve", name, "--yes")
    assert code == 1
    assert errors.startswith("error: user ann needs the verb patch on modelpromotions in namespace")
    code, _, errors = team.fulcrum("bob", "approve", name, "--yes")
    assert code == 1
    assert "user bob needs the verb approve on modelchannels/production in namespace" in errors
    assert len(errors.splitlines()) == 1
    with operator(team):
        code, output, _ = team.fulcrum("eve", "approve", name, "--yes", "--reason", "seen it")
    assert code == 0
    assert "CompressionJob mnist: Pass" in output
    assert f"{name}: Promoted: channel production moved from nothing" in output
    (move,) = team.status()["history"]
    assert (move["to"], move["by"], move["approvedBy"]) == (digest, OPERATOR_USER, "eve")


def test_inconclusive_job_is_approved_by_name(team: Team) -> None:
    team.channel()
    digest = team.ended_job("mnist", "Inconclusive")
    code, _, errors = team.fulcrum("ann", "approve", "mnist", "--yes", *NO_WAIT)
    assert (code, "ann needs the verb approve on modelchannels/production" in errors) == (1, True)
    assert team.promotions() == []
    code, output, _ = team.fulcrum("ann", "promote", "mnist", *NO_WAIT)
    team.reconcile()
    (waiting,) = team.promotions()
    assert (code, waiting["status"]["phase"]) == (0, "AwaitingApproval")
    assert waiting["status"]["reason"] == "Inconclusive"
    with operator(team):
        code, output, _ = team.fulcrum("eve", "approve", "mnist", "--yes", "--reason", "looked")
    assert code == 0
    assert "Inconclusive acc: it is Inconclusive" in output
    (move,) = team.status()["history"]
    assert (move["to"], move["by"], move["approvedBy"]) == (digest, "eve", "eve")
    assert (move["verdict"], move["reason"]) == ("Inconclusive", "looked")


def test_waiting_promotion_is_approved_by_the_name_of_its_job(team: Team) -> None:
    team.channel(approval="Required")
    team.ended_job("mnist")
    name = team.automatic("mnist")
    team.reconcile()
    patch = {"status": {"promotion": {"name": name, "phase": "AwaitingApproval"}}}
    team.as_operator(
        lambda kube: kube.patch(
            COMPRESSION_JOB, "mnist", team.namespace, patch, subresource="status"
        )
    )
    assert team.fulcrum("eve", "approve", "mnist", "--yes", *NO_WAIT)[0] == 0
    (promotion,) = team.promotions()
    assert promotion["spec"]["approval"] == {"by": "eve"}
    code, _, errors = team.fulcrum("eve", "approve", name, "--yes", *NO_WAIT)
    assert (code, errors) == (1, f"error: {name}: was approved by eve already\n")
    team.reconcile()
    assert team.status()["history"][0]["approvedBy"] == "eve"


@pytest.mark.parametrize("outcome", ["Fail", "Anomalous"])
def test_no_user_can_overrule_the_gates(team: Team, outcome: str) -> None:
    team.channel()
    team.ended_job("mnist", "Fail" if outcome == "Fail" else "Anomalous")
    code, _, errors = team.fulcrum("eve", "approve", "mnist", "--yes")
    assert code == 1
    assert f"error: CompressionJob mnist is {outcome}; no approval overrules that" in errors
    name = team.automatic("mnist")
    approval = json.dumps({"spec": {"approval": {"by": "eve"}}})
    team.as_user("eve")("patch", "modelpromotion", name, "--type=merge", "--patch", approval)
    team.reconcile()
    assert team.get(MODEL_PROMOTION, name)["status"]["phase"] == "Refused"
    assert "current" not in team.status()


def test_refusal_to_promote_names_the_missing_verb(team: Team) -> None:
    team.channel()
    team.ended_job("mnist")
    code, _, errors = team.fulcrum("bob", "promote", "mnist")
    assert code == 1
    assert "user bob needs the verb promote on modelchannels/production" in errors
    code, _, errors = team.fulcrum("kim", "promote", "mnist")
    assert code == 1
    message = f"user kim needs the verb create on modelpromotions in namespace {team.namespace}"
    assert errors == f"error: {message}\n"
    assert team.promotions() == []


def test_rollback_holds_until_released(team: Team) -> None:
    team.channel()
    digests = []
    for name in ("first", "second", "third"):
        digests.append(team.ended_job(name))
        assert team.fulcrum("ann", "promote", name, *NO_WAIT)[0] == 0
        team.reconcile()
    with operator(team):
        code, output, _ = team.fulcrum("ann", "rollback", "production", "--reason", "it is slow")
    assert (code, "RolledBack" in events(team, "production")) == (0, True)
    status = team.status()
    assert status["current"]["digest"] == digests[1]
    (hold,) = status["holds"]
    assert (hold["by"], hold["reason"]) == ("ann", "it is slow")
    assert hold["name"] in output
    digest = team.ended_job("fourth")
    refused = team.automatic("fourth")
    team.reconcile()
    assert team.get(MODEL_PROMOTION, refused)["status"]["reason"] == "ChannelHeld"
    assert team.fulcrum("ann", "release", "production")[2].startswith(
        "error: user ann needs the verb patch on modelchannels"
    )
    assert team.fulcrum("ada", "release", "production")[0] == 0
    team.reconcile()
    assert team.status()["holds"] == []
    assert events(team, "production")["Released"] == 1
    assert team.fulcrum("ada", "release", "production")[1] == "production is not held\n"
    team.kubectl("delete", "modelpromotion", refused, f"--namespace={team.namespace}")
    team.automatic("fourth")
    team.reconcile()
    assert team.status()["current"]["digest"] == digest
    code, output, _ = team.fulcrum("kim", "history", "production")
    lines = output.splitlines()
    assert (code, len(lines)) == (0, 6)
    assert lines[0].split()[:4] == ["TIME", "KIND", "FROM", "TO"]
    assert "Rollback" in lines[4]
    shown = json.loads(team.fulcrum("kim", "history", "production", "--output", "json")[1])
    assert [move["to"] for move in shown["history"]] == [*digests, digests[1], digest]
    assert shown["moves"] == 5


def test_rollback_twice_goes_back_twice_and_bytes_must_be_there(team: Team) -> None:
    team.channel()
    digests = []
    for name in ("first", "second", "third"):
        digests.append(team.ended_job(name))
        team.fulcrum("ann", "promote", name, *NO_WAIT)
        team.reconcile()
    for expected in (digests[1], digests[0]):
        team.fulcrum("ann", "rollback", "production", *NO_WAIT)
        team.reconcile()
        assert team.status()["current"]["digest"] == expected
    code, _, errors = team.fulcrum("ann", "rollback", "production", *NO_WAIT)
    assert (code, "the history has 0 models to go back to" in errors) == (1, True)
    team.store.write(object_path(digests[2]), b"changed")
    with operator(team):
        words = ("rollback", "production", "--to", digests[2][:20])
        code, _, errors = team.fulcrum("ann", *words)
    assert (code, "refused (ArtifactLost)" in errors) == (1, True)
    assert team.status()["current"]["digest"] == digests[0]


def test_history_is_bounded(team: Team) -> None:
    team.channel(historyLimit=2)
    for name in ("first", "second", "third", "fourth"):
        team.ended_job(name)
        team.automatic(name)
        team.reconcile()
    status = team.status()
    assert [move["job"] for move in status["history"]] == ["third", "fourth"]
    assert status["moves"] == 4
    team.channel(historyLimit=1)
    team.reconcile()
    assert [move["job"] for move in team.status()["history"]] == ["fourth"]
    assert team.status()["current"] == status["current"]


def test_of_racing_promotions_one_moves(team: Team) -> None:
    """Many times: two reconcilers at once, each with a promotion from the same digest."""
    jobs = ("first", "second", "third")
    for job in jobs:
        team.ended_job(job)
    for number in range(RACES):
        team.channel(f"race-{number}")
    for job in ("first", "second"):
        for number in range(RACES):
            words = ("promote", job, "--channel", f"race-{number}", *NO_WAIT)
            assert team.fulcrum("ann", *words)[0] == 0

    async def race(kube: Kube) -> None:
        keys: dict[str, list[tuple[str, str]]] = {}
        async for body in kube.list(MODEL_PROMOTION, team.namespace):
            key = (team.namespace, body["metadata"]["name"])
            keys.setdefault(body["spec"]["channel"], []).append(key)
        for pair in keys.values():
            looks = [team.reconciler(kube).reconcile(key) for key in (*pair, *pair)]
            await asyncio.gather(*looks)

    team.as_operator(race)
    promotions = team.promotions()
    for number in range(RACES):
        status = team.status(f"race-{number}")
        pair = [each for each in promotions if each["spec"]["channel"] == f"race-{number}"]
        (winner,) = (each for each in pair if each["status"]["phase"] == "Promoted")
        (loser,) = (each for each in pair if each["status"]["phase"] == "Refused")
        assert [move["promotion"] for move in status["history"]] == [winner["metadata"]["name"]]
        assert status["moves"] == 1
        assert loser["status"]["reason"] == "ChannelMoved"
        assert f"promotion {winner['metadata']['name']} moved it" in loser["status"]["message"]


def test_changed_channel_is_read_again(team: Team) -> None:
    team.channel()
    old = team.get(MODEL_CHANNEL, "production")
    team.channel(approval="Required")

    async def from_memory(kube: Kube) -> float | None:
        reconciler = team.reconciler(kube)
        reconciler.channels.learn(old)
        return await reconciler.reconcile_channel((team.namespace, "production"))

    assert team.as_operator(from_memory) is None
    assert team.status()["observedGeneration"] == 2
    assert [each["reason"] for each in team.status()["conditions"]] == ["NothingPromoted", "NoHold"]


@pytest.mark.parametrize("effect", ["channel-moved", "promotion-promoted", "channel-kept"])
def test_killed_after_an_effect_it_goes_on(team: Team, effect: str) -> None:
    team.channel()
    digest = team.ended_job("mnist")
    name = team.automatic("mnist")

    def stop(happened: str) -> None:
        if happened == effect:
            raise Stopped

    with pytest.raises(Stopped):
        team.as_operator(lambda kube: team.look(kube, stop))
    team.reconcile()
    assert team.get(MODEL_PROMOTION, name)["status"]["phase"] == "Promoted"
    assert [move["to"] for move in team.status()["history"]] == [digest]
    assert events(team, name) == events(team, "production") == {"Promoted": 1}


def test_killed_after_a_move_it_is_not_repeated_after_others(team: Team) -> None:
    """History forgets the move, the channel is back where it began: still it is done."""
    team.channel(historyLimit=2)
    first = team.ended_job("first")
    team.ended_job("second")
    team.automatic("first")
    team.reconcile()
    killed = team.automatic("second")

    def stop(happened: str) -> None:
        if happened == "channel-moved":
            raise Stopped

    with pytest.raises(Stopped):
        team.as_operator(lambda kube: team.look(kube, stop))
    assert team.fulcrum("ann", "rollback", "production", *NO_WAIT)[0] == 0
    (back,) = (each for each in team.promotions() if each["spec"]["kind"] == "Rollback")

    async def other_first(kube: Kube) -> None:
        await team.reconciler(kube).reconcile((team.namespace, back["metadata"]["name"]))

    team.channel(historyLimit=1)
    team.as_operator(other_first)
    assert team.get(MODEL_PROMOTION, killed)["status"]["phase"] == "Promoted"
    team.reconcile()
    assert (team.status()["moves"], team.status()["current"]["digest"]) == (3, first)


def test_store_that_does_not_answer_decides_nothing(team: Team) -> None:
    team.channel()
    digest = team.ended_job("mnist")
    name = team.automatic("mnist")
    path = Path(team.store.locate(object_path(digest)))
    content = path.read_bytes()
    path.unlink()
    path.mkdir()  # opening a directory fails, also for root
    with pytest.raises(InfrastructureError, match="cannot read"):
        team.reconcile()
    assert "phase" not in team.get(MODEL_PROMOTION, name).get("status", {})
    path.rmdir()
    path.write_bytes(content)
    team.reconcile()
    assert team.status()["current"]["digest"] == digest


def test_gates_that_are_gone_promote_nothing(team: Team) -> None:
    team.channel()
    team.ended_job("mnist")
    name = team.automatic("mnist")
    where = f"--namespace={team.namespace}"
    team.kubectl("delete", "compressionjob", "mnist", where)
    team.reconcile()
    status = team.get(MODEL_PROMOTION, name)["status"]
    assert (status["phase"], status["reason"]) == ("Refused", "JobNotFound")


def test_run_that_no_job_owns_is_promoted_by_hand(team: Team) -> None:
    team.channel()
    run = team.ended_run("0a1b2c3d")
    words = ("promote", "--run", run, "--store", team.store.url, "--channel", "production")
    with operator(team):
        code, output, errors = team.fulcrum("ann", *words, "--reason", "of last night")
    assert (code, errors) == (0, "")
    assert "Promoted: channel production moved from nothing" in output
    status = team.status()
    assert Path(status["current"]["uri"]).read_bytes() == f"model of {run}".encode()
    (move,) = status["history"]
    assert (move["by"], move["verdict"], "job" in move) == ("ann", "Pass", False)
    for entry in (move, status["current"]):  # the history alone leads to the evidence
        evidence = team.store.evidence(entry["run"])
        assert evidence is not None
        assert digest_of(to_json(evidence)) == entry["evidence"]
    assert run in team.fulcrum("kim", "history", "production")[1]


def test_approver_is_shown_the_verdict_of_a_run_that_no_job_owns(team: Team) -> None:
    team.channel(approval="Required")
    run = team.ended_run("0a1b2c3d")
    words = ("promote", "--run", run, "--store", team.store.url, "--channel", "production")
    assert team.fulcrum("ann", *words, *NO_WAIT)[0] == 0
    team.reconcile()
    (promotion,) = team.promotions()
    name = promotion["metadata"]["name"]
    _, output, _ = team.fulcrum("eve", "approve", name, *NO_WAIT, answer="n\n")
    assert output.index("the gates say Pass (accuracy: ") < output.index("[y/N]")


@pytest.mark.parametrize(("outcome", "code"), [("Fail", 1), ("Anomalous", 1), ("Inconclusive", 0)])
def test_run_that_no_job_owns_is_judged_like_a_job(team: Team, outcome: Outcome, code: int) -> None:
    team.channel()
    run = team.ended_run("0a1b2c3d", outcome)
    words = ("promote", "--run", run, "--store", team.store.url, "--channel", "production")
    found, _, errors = team.fulcrum("ann", *words, *NO_WAIT)
    assert found == code
    assert code == 0 or f"has verdict {outcome}" in errors
    team.reconcile()
    phases = [each["status"]["phase"] for each in team.promotions()]
    assert phases == (["AwaitingApproval"] if outcome == "Inconclusive" else [])
    assert "current" not in team.status()


def test_run_of_another_namespace_is_not_promoted(team: Team) -> None:
    team.channel()
    run = team.ended_run("0a1b2c3d", namespace="others")
    words = ("promote", "--run", run, "--store", team.store.url, "--channel", "production")
    code, _, _ = team.fulcrum("ann", *words, *NO_WAIT)
    team.reconcile()
    (promotion,) = team.promotions()
    status = promotion["status"]
    assert (code, status["phase"], status["reason"]) == (0, "Refused", "OtherNamespace")


@pytest.mark.parametrize("what", ["missing", "a model", "other JSON", "too large"])
def test_what_is_no_plan_promotes_nothing(team: Team, what: str) -> None:
    """A promotion may name anything that is in the store; the operator must not choke on it."""
    team.channel()
    found = team.store.evidence(team.ended_run("0a1b2c3d"))
    assert found is not None
    plan = team.store.plan(found.plan)
    content = {
        "missing": b"",
        "a model": b"\x08\x07onnx\xff",
        "other JSON": b"[]",
        "too large": to_json(plan) + b" " * PLAN_BYTES,
    }[what]
    digest = digest_of(content)
    if what != "missing":
        team.store.write(object_path(digest), content)
    stored = store_run(team.store, plan.run, plan=digest)
    spec = {
        "channel": "production",
        "from": "",
        "to": {
            "digest": stored.candidate,
            "uri": team.store.locate(object_path(stored.candidate)),
        },
        "evidence": {"run": stored.run, "digest": stored.digest, "plan": digest},
        "requestedBy": "ann",
    }
    body = {"apiVersion": "fulcrum.dev/v1alpha1", "kind": "ModelPromotion", "spec": spec}
    body["metadata"] = {"name": "odd"}
    where = f"--namespace={team.namespace}"
    team.as_user("ann")("create", where, "-f", "-", stdin=json.dumps(body))
    team.reconcile()
    status = team.get(MODEL_PROMOTION, "odd")["status"]
    assert (status["phase"], status["reason"]) == ("Refused", "PlanLost")


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("mnist", "--run", "a", "--store", "b"),
        ("--run", "a", "--channel", "c"),
        ("--run", "a", "--store", "b"),
        ("mnist", "--store", "b"),
    ],
    ids=" ".join,
)
def test_promote_says_what_it_needs(team: Team, words: tuple[str, ...]) -> None:
    code, _, errors = team.fulcrum("ann", "promote", *words)
    assert (code, len(errors.splitlines())) == (2, 1)
    assert "give" in errors


def test_promotion_waits_for_its_channel(team: Team) -> None:
    team.ended_job("mnist")
    name = team.automatic("mnist", from_="")
    team.reconcile()
    status = team.get(MODEL_PROMOTION, name)["status"]
    assert (status["phase"], status["reason"]) == ("Pending", "ChannelNotFound")
    team.channel()
    team.reconcile()
    assert team.get(MODEL_PROMOTION, name)["status"]["phase"] == "Promoted"


@pytest.mark.parametrize(("answer", "created"), [("n\n", 0), ("", 0), ("y\n", 1)])
def test_verdict_is_shown_before_anything_is_asked(team: Team, answer: str, created: int) -> None:
    team.channel()
    team.ended_job("mnist", "Inconclusive")
    code, output, _ = team.fulcrum("eve", "approve", "mnist", *NO_WAIT, answer=answer)
    assert output.index("Inconclusive acc: it is") < output.index("to the model of mnist? [y/N]")
    assert (code, len(team.promotions())) == (1 - created, created)


def test_everything_in_the_guide_can_be_done_with_kubectl(team: Team) -> None:
    """YAML is applied as who asks in it, else as the administrator; commands as who they say."""
    blocks = re.findall(r"```(yaml|sh)\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    where = f"--namespace={team.namespace}"
    for kind, text in blocks:
        if kind == "yaml":
            asked = re.search(r"requestedBy: (\w+)", text)
            kubectl = team.as_user(asked[1]) if asked else team.kubectl
            kubectl("create", where, "-f", "-", stdin=text)
        else:
            who, command = text.strip().split("\n")
            program, *words = shlex.split(command)
            assert program == "kubectl"
            team.as_user(who.removeprefix("# as "))(*words)
    assert Counter(kind for kind, _ in blocks) == {"yaml": 4, "sh": 2}
    by_hand, back = (
        team.get(MODEL_PROMOTION, name) for name in ("mnist-by-hand", "production-back")
    )
    assert by_hand["spec"]["approval"]["by"] == "eve"
    assert back["spec"]["kind"] == "Rollback"
    assert team.get(MODEL_CHANNEL, "production")["spec"]["releasedHolds"] == ["production-back"]
