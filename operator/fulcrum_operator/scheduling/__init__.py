"""Decisions about the slots of schedules: pure, as those about jobs and promotions are."""

from __future__ import annotations

from fulcrum_operator.scheduling.decide import decide

__all__ = ["decide"]
