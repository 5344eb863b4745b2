"""kopf's part: it keeps the watches going and calls these, which only pass on what they hear."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import kopf

from fulcrum_operator.kubernetes.api import PAGE
from fulcrum_operator.kubernetes.credentials import Credentials
from fulcrum_operator.kubernetes.object_cache import Body
from fulcrum_operator.kubernetes.relisting import Relisting
from fulcrum_operator.kubernetes.transport import OnCall
from fulcrum_operator.kubernetes.watching import Watches, open_watch_session
from fulcrum_operator.resources.names import Kind
from fulcrum_operator.runtime.event_router import WATCHED, Inbox
from fulcrum_operator.settings import Api

ERROR_BACKOFFS_S = (0.5, 1.0, 2.0, 5.0)
RECONNECT_S = 1.0
"""Before a watch begins with the list again, so that a server whose every watch fails at once is
not asked for lists ten times a second."""
IDLE_S = 0.5
"""kopf's worker of an object keeps its last event in memory until it has waited so long for more:
with its default of 5 s, a list of ten thousand objects would all be in memory at once."""


class _NoEssence(kopf.DiffBaseStorage):
    """kopf copies each object deeply, to compare it later; nothing here asks for a comparison."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        return None

    def store(self, **_: Any) -> None:
        return None


def make_registry(
    inbox: Inbox, credentials: Credentials, watches: Watches, on_call: OnCall
) -> kopf.OperatorRegistry:
    """Return the handlers of all kinds that are watched."""
    registry = kopf.OperatorRegistry()

    def known(plural: str, namespace: str) -> Iterable[Body]:
        return inbox.objects[plural].within(namespace)

    relisting = Relisting(known, lambda plural, body: inbox.take(plural, "DELETED", body))

    @kopf.on.login(registry=registry)
    async def log_in(**_: Any) -> kopf.AiohttpSession:
        return open_watch_session(credentials, watches, relisting, on_call)

    def pass_on(kind: Kind) -> None:
        @kopf.on.event(kind.group, kind.version, kind.plural, registry=registry)
        async def changed(event: Any, **_: Any) -> None:
            inbox.take(kind.plural, event["type"], event["object"])

    for kind in WATCHED:
        pass_on(kind)
    return registry


def make_settings(api: Api) -> kopf.OperatorSettings:
    """Return kopf's settings: explicit time-outs, bounded retries, and nothing written by it."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False  # our Events are written once each, by `kubernetes.events`
    settings.peering.standalone = True  # one leader is elected by a Lease
    settings.scanning.disabled = True  # kinds are known, and were listed at the start
    settings.watching.server_timeout = int(api.watch_timeout_s)  # it goes into the URL
    settings.watching.client_timeout = api.watch_timeout_s + api.request_timeout_s
    settings.watching.connect_timeout = api.request_timeout_s
    settings.watching.inactivity_timeout = api.watch_silence_s
    settings.watching.reconnect_backoff = RECONNECT_S
    settings.watching.initial_streaming = False  # `Relisting` compares lists
    settings.watching.chunk_size = PAGE
    settings.queueing.idle_timeout = IDLE_S
    settings.persistence.diffbase_storage = _NoEssence()
    settings.networking.request_timeout = 3 * api.request_timeout_s  # a page of a list is large
    settings.networking.connect_timeout = api.request_timeout_s
    settings.networking.error_backoffs = ERROR_BACKOFFS_S
    settings.networking.enforce_retry_after = True
    settings.process.ultimate_exiting_timeout = None  # the app bounds its own end
    return settings
