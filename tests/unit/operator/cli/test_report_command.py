"""`fulcrum report` in its three forms: files, a run in a store, and a job of a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from stand_in import stand_in_plan, work
from stored_runs import assess_run
from typer.testing import CliRunner

from fulcrum_operator.cli.main import app
from fulcrum_operator.cli.refusals import CommandError
from fulcrum_operator.cli.report import stored_at
from fulcrum_operator.controllers.publisher import publish
from fulcrum_pipelines.errors import FulcrumError, UserError
from fulcrum_pipelines.storage.store import Store

PLAN = stand_in_plan("succeed")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store with one run, in which no report is yet; the working directory is another."""
    made = Store(str(tmp_path / "store"))
    made.put_record(PLAN)
    work(made, PLAN)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    return made


def refused(*arguments: str) -> FulcrumError:
    error = CliRunner().invoke(app, ["report", *arguments]).exception
    assert isinstance(error, FulcrumError)
    return error


@pytest.mark.parametrize("published", [True, False], ids=["in the store", "made here"])
def test_run_of_a_store(store: Store, published: bool, tmp_path: Path) -> None:
    page = Path(publish(store, PLAN, assess_run(store, PLAN)).report_path)
    content = page.read_bytes()
    if not published:
        page.unlink()
    outcome = CliRunner().invoke(app, ["report", PLAN.run, "--store", store.url])
    target = Path(outcome.stdout.strip())
    assert target == Path(f"{PLAN.run}-report.html")
    assert target.read_bytes() == content
    assert page.exists() == published
    other = tmp_path / "mine.html"
    CliRunner().invoke(app, ["report", PLAN.run, "--store", store.url, "-o", str(other)])
    assert other.read_bytes() == content


def test_run_that_did_not_end_shows_the_stages_that_did(store: Store) -> None:
    store.delete(f"runs/{PLAN.run}/evidence.json")
    store.delete(f"runs/{PLAN.run}/stages/validate.json")
    assert CliRunner().invoke(app, ["report", PLAN.run, "--store", store.url]).exit_code == 0
    page = Path(f"{PLAN.run}-report.html").read_text(encoding="utf-8")
    assert "Validate left no evidence." in page


def test_open_shows_the_file_in_a_browser(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda url: not opened.append(url))
    CliRunner().invoke(app, ["report", PLAN.run, "--store", store.url, "--open"])
    assert opened == [(Path.cwd() / f"{PLAN.run}-report.html").as_uri()]


@dataclass(frozen=True)
class Refused:
    """Arguments, and what is said of them."""

    arguments: tuple[str, ...]
    message: str


REFUSED = (
    Refused(("unknown-1", "--store", "{store}"), "the store has no evidence there"),
    Refused(("mnist", "--store", "{store}", "-n", "team"), "give RUN with --store, or JOB"),
    Refused(("s3://bucket/runs/mnist-1",), "give RUN and --store URL"),
    Refused(("runs/mnist-1",), "No such file"),
    Refused(("evidence.json",), "No such file"),
    Refused(("mnist",), "and 'mnist' is no file or folder here"),
)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: " ".join(case.arguments))
def test_refusals_say_what_to_do(store: Store, case: Refused) -> None:
    error = refused(*(each.format(store=store.url) for each in case.arguments))
    assert isinstance(error, UserError)
    assert case.message in str(error)


@dataclass(frozen=True)
class Place:
    """A job's status, and the place of its report or the error."""

    name: str
    status: dict[str, Any]
    store: str = ""
    message: str = ""


EVIDENCE = {"evidence": {"uri": "s3://b/p/runs/r-1/evidence.json", "digest": "d"}}
PLACES = (
    Place("in a bucket", {"report": "s3://b/p/runs/r-1/report.html", **EVIDENCE}, "s3://b/p"),
    Place("only evidence", EVIDENCE, "s3://b/p"),
    Place("bucket with folder runs", {"report": "s3://b/runs/runs/r-1/report.html"}, "s3://b/runs"),
    Place("elsewhere", {"report": "/no/such/runs/r-1/report.html"}, message="operator's own mach"),
    Place("elsewhere, as URL", {"report": "file:///no/runs/r-1/report.html"}, message="own machi"),
    Place("not started", {}, message="has no verdict yet, and so no report (phase Pending)"),
    Place("running", {"phase": "Running", "run": {"key": "r-1"}}, message="yet"),
    Place(
        "failed",
        {"phase": "Failed", "completionTime": "now", "run": {"key": "r-1"}},
        message="it ended as Failed; fulcrum report r-1 --store URL shows the stages",
    ),
)


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.name)
def test_place_of_a_jobs_report(place: Place) -> None:
    job = {"metadata": {"name": "mnist"}, "status": place.status}
    if not place.message:
        assert stored_at(job) == (place.store, "r-1")
        return
    with pytest.raises(CommandError, match="report") as caught:
        stored_at(job)
    assert place.message in str(caught.value)


def test_place_is_read_if_the_operator_is_on_this_machine(store: Store) -> None:
    address = publish(store, PLAN, assess_run(store, PLAN)).report_path
    job = {"metadata": {"name": "mnist"}, "status": {"report": address}}
    assert stored_at(job) == (store.url, PLAN.run)
