"""The committed figures of scale, their graph and their limits belong together."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from perf.scale.limits import compare
from perf.scale.machine import QUIET_CORES
from perf.scale.plot import draw

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture
def figures() -> dict[str, Any]:
    """Results of the committed measurement."""
    found: dict[str, Any] = json.loads((DOCS / "scale.json").read_text())
    return found


def test_committed_graph_is_of_the_committed_figures(figures: dict[str, Any]) -> None:
    assert (DOCS / "scale.svg").read_text() == draw(figures)


def test_committed_run_breaks_no_limit(figures: dict[str, Any]) -> None:
    assert compare(figures)


@pytest.mark.parametrize(
    ("part", "name", "value", "others", "holds"),
    [
        pytest.param("finished", "rss_mb", 351.0, 0.0, False, id="memory"),
        pytest.param("finished", "rss_mb", 351.0, 2.0, False, id="memory on a busy machine"),
        pytest.param("burst", "jobs_per_s", 3.0, 0.0, False, id="slow"),
        pytest.param("burst", "jobs_per_s", 3.0, QUIET_CORES + 0.1, True, id="slow but busy"),
    ],
)
def test_limits_hold_or_break(
    figures: dict[str, Any], part: str, name: str, value: float, others: float, holds: bool
) -> None:
    changed = copy.deepcopy(figures)
    changed[part] |= {name: value, "others_cores": others}
    assert compare(changed) is holds
