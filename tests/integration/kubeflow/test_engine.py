"""The engine passes the suite of all engines, over a server held to the recorded contract."""

from __future__ import annotations

from engine_suite import EngineSuite


class TestKubeflowEngine(EngineSuite):
    """The suite."""
