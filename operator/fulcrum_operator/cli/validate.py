"""`fulcrum validate`: what is wrong with manifests, before anything is run or submitted."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from fulcrum_operator.cli.run import OutputFormat
from fulcrum_operator.cli.saying import say, say_json

USAGE = 2


def validate(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Manifests in YAML or JSON.")
    ],
    against: Annotated[
        Path | None,
        typer.Option(
            help="Current manifests; check that the changes to them are allowed.", exists=True
        ),
    ] = None,
    output: Annotated[OutputFormat, typer.Option(help="Format of the answer.")] = OutputFormat.TEXT,
) -> None:
    """Check manifests offline: schema, rules and names, as a cluster would.

    Prints the field, what is wrong and what is allowed. Exit codes: 0 all are valid, 2 one is not.
    """
    from fulcrum_operator.cli.schedule_checks import check_schedules
    from fulcrum_pipelines.manifests import check_file

    problems = {str(file): check_file(file, against) or check_schedules(file) for file in files}
    if output is OutputFormat.JSON:
        import json
        from dataclasses import asdict

        found = {name: [asdict(each) for each in listed] for name, listed in problems.items()}
        say_json(json.dumps(found, indent=1, ensure_ascii=False))
    else:
        for name, listed in problems.items():
            for problem in listed:
                say(f"{name}: {problem}", sys.stderr)
            if not listed:
                say(f"{name}: valid")
    if any(problems.values()):
        raise typer.Exit(USAGE)
