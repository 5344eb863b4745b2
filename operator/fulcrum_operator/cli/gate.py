"""`fulcrum gate`: decides again, from a run's evidence and any gates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fulcrum_operator.cli.run import OutputFormat
from fulcrum_operator.cli.saying import say, say_json

if TYPE_CHECKING:
    from fulcrum_pipelines.gates import GateResult, Verdict


def gate(
    results: Annotated[
        str,
        typer.Argument(
            metavar="RESULTS",
            help="An evidence.json, or the folder or URL of a run in a store (STORE/runs/RUN).",
            show_default=False,
        ),
    ],
    policy: Annotated[
        Path,
        typer.Option(help="A file with gates, or a manifest with spec.gates.", show_default=False),
    ],
    output: Annotated[
        OutputFormat, typer.Option(help="Format of the verdict.")
    ] = OutputFormat.TEXT,
) -> None:
    """Decide gates again, offline, from the evidence of a run.

    Exit codes: 0 pass, 1 no answer from a store, 2 wrong usage or file, 3 rejected, 4 inconclusive
    or anomalous.
    """
    from fulcrum_operator.cli.printing import EXIT_CODES
    from fulcrum_pipelines.gates import decide
    from fulcrum_pipelines.manifests import load_gates
    from fulcrum_pipelines.report.files import read_evidence

    verdict = decide(read_evidence(results), load_gates(policy))
    if output is OutputFormat.JSON:
        say_json(verdict.model_dump_json(indent=1))
    else:
        for line in _lines(verdict):
            say(line)
    raise typer.Exit(EXIT_CODES[verdict.outcome])


def _lines(verdict: Verdict) -> list[str]:
    """Return the verdict for a person: outcome, each gate, and what it was decided from."""
    lines = [verdict.outcome, *(f"  {anomaly}" for anomaly in verdict.anomalies)]
    lines += [f"  note: {caveat}" for caveat in verdict.caveats]
    for result in verdict.gates:
        lines += [f"  {_marked(result)}: {result.reason}"]
        lines += [
            f"    {part.verdict} {part.slice}: {part.reason}"
            for part in result.slices
            if part.verdict != "Pass" and part.reason not in result.reason
        ]
    if not verdict.gates:
        lines += [f"  {reason}" for reason in verdict.reasons]
    return [*lines, f"evidence {verdict.evidence}", f"gates    {verdict.policy}"]


def _marked(result: GateResult) -> str:
    dry_run = " (dry run, does not count)" if result.mode == "DryRun" else ""
    return f"{result.verdict} {result.name}{dry_run}"
