"""The life of a job, decided: from what was observed to what is to be done, with nothing between.

Pure: no clock, no network, no state of its own. Any moment may be the first after a crash, so a
decision is made from what stands written only. `decide` is the only entry.
"""

from fulcrum_operator.lifecycle.decide import decide
from fulcrum_operator.lifecycle.limits import Limits

__all__ = ["Limits", "decide"]
