"""`fulcrum report`: the HTML report of a run as a file here, fetched from a store or made again."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fulcrum_operator.cli.cluster_commands import KubeconfigOption, NamespaceOption, work_on
from fulcrum_operator.cli.saying import say

if TYPE_CHECKING:
    from fulcrum_operator.cli.cluster_commands import Desk

SOURCE = "RUN_DIR|EVIDENCE|JOB|RUN"


def report(
    source: Annotated[
        str,
        typer.Argument(
            metavar=SOURCE,
            help="Folder of a run in a store, or an evidence.json; or else a CompressionJob of a "
            "cluster; with --store, the key of a run.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File to write; by default report.html beside the evidence, or "
            "<JOB or RUN>-report.html here.",
        ),
    ] = None,
    store: Annotated[str, typer.Option(help="Directory or URL of the store that has RUN.")] = "",
    show: Annotated[bool, typer.Option("--open", help="Also open it in a browser.")] = False,
    namespace: NamespaceOption = "",
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Write the HTML report of a run or a job to a file, and print where it is.

    The report of a job is read from its store, with your credentials for it.
    """
    from fulcrum_pipelines.errors import UserError
    from fulcrum_pipelines.report.files import save_report, write_report

    on_cluster = bool(namespace or kubeconfig)
    if store and on_cluster:
        raise UserError("give RUN with --store, or JOB with --namespace or --kubeconfig")
    if "://" in source:
        raise UserError("for a run in a store, give RUN and --store URL", where=source)
    if not store and not on_cluster and _is_path(source):
        target = write_report(Path(source), output)
    else:
        target = output or Path(f"{source}-report.html")
        page = _of_run(store, source) if store else _of_job(source, namespace, kubeconfig)
        save_report(page, target)
    say(str(target))
    if show:
        _open(target)


def _is_path(source: str) -> bool:
    """Return whether `source` is a file or folder, or cannot be the name of a job."""
    return os.sep in source or source.endswith(".json") or Path(source).exists()


def _of_run(store: str, run: str) -> bytes:
    from fulcrum_pipelines.report.files import fetch_report
    from fulcrum_pipelines.storage.store import Store

    return fetch_report(Store(store), run)


def _of_job(name: str, namespace: str, kubeconfig: Path | None) -> bytes:
    from fulcrum_operator.cli.refusals import CommandError
    from fulcrum_operator.resources.names import COMPRESSION_JOB
    from fulcrum_pipelines.errors import UserError

    async def work(desk: Desk) -> dict[str, Any]:
        try:
            return await desk.get(COMPRESSION_JOB, name)
        except CommandError as error:
            message = f"{error.message}, and no file or folder of that name here"
            raise CommandError(message) from error

    try:
        job = work_on(kubeconfig, namespace, work)
    except UserError as error:  # of the kubeconfig, which a mistyped folder has nothing to do with
        message = f"{error.message}; and '{name}' is no file or folder here"
        raise UserError(message, where=error.where) from error
    return _of_run(*stored_at(job))


def stored_at(job: dict[str, Any]) -> tuple[str, str]:
    """Return the store that has the report of `job`, or its evidence, and the run's key.

    Raises:
        CommandError: The job has no verdict, or its store is a directory that is not here.
    """
    from fulcrum_operator.cli.refusals import CommandError

    name, status = job["metadata"]["name"], job.get("status") or {}
    address = status.get("report") or (status.get("evidence") or {}).get("uri")
    if address is None:
        why = f"CompressionJob {name} has no verdict"
        phase, run = status.get("phase", "Pending"), (status.get("run") or {}).get("key", "RUN")
        if "completionTime" not in status:
            raise CommandError(f"{why} yet, and so no report (phase {phase})")
        message = (
            f"{why}, and so no report: it ended as {phase}; "
            f"fulcrum report {run} --store URL shows the stages that ended"
        )
        raise CommandError(message)
    folder = address.rpartition("/")[0]
    store, _, run = folder.rpartition("/runs/")
    path = Path(folder.removeprefix("file://"))
    if (address.startswith("file://") or "://" not in address) and not path.is_dir():
        message = (
            "is on the operator's own machine, which this command cannot read; copy that file from "
            "there, or set the operator's `store` to a URL that both reach, such as s3://…"
        )
        raise CommandError(message, where=address)
    return store, run


def _open(target: Path) -> None:
    import webbrowser

    if not webbrowser.open(target.absolute().as_uri()):
        say("there is no browser to open it in", sys.stderr)
