"""The suite for real servers: its counts, its output, and when it uses a real server.

Its tests themselves run over the stand-in, in the folder `real`.
"""

from __future__ import annotations

import re

import pytest
from kubeflow.others import pods_of
from kubeflow.site import NEEDED, is_real
from kubeflow.table import PODS, rows


@pytest.mark.parametrize(
    ("nodes", "drivers", "stages"),
    [
        pytest.param([], 0, 0, id="no nodes are listed yet"),
        pytest.param(
            ["root-driver", "root-driver(0)", "root", "root(0)", "step-driver", "step-driver(0)",
             "step", "step(0)", "executor", "executor(0)", "step-wq4rl", "step-wq4rl(0)"],
            2, 1, id="nodes that may be repeated",
        ),
        pytest.param(
            ["root", "root-driver", "produce", "produce-driver", "consume", "consume-driver",
             "executor", "executor", "real-gpu-h2glr"],
            3, 2, id="nodes that are not repeated",
        ),
        pytest.param(
            ["root-driver", "root-driver(0)", "step-driver", "step-driver(0)", "step", "step(0)",
             "step(1)", "executor", "executor(0)", "executor", "executor(0)"],
            2, 2, id="a pod was deleted",
        ),
        pytest.param(
            ["root-driver", "step-driver", "root", "step", "executor SKIPPED"],
            2, 0, id="from the cache of Kubeflow",
        ),
        pytest.param(
            ["root-driver FAILED", "root-driver(0) FAILED", "root -", "step -", "step-driver -"],
            1, 0, id="stopped at once",
        ),
    ],
)  # fmt: skip
def test_pods_are_counted_by_the_nodes_of_a_run(
    nodes: list[str], drivers: int, stages: int
) -> None:
    states = [(name.split()[0], [*name.split(), "SUCCEEDED"][1].strip("-")) for name in nodes]
    found = pods_of(states)
    assert (len(found[0]), len(found[1])) == (drivers, stages)


def report(name: str, when: str, outcome: str, pods: tuple[int, int] | None) -> pytest.TestReport:
    """Return the report of a part of a test that took 1 s."""
    properties = [] if pods is None else [(PODS, pods)]
    location = ("file.py", 1, name)
    given = {"when": when, "outcome": outcome, "user_properties": properties, "duration": 1.0}
    return pytest.TestReport(name, location, {}, longrepr=None, **given)  # type: ignore[arg-type]


def test_table_has_a_line_for_each_test_and_a_sum() -> None:
    reports = [
        *(report("good", when, "passed", None) for when in ("setup", "call")),
        report("good", "teardown", "passed", (5, 3)),
        report("bad", "setup", "passed", None),
        report("bad", "call", "failed", None),
        report("bad", "teardown", "passed", (2, 1)),
        report("left out", "setup", "skipped", None),
        report("left out", "teardown", "passed", None),
        report("untidy", "call", "passed", None),
        report("untidy", "teardown", "failed", None),
    ]
    table = [re.sub(" +", " ", row).strip() for row in rows(reports)]
    assert table == [
        "outcome seconds pods drivers test",
        "passed 3.0 5 3 good",
        "failed 3.0 2 1 bad",
        "skipped in setup 2.0 0 0 left out",
        "failed in teardown 2.0 0 0 untidy",
        "together 10.0 7 4",
    ]


@pytest.mark.parametrize("missing", NEEDED)
def test_incomplete_server_settings_error_names_the_missing_ones(missing: str) -> None:
    server = dict.fromkeys(NEEDED, "given")
    assert is_real(server)
    assert not is_real(dict.fromkeys(NEEDED, ""))
    with pytest.raises(pytest.UsageError, match=f"needs {missing} too"):
        is_real({**server, missing: ""})
