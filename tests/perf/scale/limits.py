"""Compares what was measured with the committed limits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from perf.scale.machine import QUIET_CORES

LIMITS = Path(__file__).resolve().parents[1] / "scale.yaml"


def compare(figures: Mapping[str, Any], path: Path = LIMITS) -> bool:
    """Print each limit beside what was measured; return whether all hold.

    A limit with `quiet` is about elapsed time, which says nothing if other programs used the
    processors: it is then printed as BUSY, and does not fail.
    """
    fine = True
    for name, limit in yaml.safe_load(path.read_text())["limits"].items():
        value: Any = figures
        for key in name.split("."):
            value = value[key]
        held = limit.get("min", float("-inf")) <= value <= limit.get("max", float("inf"))
        others = figures[name.split(".")[0]].get("others_cores", 0.0)
        busy = bool(limit.get("quiet")) and others > QUIET_CORES
        word = "ok" if held else "BUSY" if busy else "BROKEN"
        bound = ", ".join(f"{key} {limit[key]:g}" for key in ("min", "max") if key in limit)
        note = f"; others took {others:.1f} cores, so it says nothing" if word == "BUSY" else ""
        print(f"{word:6} {name} = {value:.4g} ({bound}{note})")
        fine = fine and word != "BROKEN"
    return fine
