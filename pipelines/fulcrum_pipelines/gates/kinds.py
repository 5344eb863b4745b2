"""Finds the module that decides each kind of gate of the catalogue.

The module is called as the kind, in snake case: `non_inferiority` decides `nonInferiority`. It has
either `decide`, or, for kinds that look at an interval, the functions of `interval.IntervalKind`.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from functools import partial
from types import ModuleType

from fulcrum_pipelines.catalog import GATE_KINDS
from fulcrum_pipelines.evidence import ValidateDetails
from fulcrum_pipelines.gates.interval import decide_interval
from fulcrum_pipelines.gates.verdict import GateResult, Limit
from fulcrum_pipelines.resources.compressionjob import Gate

Decide = Callable[[Gate, ValidateDetails], GateResult]


def module_name(kind: str) -> str:
    """Return the name of the module that decides gates of `kind`."""
    return "fulcrum_pipelines.gates." + re.sub("(?=[A-Z])", "_", kind).lower()


def limit_of(gate: Gate) -> Limit | None:
    """Return what `gate` accepts on all data, or None if its kind decides without one limit.

    Raises:
        Undecided: The gate names no limit.
    """
    limit = getattr(_module(gate.kind), "limit", None)
    found: Limit | None = None if limit is None else limit(gate, None)
    return found


def _module(kind: str) -> ModuleType:
    return importlib.import_module(module_name(kind))


def _decision(kind: str) -> Decide:
    module = _module(kind)
    own: Decide | None = getattr(module, "decide", None)
    return partial(decide_interval, kind=module) if own is None else own


KINDS: dict[str, Decide] = {kind: _decision(kind) for kind in GATE_KINDS}
