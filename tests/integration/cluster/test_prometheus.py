"""The queries and alerts of docs/metrics.md work in a real Prometheus.

Needs Debian's `prometheus`; skipped if it is missing.
"""

from __future__ import annotations

import math
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest
import yaml
from monitored import CONFIG, DOCS, PATIENCE_S, RULES, SICK, WELL, Operators, Server, serving
from monitored import prometheus as running
from prometheus_client import generate_latest

PROMETHEUS, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")
pytestmark = pytest.mark.skipif(
    PROMETHEUS is None or PROMTOOL is None, reason="Debian's prometheus is not installed"
)

QUERIES = re.findall(r"```promql\n(.+?)```", (DOCS / "metrics.md").read_text(), re.DOTALL)
RULE_LIST = [
    rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
]
ALERTS = [rule["alert"] for rule in RULE_LIST if "alert" in rule]
RECORDED = [rule["record"] for rule in RULE_LIST if "record" in rule]
ABOUT_AN_ADDRESS = "FulcrumDown"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Prometheus that scrapes both operators each second."""
    assert PROMETHEUS is not None
    directory = tmp_path_factory.mktemp("prometheus")
    with serving() as ports, running(PROMETHEUS, ports, directory) as started:
        yield started


def eventually(holds: Callable[[], bool]) -> bool:
    """Return whether it comes true: a rate needs two scrapes, a rule an evaluation after them."""
    until = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.25)
    return True


def has_figures(server: Server, query: str) -> bool:
    """Return whether it has any: of what never happened, such as a phase, quantiles are NaN."""
    return any(map(math.isfinite, server.figures(query)))


@pytest.mark.parametrize("query", QUERIES, ids=str.strip)
def test_documented_query_returns_figures(server: Server, query: str) -> None:
    assert eventually(lambda: has_figures(server, query)), server.get("query", query=query)


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_series_has_figures_of_both(server: Server, name: str) -> None:
    for job in (WELL, SICK):
        assert eventually(lambda job=job: has_figures(server, f'{name}{{job="{job}"}}'))


@pytest.mark.parametrize("alert", [name for name in ALERTS if name != ABOUT_AN_ADDRESS])
def test_alert_is_raised_for_the_sick_operator_alone(server: Server, alert: str) -> None:
    assert eventually(lambda: alert in server.raised(SICK)), server.raised(SICK)
    assert alert not in server.raised(WELL)


def test_address_without_an_operator_raises_an_alert(server: Server) -> None:
    assert eventually(lambda: ABOUT_AN_ADDRESS in server.raised(WELL))
    assert server.figures(f'count(up{{job="{WELL}"}} == 1)') == [1.0]


def test_no_rule_fails(server: Server) -> None:
    groups = server.get("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) == len(RULE_LIST)
    assert eventually(
        lambda: all(
            rule["health"] == "ok"
            for group in server.get("rules")["groups"]
            for rule in group["rules"]
        )
    )


def test_latency_is_the_one_that_was_measured(server: Server) -> None:
    query = (
        'fulcrum_model_latency_seconds{model="mnist", role="baseline", batch="1", quantile="0.5"}'
    )
    wanted = f'{query[:-1]}, job="{WELL}"}}'
    assert eventually(lambda: has_figures(server, wanted))
    assert server.figures(wanted) == [0.00172]


@pytest.mark.parametrize("check", [("rules", RULES), ("config", CONFIG)], ids=lambda one: one[0])
def test_promtool_finds_nothing_in(check: tuple[str, object]) -> None:
    said = promtool("check", check[0], str(check[1]))
    assert said.returncode == 0, said


def test_promtool_finds_nothing_in_what_is_served() -> None:
    operators = Operators()
    operators.tick()
    for metrics in (operators.well, operators.sick):
        said = promtool("check", "metrics", given=generate_latest(metrics.registry).decode())
        assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


def promtool(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    assert PROMTOOL is not None
    return subprocess.run(
        [PROMTOOL, *arguments], input=given, capture_output=True, text=True, check=False
    )
