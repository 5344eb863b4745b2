"""A namespace that is deleted with running jobs goes away, and so do the processes of its runs."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

import pytest
from cluster_api import RefusedError
from operator_site import Site
from operators import Jobs, OperatorProcess, wait_until

WAIT_S = 90.0
RUNNING = ("hang.one", "hang.two", "ignore-sigterm")
DOOMED = ("up", "down", "busy")
MOST_COMPLAINTS = 3
"""Lines in the log about a namespace that ends, for what was going on in it; an error that comes
again and again makes dozens. Seen were none in 3 runs of each test."""


@pytest.fixture(scope="module")
def namespaces(site: Site) -> dict[str, Jobs]:
    """Namespaces to be deleted, one a test."""
    names = {name: f"{name}-{secrets.token_hex(4)}" for name in DOOMED}
    for name in names.values():
        site.plane.kubectl("create", "namespace", name)
    return {name: Jobs(site.plane.kubectl, found) for name, found in names.items()}


@pytest.fixture(scope="module")
def watching(site: Site, namespaces: dict[str, Jobs]) -> Iterator[OperatorProcess]:
    """One operator for all of them."""
    watched = [site.namespace, *(jobs.namespace for jobs in namespaces.values())]
    made = site.new_operator(namespaces=watched, process={"max_running": len(RUNNING)})
    made.start()
    yield made
    assert made.stop() == 0, made.log[-4000:]


@pytest.fixture
def operator(watching: OperatorProcess) -> OperatorProcess:
    """The same, which may have been killed before."""
    if not watching.alive:
        watching.start()
    return watching


def fill(site: Site, jobs: Jobs) -> None:
    """Create jobs of all sorts: promoted, refused, running, waiting."""
    jobs.create("ModelChannel", "production", {"description": "production"})
    jobs.apply("succeed", promotion={"channel": "production", "mode": "Automatic"})
    jobs.apply("refused", recipe=None, recipeRef={"name": "nowhere"})
    assert jobs.ended("succeed")["phase"] == "Succeeded"
    for name in RUNNING:
        jobs.apply(name)
    wait_until(lambda: len(site.runs()) == len(RUNNING), WAIT_S)
    jobs.apply("hang.waits")
    jobs.reaches("hang.waits", "Pending")


def delete(jobs: Jobs) -> None:
    jobs.kubectl("delete", "namespace", jobs.namespace, "--wait=false")


def is_gone(jobs: Jobs) -> bool:
    try:
        jobs.api("GET", f"/api/v1/namespaces/{jobs.namespace}")
    except RefusedError as error:
        return error.code == 404
    return False


def check_nothing_left(site: Site, jobs: Jobs, complaints: Callable[[str], list[str]]) -> None:
    """Neither the namespace, nor a process, nor an operator that cannot let go."""
    wait_until(lambda: is_gone(jobs), WAIT_S, lambda: "\n".join(complaints("")))
    wait_until(lambda: site.runs() == [], WAIT_S, lambda: str(site.runs()))
    assert len(complaints(jobs.namespace)) <= MOST_COMPLAINTS, complaints(jobs.namespace)


def complaints_of(operator: OperatorProcess) -> Callable[[str], list[str]]:
    """Return how to ask for an operator's complaints from now on, those with a word in them."""
    said = len(operator.log)
    levels = (" WARNING ", " ERROR ")

    def about(word: str) -> list[str]:
        lines = operator.log[said:].splitlines()
        return [line for line in lines if word in line and any(level in line for level in levels)]

    return about


def test_while_the_operator_is_up(
    site: Site, operator: OperatorProcess, namespaces: dict[str, Jobs]
) -> None:
    jobs = namespaces["up"]
    fill(site, jobs)
    complaints = complaints_of(operator)
    delete(jobs)
    check_nothing_left(site, jobs, complaints)


def test_while_the_operator_is_down(
    site: Site, operator: OperatorProcess, namespaces: dict[str, Jobs]
) -> None:
    jobs = namespaces["down"]
    fill(site, jobs)
    operator.kill()
    delete(jobs)
    wait_until(lambda: all("deletionTimestamp" in job["metadata"] for job in jobs.items()), WAIT_S)
    assert len(site.runs()) == len(RUNNING)
    complaints = complaints_of(operator)
    operator.start()
    check_nothing_left(site, jobs, complaints)


def test_while_jobs_are_starting(
    site: Site, operator: OperatorProcess, namespaces: dict[str, Jobs]
) -> None:
    jobs, complaints = namespaces["busy"], complaints_of(operator)
    for number in range(8):
        jobs.apply(f"hang.{number}")
    delete(jobs)
    check_nothing_left(site, jobs, complaints)


def test_run_whose_job_was_torn_away_is_swept(site: Site, operator: OperatorProcess) -> None:
    """A user removes the finalizer while the operator is down: only the engine knows the run."""
    name = site.jobs.apply("hang.torn")
    site.runs_now(name)
    operator.kill()
    patch = '{"metadata": {"finalizers": []}}'
    words = ("patch", "cpj", name, "-n", site.namespace, "--type=merge", "-p", patch)
    site.plane.kubectl(*words)
    site.jobs.delete(name)
    site.jobs.gone(name)
    assert len(site.runs()) == 1
    operator.start()
    wait_until(lambda: site.runs() == [], WAIT_S)
    folder = site.directory / "work"
    wait_until(lambda: not list(folder.glob(f"{name}-*/process.json")), WAIT_S)
