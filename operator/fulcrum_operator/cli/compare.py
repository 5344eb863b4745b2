"""`fulcrum compare`: two models and labelled data go in; a verdict and the figures come out."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fulcrum_operator.cli.run import DEFAULT_STORE, WORK_ROOT


class ComparisonFormat(StrEnum):
    """How a comparison is printed."""

    TABLE = "table"
    JSON = "json"
    JUNIT = "junit"


def compare(
    baseline: Annotated[
        str,
        typer.Argument(
            metavar="BASELINE",
            help="The model as it is: .onnx, .pt2 or a bundle.",
            show_default=False,
        ),
    ],
    candidate: Annotated[
        str,
        typer.Argument(
            metavar="CANDIDATE", help="The model that may replace it.", show_default=False
        ),
    ],
    data: Annotated[
        str, typer.Option(help="Test data that neither was trained on.", show_default=False)
    ],
    task: Annotated[str, typer.Option(help="classification or regression.", show_default=False)],
    gates: Annotated[
        Path | None,
        typer.Option(help="A file with gates, or a manifest with spec.gates.", show_default=False),
    ] = None,
    metric: Annotated[
        str, typer.Option(help="Metric that must not get worse.", show_default="the task's first")
    ] = "",
    margin: Annotated[
        float | None,
        typer.Option(
            help="How much worse it may be, in its unit.", show_default="0.01 if it is a share"
        ),
    ] = None,
    target: Annotated[str, typer.Option(help="Array or column of the right answers.")] = "y",
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="NAME=COLUMN",
            help="Array or columns that feed an input; repeatable.",
        ),
    ] = None,
    train: Annotated[
        str, typer.Option(help="Data that the candidate was trained on: finds test examples in it.")
    ] = "",
    batch_size: Annotated[
        list[int] | None, typer.Option(help="Batch size to time; repeatable.", show_default="1")
    ] = None,
    output: Annotated[
        ComparisonFormat, typer.Option(help="Format of the result on standard output.")
    ] = ComparisonFormat.TABLE,
    report: Annotated[
        Path | None, typer.Option(help="File for the HTML report.", show_default=False)
    ] = None,
    store: Annotated[
        str, typer.Option(help="Directory or URL of the store for artifacts and evidence.")
    ] = DEFAULT_STORE,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Run every stage, even if its inputs are unchanged.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Do not show progress.")] = False,
) -> None:
    """Decide whether a model may replace another, without a manifest.

    Exit codes: 0 pass, 1 failed, 2 wrong usage, model or data, 3 rejected, 4 inconclusive or
    anomalous, 130 interrupted.
    """
    from fulcrum_operator.cli.comparing import Question, run_comparison

    question = Question(
        baseline=baseline,
        candidate=candidate,
        data=data,
        task=task,
        gates=gates,
        metric=metric,
        margin=margin,
        target=target,
        inputs=tuple(inputs or ()),
        train=train,
        batch_sizes=tuple(batch_size or ()),
    )
    code = run_comparison(
        question,
        output=output,
        report=report,
        store_url=store,
        work_root=Path(WORK_ROOT),
        use_cache=not no_cache,
        quiet=quiet,
    )
    raise typer.Exit(code)
