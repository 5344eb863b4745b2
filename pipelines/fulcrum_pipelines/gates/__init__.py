"""The gates: evidence and policy go in, a verdict comes out.

It needs only the standard library and the contract, so that any reader can decide again from the
files alone.
"""

from fulcrum_pipelines.gates.decide import decide
from fulcrum_pipelines.gates.verdict import GateResult, Limit, Outcome, SliceResult, Verdict

__all__ = ["GateResult", "Limit", "Outcome", "SliceResult", "Verdict", "decide"]
