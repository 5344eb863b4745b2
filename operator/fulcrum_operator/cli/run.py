"""`fulcrum run`: a manifest goes in; a smaller model, evidence, a verdict and a report come out."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

DEFAULT_STORE = ".fulcrum/store"
WORK_ROOT = ".fulcrum/work"


class OutputFormat(StrEnum):
    """How the result is printed."""

    TEXT = "text"
    JSON = "json"


def run(
    manifest: Annotated[Path, typer.Argument(help="A CompressionJob.", show_default=False)],
    store: Annotated[
        str, typer.Option(help="Directory or URL of the store for artifacts and evidence.")
    ] = DEFAULT_STORE,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Run every stage, even if its inputs are unchanged.")
    ] = False,
    remeasure: Annotated[
        bool,
        typer.Option("--remeasure", help="Repeat timed stages; take the others from the cache."),
    ] = False,
    output: Annotated[
        OutputFormat, typer.Option(help="Format of the result on standard output.")
    ] = OutputFormat.TEXT,
    quiet: Annotated[bool, typer.Option("--quiet", help="Do not show progress.")] = False,
) -> None:
    """Compress the model of a manifest and decide whether the result is as good.

    Exit codes: 0 pass, 1 failed, 2 wrong usage or manifest, 3 rejected, 4 inconclusive or
    anomalous, 130 interrupted. Files are beside the evidence in the store, under runs/RUN.
    """
    from fulcrum_operator.cli.local_run import run_manifest

    code = run_manifest(
        manifest,
        store_url=store,
        work_root=Path(WORK_ROOT),
        use_cache=not no_cache,
        remeasure=remeasure,
        as_json=output is OutputFormat.JSON,
        quiet=quiet,
    )
    raise typer.Exit(code)
