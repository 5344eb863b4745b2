"""Whole jobs on a real API server, with runs at the stand-in for Kubeflow Pipelines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from cluster.control_plane import ControlPlane
from kubeflow.engines import IMAGE, UI, execute
from kubeflow.operated import Operated, operated, run_with_a_kill, runs_named
from kubeflow.pretending import pretended_site
from kubeflow.server import Fault, Server
from operators import START_TIMEOUT_S, Jobs, OperatorProcess, wait_until

CREATE = "POST /runs$"
POOLS = {"gpu-a": {"node_selector": {"pool": "gpu-a"}, "accelerator_count": 2, "cpu": "4"}}
RSS_LIMIT_BYTES = 135e6
"""After one job with its report: 127.8 MB in one run on 2 cores. Without reports it was 119.3,
119.4 and 119.5 MB in three, 116.7 idle; 116.3 and 113.6 with the process engine alone. kopf's share
has the package `kubernetes`, which it loads where it is there: kfp brings it here, and the
operator's own requirements do not."""

NewOperator = Callable[..., OperatorProcess]


@pytest.fixture
def server() -> Iterator[Server]:
    """A stand-in whose runs do their work."""
    with Server(execute=execute).running() as running:
        yield running


@pytest.fixture
def operator(new_operator: NewOperator, server: Server) -> OperatorProcess:
    """An operator with the engine; it is not started."""
    kubeflow = {"url": server.url, "image": IMAGE, "ui_url": UI, "request_timeout_s": 4.0}
    return new_operator(kubeflow={**kubeflow, "look_s": 0.0}, pools=POOLS)


def apply(jobs: Jobs, name: str, **spec: Any) -> str:
    return jobs.apply(name, engine="kubeflow", **spec)


def test_job_runs_on_its_pool_and_says_where_it_is_seen(
    operator: OperatorProcess, jobs: Jobs, server: Server
) -> None:
    operator.start()
    apply(jobs, "succeed", placement={"compute": "gpu-a"})
    jobs.reaches("succeed", "Succeeded")
    (run,) = server.world.runs.values()
    given = run.body["runtime_config"]["parameters"]
    assert given["node_selector"] == {"pool": "gpu-a"}
    assert (given["accelerator_count"], given["cpu"]) == ("2", "4")
    seen = jobs.status("succeed")["run"]
    assert (seen["reference"], seen["url"]) == (run.run_id, UI.format(run_id=run.run_id))
    assert seen["key"] == run.body["display_name"]
    assert operator._process is not None
    assert psutil.Process(operator._process.pid).memory_info().rss < RSS_LIMIT_BYTES


@pytest.mark.parametrize("effect", ["key-written", "submitted", "id-recorded"])
def test_operator_that_dies_asks_for_one_run(
    effect: str, operator: OperatorProcess, jobs: Jobs, server: Server
) -> None:
    run_with_a_kill(Operated(jobs, operator, ()), effect, quiet_s=0.0, timeout_s=START_TIMEOUT_S)
    assert server.count(CREATE) == 1


def test_job_of_the_suite_for_real_servers_runs_here(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    with pretended_site(tmp_path) as site:
        assert site.server is not None
        settings, store = site.own_settings(), site.own_store()
        with operated(site, settings, store, control_plane.admin_kubeconfig, tmp_path) as given:
            key = run_with_a_kill(given, "submitted", quiet_s=1.0, timeout_s=START_TIMEOUT_S)
            (run_id,) = asyncio.run(runs_named(settings, key))
        assert site.server.count(CREATE) == 1
        assert list(site.server.world.runs) == [run_id]


def test_lost_answer_costs_no_attempt(
    operator: OperatorProcess, jobs: Jobs, server: Server
) -> None:
    server.faults.append(Fault(CREATE, "act-then-hang"))
    operator.start()
    apply(jobs, "succeed")
    jobs.reaches("succeed", "Succeeded")
    assert server.count(CREATE) == 1
    assert jobs.status("succeed")["attempt"] == 1


def test_server_that_is_away_is_waited_for(
    operator: OperatorProcess, jobs: Jobs, server: Server
) -> None:
    server.faults.append(Fault(".", "refuse", 503, times=20))
    operator.start()
    apply(jobs, "succeed")
    jobs.reaches("succeed", "Succeeded")
    assert server.count(CREATE) == 1


def test_deleted_job_stops_its_run(operator: OperatorProcess, jobs: Jobs, server: Server) -> None:
    operator.start()
    apply(jobs, "hang")
    jobs.reaches("hang", "Running")
    jobs.delete("hang")
    wait_until(lambda: not jobs.exists("hang"), START_TIMEOUT_S)
    assert server.count("POST /runs/.*:terminate$") == 1


def test_unknown_pool_error_lists_known_pools(
    operator: OperatorProcess, jobs: Jobs, server: Server
) -> None:
    operator.start()
    apply(jobs, "succeed", placement={"compute": "gpu-b"})
    wait_until(lambda: "gpu-b" in jobs.status("succeed").get("message", ""), START_TIMEOUT_S)
    status = jobs.status("succeed")
    assert status["phase"] == "Pending"
    assert "(allowed: default, gpu-a)" in status["message"]
    assert server.world.runs == {}
