"""The network and the API server misbehave, and every job still ends as it should, once.

Limits of the operator here are small, so that faults pass them in seconds: a watch may be silent
for 3 s and a dead one fails the liveness probe after 12 s, a lease lasts 4 s.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from cluster.building import Binaries
from cluster.control_plane import ControlPlane
from cluster.installing import install
from cluster.processes import this_process
from cluster.programs import APISERVER
from fault_proxy import Fault, FaultProxy
from operator_site import Site, open_site, promoting_job
from operators import OperatorProcess, wait_until
from scraping import Scrape, scrape

from fulcrum_operator.kubernetes.kubeconfig import from_kubeconfig

SILENCE_S = 3.0
API = {"watch_silence_s": SILENCE_S, "request_timeout_s": 5.0}
WATCHES = 7
THIRD = 1 / 3
WITHIN_S = 120.0
REQUESTS = "fulcrum_api_requests_total"
WRITES = "POST|PATCH|DELETE"
COLLECTION = r"compressionjobs\?.*watch="


@pytest.fixture(scope="module")
def proxy(
    control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FaultProxy]:
    """The proxy that the operator uses as its API server."""
    upstream = from_kubeconfig(control_plane.admin_kubeconfig)
    with FaultProxy(upstream, tmp_path_factory.mktemp("proxy")) as serving:
        yield serving


@pytest.fixture(scope="module")
def only_operator(
    site: Site, proxy: FaultProxy, control_plane: ControlPlane
) -> Iterator[OperatorProcess]:
    """The operator of all tests here."""
    account = ("fulcrum-operator", "--namespace=fulcrum-system", "--duration=24h")
    token = control_plane.kubectl("create", "token", *account).strip()
    made = site.new_operator(kubeconfig=proxy.kubeconfig(token), api=API)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def operator(only_operator: OperatorProcess, proxy: FaultProxy) -> Iterator[OperatorProcess]:
    """The operator, ready; all is well again afterwards."""
    if not only_operator.alive:
        only_operator.start()
    wait_until(only_operator.is_ready, WITHIN_S, lambda: only_operator.log[-4000:])
    yield only_operator
    proxy.clear()


def start_jobs(site: Site, name: str) -> dict[str, int]:
    """Create a job that ends, one that needs a second attempt, and return how many each has."""
    spec: dict[str, Any] = {"backoffLimit": 2}
    return {
        promoting_job(site, f"succeed.{name}"): 1,
        promoting_job(site, f"flaky.{name}", **spec): 2,
    }


def check_ends(site: Site, attempts: dict[str, int]) -> None:
    """Wait for jobs; nothing of them happened twice, and everything did."""
    for name, number in attempts.items():
        site.jobs.ended(name, WITHIN_S)
        check_once(site, name, number)


def check_once(site: Site, name: str, attempts: int) -> None:
    """One run an attempt, one promotion, one move of the channel, no Event twice.

    An Event may be missing: it is a courtesy, which is tried for as often as any call.
    """
    job = site.jobs.get(name)
    uid = job["metadata"]["uid"]
    assert job["status"]["phase"] == "Succeeded"
    keys = [f"{name}-{uid[:12]}-{number}" for number in range(1, attempts + 1)]
    assert site.starts(name) == dict.fromkeys(keys, 1)
    (promotion,) = site.jobs.promotions_of(name)
    assert promotion["status"]["phase"] == "Promoted"
    assert site.jobs.status(name, "ModelChannel")["moves"] == 1
    recorded = site.jobs.events(name)
    assert len(recorded) == len(set(recorded))


@dataclass(frozen=True)
class Weather:
    """Faults that continue while jobs run, and the requests that then grow in the metrics.

    Attributes:
        name: Of the case, and of its jobs.
        fault: The rule of the proxy.
        labels: Of the requests whose number grows.
        retried: Whether the client retried by itself.
    """

    name: str
    fault: Fault
    labels: dict[str, str]
    retried: bool = True


WEATHERS = (
    Weather(
        "errors",
        Fault("answer", times=None, share=THIRD, status=500, reason="InternalError"),
        {"code": "500"},
    ),
    Weather("busy", Fault("answer", times=None, share=THIRD), {"code": "503"}),
    Weather("lost-requests", Fault("drop", times=None, share=THIRD), {"code": "unreachable"}),
    Weather(
        "lost-answers",
        Fault("drop_after", WRITES, times=None, share=THIRD),
        {"code": "unreachable"},
    ),
    Weather(
        "conflicts",
        Fault("conflict_once", times=None),
        {"code": "409", "verb": "patch"},
        retried=False,
    ),
    Weather(
        "throttled",
        Fault(
            "answer", times=None, share=THIRD, status=429, reason="TooManyRequests", retry_after="1"
        ),
        {"code": "429"},
    ),
)


@pytest.mark.parametrize("weather", WEATHERS, ids=lambda weather: weather.name)
def test_bad_weather(
    site: Site, operator: OperatorProcess, proxy: FaultProxy, weather: Weather
) -> None:
    waiting = promoting_job(site, f"wait.{weather.name}")
    site.runs_now(waiting)
    before = scrape(operator)
    proxy.add(weather.fault)
    attempts = start_jobs(site, weather.name)
    site.let_go(waiting)
    check_ends(site, {**attempts, waiting: 1})
    after = scrape(operator)
    assert after(REQUESTS, **weather.labels) > before(REQUESTS, **weather.labels)
    retries = after("fulcrum_api_retries_total") - before("fulcrum_api_retries_total")
    assert retries > 0 or not weather.retried
    ended = "fulcrum_job_outcomes_total"
    # If an answer and the lease are lost together, an end is not counted; none is counted twice.
    assert 0 < after(ended, phase="Succeeded") - before(ended, phase="Succeeded") <= 3


def test_refusals_that_outlast_the_tries_of_a_call(
    site: Site, operator: OperatorProcess, proxy: FaultProxy
) -> None:
    before, failed = scrape(operator), "fulcrum_reconcile_errors_total"
    proxy.add(Fault("answer", "PATCH", path="compressionjobs/", times=12))
    check_ends(site, start_jobs(site, "refused"))
    assert scrape(operator)(failed, error="Unavailable") > before(failed, error="Unavailable")


def test_slow_answers(site: Site, operator: OperatorProcess, proxy: FaultProxy) -> None:
    delay_s, before = 0.3, scrape(operator)
    proxy.add(Fault("delay", times=None, delay_s=delay_s))
    check_ends(site, start_jobs(site, "slow"))
    assert mean_s(before, scrape(operator), verb="create") > delay_s


def mean_s(before: Scrape, after: Scrape, **labels: str) -> float:
    """Return how long requests took between two looks."""
    name = "fulcrum_api_request_duration_seconds"
    seconds = after(f"{name}_sum", **labels) - before(f"{name}_sum", **labels)
    return seconds / (after(f"{name}_count", **labels) - before(f"{name}_count", **labels))


@pytest.mark.parametrize(
    "outage_s", [20.0, pytest.param(60.0, marks=pytest.mark.long)], ids=lambda given: f"{given:g}s"
)
def test_outage(site: Site, operator: OperatorProcess, proxy: FaultProxy, outage_s: float) -> None:
    """An outage beyond the limits of leases and watches: no writes, and no process is killed."""
    waiting = promoting_job(site, f"wait.outage-{outage_s:g}")
    site.runs_now(waiting)
    until_s, before = time.monotonic() + outage_s, scrape(operator)
    proxy.outage()
    try:
        attempts = start_jobs(site, f"outage-{outage_s:g}")
        site.let_go(waiting)
        wait_until(lambda: scrape(operator)("fulcrum_leader") == 0, 10)
        effects = operator.effects
        time.sleep(until_s - time.monotonic())
        during = scrape(operator)
        assert operator.get("healthz")[0] == 200
        assert operator.get("readyz")[0] == 503
        assert operator.effects == effects
    finally:
        proxy.restore()
    check_ends(site, {**attempts, waiting: 1})
    after, moves = scrape(operator), "fulcrum_lease_transitions_total"
    assert after("fulcrum_leader") == 1
    assert after(moves, to="standby") == before(moves, to="standby") + 1
    assert after(moves, to="leading") == before(moves, to="leading") + 1
    age = "fulcrum_watch_age_seconds"
    assert during(age, resource="compressionjobs.fulcrum.dev") > outage_s - 2 * SILENCE_S
    assert after(age, resource="compressionjobs.fulcrum.dev") < 2 * SILENCE_S
    unreachable = {"code": "unreachable"}
    assert during(REQUESTS, **unreachable) > before(REQUESTS, **unreachable)


def test_watch_that_falls_silent(site: Site, operator: OperatorProcess, proxy: FaultProxy) -> None:
    watch = {"verb": "watch", "resource": "compressionjobs.fulcrum.dev"}
    before = scrape(operator)
    proxy.add(Fault("silence", path=COLLECTION, times=None))
    attempts = start_jobs(site, "silent")
    time.sleep(SILENCE_S + 1)
    assert not any(map(site.jobs.status, attempts)), "the operator heard of the jobs"
    proxy.clear()
    check_ends(site, attempts)
    assert scrape(operator)(REQUESTS, **watch) > before(REQUESTS, **watch)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("answer", path="watch=", times=WATCHES, status=410, reason="Expired"),
        Fault("expire", path="watch=", times=WATCHES),
        Fault("break", path="watch=", times=WATCHES, status=500, reason="InternalError"),
    ],
    ids=lambda fault: fault.action,
)
def test_version_that_is_too_old_or_error_in_the_stream(
    site: Site, operator: OperatorProcess, proxy: FaultProxy, fault: Fault
) -> None:
    """All begins with the lists again, which say nothing of what was deleted meanwhile."""
    old = site.jobs.apply(f"succeed.deleted-{fault.action}")
    site.jobs.ended(old)
    recipe = f"deleted-{fault.action}"
    site.jobs.create("CompressionRecipe", recipe, {"quantize": {}})
    listed = {"verb": "list", "resource": "compressionjobs.fulcrum.dev"}
    before = scrape(operator)
    proxy.outage()
    try:
        site.jobs.delete(old)
        site.jobs.delete(recipe, "CompressionRecipe")
        proxy.add(fault)
        attempts = start_jobs(site, f"expired-{fault.action}")
    finally:
        proxy.restore()
    check_ends(site, attempts)
    assert scrape(operator)(REQUESTS, **listed) > before(REQUESTS, **listed)
    assert proxy.done[fault.action] >= WATCHES
    wait_until(lambda: scrape(operator)("fulcrum_jobs") == len(site.jobs.names()), 30)
    site.jobs.apply(orphan := f"succeed.of-{recipe}", recipe=None, recipeRef={"name": recipe})
    wait_until(lambda: "conditions" in site.jobs.status(orphan), 30)
    (accepted,) = (
        each for each in site.jobs.status(orphan)["conditions"] if each["type"] == "Accepted"
    )
    assert (accepted["status"], recipe in accepted["message"]) == ("False", True)


def test_watch_that_makes_no_sense_ends_the_process_and_loses_nothing(
    site: Site, operator: OperatorProcess, proxy: FaultProxy
) -> None:
    waiting = promoting_job(site, "wait.garbled")
    site.runs_now(waiting)
    proxy.add(Fault("garble", path=COLLECTION))
    proxy.cut()
    wait_until(lambda: not operator.alive, 30)
    assert operator.stop() == 1
    assert "the watches broke, so this process ends: JSONDecodeError" in operator.log
    attempts = start_jobs(site, "garbled")
    site.let_go(waiting)
    operator.start()
    check_ends(site, {**attempts, waiting: 1})


def test_revoked_token(site: Site, operator: OperatorProcess, proxy: FaultProxy) -> None:
    """A refused client calls the server rarely, and work resumes once its token is valid again."""
    waiting = promoting_job(site, "wait.revoked")
    site.runs_now(waiting)
    before = scrape(operator)
    proxy.add(Fault("answer", status=401, reason="Unauthorized", times=None))
    proxy.cut()
    attempts = start_jobs(site, "revoked")
    site.let_go(waiting)
    wait_until(lambda: scrape(operator)("fulcrum_leader") == 0, 15)
    during, watch = scrape(operator), {"verb": "watch", "code": "401"}
    assert operator.get("healthz")[0] == 200
    assert 0 < during(REQUESTS, **watch) - before(REQUESTS, **watch) <= 10 * WATCHES
    proxy.clear()
    check_ends(site, {**attempts, waiting: 1})


@pytest.fixture
def own_plane(built: Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane that may be maltreated."""
    plane = ControlPlane(tmp_path_factory.mktemp("own-plane"), built, owner=this_process())
    plane.start()
    try:
        install(plane)
        yield plane
    finally:
        plane.stop()


def test_api_server_is_restarted(
    own_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> None:
    site = open_site(own_plane, tmp_path_factory.mktemp("own-site"))
    try:
        operator = site.new_operator(api=API)
        operator.start()
        waiting = promoting_job(site, "wait.restart")
        site.runs_now(waiting)
        own_plane.stop_process(APISERVER)
        site.let_go(waiting)
        own_plane.start_process(APISERVER)
        check_ends(site, {**start_jobs(site, "restart"), waiting: 1})
        assert operator.alive
        assert operator.get("healthz")[0] == 200
        assert operator.stop() == 0
    finally:
        site.close()
