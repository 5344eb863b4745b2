"""Puts the commands together, and turns errors into one line and an exit code.

Modules of commands import only typer and the standard library at their top, so that `--help` is
instant.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from fulcrum_operator.cli import (
    approve,
    compare,
    gate,
    history,
    init,
    operate,
    promote,
    release,
    report,
    rollback,
    run,
    trigger,
    validate,
)
from fulcrum_operator.cli.saying import say, say_line

FAILED = 1
USAGE = 2

app = typer.Typer(
    name="fulcrum",
    help="Make a trained model smaller and faster, and prove that it is as good.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # half a second of imports for a frame around the help
)
app.command()(run.run)
app.command()(compare.compare)
app.command()(init.init)
app.command()(validate.validate)
app.command()(gate.gate)
app.command()(report.report)
app.command()(trigger.trigger)
app.command()(promote.promote)
app.command()(approve.approve)
app.command()(rollback.rollback)
app.command()(release.release)
app.command()(history.history)
app.command("operator")(operate.operate)


def _print_version(wanted: bool) -> None:
    if wanted:
        import fulcrum_pipelines

        say(f"fulcrum {fulcrum_pipelines.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Keep the commands under their names, even while there is one only."""


def main() -> None:
    """Run the command line; the process ends with its exit code."""
    from fulcrum_pipelines.errors import FulcrumError

    try:
        app()
    except FulcrumError as error:
        say(f"error: {error}", sys.stderr)
        sys.exit(USAGE if error.failure_class == "user" else FAILED)
    except BrokenPipeError:  # the reader of our output has gone
        sys.stderr.close()
        sys.exit(FAILED)
    except Exception as error:
        if os.environ.get("FULCRUM_TRACEBACK"):
            raise
        name, hint = type(error).__name__, "set FULCRUM_TRACEBACK=1 to see the traceback"
        say_line(f"error: {name}: {error}; this is a defect of fulcrum, {hint}", sys.stderr)
        sys.exit(FAILED)


if __name__ == "__main__":
    main()
