"""Reports as files: beside the evidence in a store, and made again from what a run left.

The verdict is decided again from the gates in the run's plan, not read from a file: evidence, plan
and report then cannot contradict each other.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from fulcrum_pipelines.contract import STAGES, Plan, digest_of, to_json
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.evidence import Evidence, Record, StageEvidence
from fulcrum_pipelines.gates import decide
from fulcrum_pipelines.gates.verdict import Verdict
from fulcrum_pipelines.report.page import render
from fulcrum_pipelines.storage.store import Store

R = TypeVar("R", bound=Record)


def store_report(store: Store, run: str, evidence: Evidence, verdict: Verdict, title: str) -> str:
    """Write the report of `run` beside its evidence and return its address.

    The same evidence has the same report, so writing it twice changes nothing.

    Raises:
        InfrastructureError: The store refuses, or does not answer.
    """
    path = f"runs/{run}/report.html"
    store.write(path, render(evidence, verdict, title=title).encode())
    return store.locate(path)


def fetch_report(store: Store, run: str) -> bytes:
    """Return the report of `run` from a store, made here where the store has none.

    Raises:
        UserError: The store has no evidence of the run.
        InfrastructureError: The store refuses, does not answer, or what it has is damaged.
    """
    page = store.read(f"runs/{run}/report.html")
    if page is not None:
        return page
    evidence = _stored_evidence(store, run)
    plan = store.plan(evidence.plan)
    return render(evidence, decide(evidence, plan.spec.gates), title=plan.name).encode()


def _stored_evidence(store: Store, run: str) -> Evidence:
    """Return the evidence of a run, or of the stages that ended."""
    whole = store.evidence(run)
    if whole is not None:
        return whole
    found = (store.stage_evidence(run, stage) for stage in STAGES)
    stages = tuple(stage for stage in found if stage is not None)
    if not stages:
        message = "the store has no evidence there; check the run's key and the store's address"
        raise UserError(message, where=store.locate(f"runs/{run}"))
    return Evidence(run=stages[0].run, plan=stages[0].plan, stages=stages)


def save_report(page: bytes, target: Path) -> None:
    """Write `page` to the file `target`.

    Raises:
        UserError: It cannot be written.
    """
    try:
        target.write_bytes(page)
    except OSError as error:
        message = f"cannot write the report: {error.strerror}; name another file"
        raise UserError(message, where=str(target)) from error


def write_report(source: Path, output: Path | None = None) -> Path:
    """Write the report of the run at `source` and return where it is.

    Args:
        source: Folder of a run (`runs/<run>` of a store), or a file with the whole evidence. A run
            that did not end has a report of the stages that did.
        output: File to write; by default `report.html` beside the evidence.

    Raises:
        UserError: There is no such file, it is no evidence, or the report cannot be written.
    """
    folder = source if source.is_dir() else source.parent
    evidence = read_evidence(source)
    plan = read_plan(folder / "plan.json", evidence)
    verdict = None if plan is None else decide(evidence, plan.spec.gates)
    page = render(evidence, verdict, title=evidence.run if plan is None else plan.name)
    target = folder / "report.html" if output is None else output
    save_report(page.encode(), target)
    return target


def read_evidence(source: Path | str) -> Evidence:
    """Return the evidence of a run's folder, in a store by its URL too, or of a file.

    Raises:
        UserError: It is missing or not valid.
        FulcrumError: A store does not answer, or has something else there.
    """
    if "://" in str(source):
        folder = Store(str(source).removesuffix("/evidence.json"))
        found = folder.read_record("evidence.json", Evidence)
        if found is None:
            raise UserError("there is no evidence.json", where=folder.url)
        return found
    source = Path(source)
    whole = source / "evidence.json"
    if not source.is_dir() or whole.exists():
        return _read(whole if source.is_dir() else source, Evidence)
    files = [source / "stages" / f"{stage}.json" for stage in STAGES]
    stages = tuple(_read(file, StageEvidence) for file in files if file.exists())
    if not stages:
        message = (
            "holds neither evidence.json nor stages/*.json; name the folder of a run, "
            "<store>/runs/<run>, or an evidence file"
        )
        raise UserError(message, where=str(source))
    return Evidence(run=stages[0].run, plan=stages[0].plan, stages=stages)


def read_plan(path: Path, evidence: Evidence) -> Plan | None:
    """Return the plan that the evidence names, or None if the file is missing.

    Raises:
        UserError: There is one, but it is another than the evidence was made by.
    """
    if not path.exists():
        return None
    plan = _read(path, Plan)
    if digest_of(to_json(plan)) != evidence.plan:
        message = f"is not the plan {evidence.plan} that the evidence was made by"
        raise UserError(message, where=str(path))
    return plan


def _read(path: Path, kind: type[R]) -> R:
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        message = f"cannot be read: {error.strerror}; name a run's folder or its evidence.json"
        raise UserError(message, where=str(path)) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = "".join(f"{part}: " for part in [".".join(map(str, first["loc"]))] if part)
        message = f"is not a valid {kind.__name__} record: {field}{first['msg']}"
        raise UserError(message, where=str(path)) from error
