"""The stand-in answers as the real server did, in every exchange that the contract restates."""

from __future__ import annotations

import pytest
from kubeflow.replay import Replay, differences, exchanges
from kubeflow.server import Server

RECORDED = 192
"""Exchanges, and a run whose body alone was kept."""


def test_every_exchange_is_answered_as_the_real_server_did() -> None:
    asked, wrong = 0, []
    with Server().running() as server:
        replay = Replay(server)
        for line in exchanges():
            wrong += [f"{line['name']}: {each}" for each in replay.ask(line)]
            asked += "do" in line
    assert wrong == []
    assert asked == RECORDED


@pytest.mark.parametrize(
    ("recorded", "found"),
    [
        pytest.param({"state": "FAILED"}, {"state": "CANCELED"}, id="state"),
        pytest.param({"code": 13}, {"code": 5}, id="code"),
        pytest.param({"runs": [{"display_name": "a"}]}, {}, id="missing field"),
        pytest.param({}, {"runs": []}, id="field too many"),
        pytest.param(
            {"state_history": ["PENDING"]}, {"state_history": [{"state": "RUNNING"}]}, id="history"
        ),
        pytest.param({"message": "Row not found"}, {"message": "no"}, id="words"),
        pytest.param({"finished_at": ""}, {"finished_at": "2026-11-24T00:00:00Z"}, id="end"),
        pytest.param(
            {"runs": [{"display_name": "a"}]}, {"runs": [{"display_name": "a"}] * 2}, id="rows"
        ),
    ],
)
def test_comparison_sees_what_differs(recorded: object, found: object) -> None:
    assert list(differences(recorded, found))
