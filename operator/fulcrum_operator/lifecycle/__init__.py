"""Decide the life of a job: from observations to actions.

Pure: no clock, no network, no state. Any moment may be the first after a crash, so a decision is
made only from stored state. `decide` is the only entry.
"""

from fulcrum_operator.lifecycle.decide import decide
from fulcrum_operator.lifecycle.limits import Limits

__all__ = ["Limits", "decide"]
