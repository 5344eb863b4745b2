"""`fulcrum report`: the HTML report of a run, made again from its records."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="RUN_DIR_OR_EVIDENCE",
            help="Folder of a run in a store, or an evidence.json.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="File to write; by default report.html beside the evidence."
        ),
    ] = None,
) -> None:
    """Write the HTML report of a run, and print where it is."""
    from fulcrum_operator.report.files import write_report

    typer.echo(str(write_report(source, output)))
