"""A promotion is observed, decided and acted on once; the store is read only if it matters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
from api_in_memory import ApiInMemory
from builders.plans import make_digest
from channels import make_channel, make_promotion, make_rollback

from fulcrum_operator.controllers import promotion_reconciler
from fulcrum_operator.controllers.promotion_reconciler import PromotionReconciler
from fulcrum_operator.kubernetes.api import Kube
from fulcrum_operator.kubernetes.events import Events
from fulcrum_operator.kubernetes.object_cache import Objects
from fulcrum_operator.promotion.seen import Channel, Promotion
from fulcrum_operator.resources.names import API_VERSION, MODEL_CHANNEL, MODEL_PROMOTION, Kind
from fulcrum_pipelines.errors import CorruptError
from fulcrum_pipelines.storage.store import Store


class Reads:
    """A store that records what is read of it, and has nothing."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    def __getattr__(self, name: str) -> Callable[[str], object]:
        def call(what: str, *_: object) -> object:
            self.calls.append((name, what))
            raise CorruptError("it is missing", where=what)

        return call


def body_of(kind: Kind, found: Promotion | Channel) -> dict[str, Any]:
    """Return `found` as the API server gives it."""
    metadata = {"name": found.name, "namespace": found.namespace, "uid": f"uid-{found.name}"}
    parts = {"spec": found.spec, "status": found.status}
    return {"apiVersion": API_VERSION, "kind": kind.kind, "metadata": metadata} | {
        name: part.model_dump(mode="json", by_alias=True, exclude_none=True)
        for name, part in parts.items()
    }


WITHOUT_JOB = make_promotion(
    from_="b",
    job=None,
    evidence={"run": "r", "digest": make_digest("e"), "plan": make_digest("plan")},
)


@pytest.mark.parametrize(
    ("promotion", "channel", "reason", "read"),
    [
        pytest.param(make_promotion(), None, "ChannelNotFound", [], id="no channel"),
        pytest.param(
            make_promotion(from_="x"), make_channel("a"), "ChannelMoved", [], id="moved by another"
        ),
        pytest.param(
            make_rollback("z"), make_channel("a", "b"), "NotInHistory", [], id="impossible rollback"
        ),
        pytest.param(
            make_rollback(),
            make_channel("a", "b"),
            "ArtifactLost",
            [("verify", make_digest("a"))],
            id="rollback",
        ),
        pytest.param(
            make_promotion(from_="b"), make_channel("a", "b"), "JobNotFound", [], id="job is gone"
        ),
        pytest.param(
            WITHOUT_JOB,
            make_channel("a", "b"),
            "PlanLost",
            [("verify", make_digest("plan"))],
            id="run without a job",
        ),
    ],
)
def test_store_is_read_only_for_proof(
    promotion: Promotion,
    channel: Channel | None,
    reason: str,
    read: list[tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each read of the store has one thread, and nothing else has one."""
    api, store, threads = ApiInMemory(), Reads(), list[object]()

    async def to_thread(work: Callable[..., object], *args: object) -> object:
        threads.append(work)
        return work(*args)

    monkeypatch.setattr(promotion_reconciler.asyncio, "to_thread", to_thread)
    api.put(MODEL_PROMOTION, body_of(MODEL_PROMOTION, promotion))
    if channel is not None:
        api.put(MODEL_CHANNEL, body_of(MODEL_CHANNEL, channel))
    kube = cast(Kube, api)
    reconciler = PromotionReconciler(
        kube=kube,
        store=cast(Store, store),
        channels=Objects(MODEL_CHANNEL),
        promotions=Objects(MODEL_PROMOTION),
        events=Events(kube, "test"),
        decided=lambda kind, phase: None,
    )
    asyncio.run(reconciler.reconcile(("team", promotion.name)))
    (found,) = api.of(MODEL_PROMOTION)
    assert found["status"]["reason"] == reason
    assert store.calls == read
    assert len(threads) == len(read)
