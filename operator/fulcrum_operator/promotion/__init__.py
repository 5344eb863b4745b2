"""Decide whether a channel may move, purely: from observations to writes.

`decide` is for promotions and rollbacks, `keep_up` for a channel between its moves. The reconciler
observes and acts; `needs_proof` says whether it has to read the store.
"""

from fulcrum_operator.promotion.decide import decide, needs_proof
from fulcrum_operator.promotion.keeping import keep_up

__all__ = ["decide", "keep_up", "needs_proof"]
