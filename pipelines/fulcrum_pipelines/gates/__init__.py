"""The gates: evidence and policy go in, a verdict comes out.

Nothing but the standard library and the contract is needed, so that anybody can decide again from
the files alone.
"""

from fulcrum_pipelines.gates.decide import decide
from fulcrum_pipelines.gates.verdict import GateResult, Limit, Outcome, SliceResult, Verdict

__all__ = ["GateResult", "Limit", "Outcome", "SliceResult", "Verdict", "decide"]
