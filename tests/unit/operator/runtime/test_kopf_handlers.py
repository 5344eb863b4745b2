"""kopf does what the operator's own settings say, passes on what it hears, and writes nothing."""

from __future__ import annotations

import kopf

from fulcrum_operator.controllers.job_memory import JobMemory
from fulcrum_operator.kubernetes.credentials import Credentials
from fulcrum_operator.kubernetes.transport import ignore_call
from fulcrum_operator.kubernetes.watching import Watches
from fulcrum_operator.runtime.event_router import WATCHED, Inbox
from fulcrum_operator.runtime.kopf_handlers import (
    ERROR_BACKOFFS_S,
    RECONNECT_S,
    make_registry,
    make_settings,
)
from fulcrum_operator.settings import Api

API = Api(request_timeout_s=7.0, watch_timeout_s=120.0, watch_silence_s=33.0)


def test_every_wait_of_kopf_is_bounded() -> None:
    settings = make_settings(API)
    assert settings.watching.server_timeout == 120
    assert settings.watching.client_timeout == 127.0
    assert settings.watching.connect_timeout == 7.0
    assert settings.watching.inactivity_timeout == 33.0
    assert settings.watching.reconnect_backoff == RECONNECT_S
    assert settings.networking.request_timeout == 21.0
    assert settings.networking.connect_timeout == 7.0
    assert settings.networking.error_backoffs == ERROR_BACKOFFS_S
    assert settings.networking.enforce_retry_after


def test_kopf_writes_nothing_and_runs_no_election() -> None:
    settings = make_settings(API)
    assert not settings.posting.enabled
    assert settings.peering.standalone
    assert settings.scanning.disabled


def test_all_kinds_are_watched_and_none_gets_a_finalizer() -> None:
    inbox = Inbox(lambda *_: None, JobMemory({}, lambda key: None))
    watches = Watches(tuple(kind.plural for kind in WATCHED))
    registry = make_registry(inbox, Credentials("https://nowhere"), watches, ignore_call)
    assert isinstance(registry, kopf.OperatorRegistry)
    watched = {
        (each.selector.group, each.selector.version, each.selector.plural or each.selector.any_name)
        for each in registry._watching.get_all_handlers()
        if each.selector
    }
    assert watched == {(kind.group, kind.version, kind.plural) for kind in WATCHED}
    assert not registry._changing.get_all_handlers()
    assert not registry._spawning.get_all_handlers()
