"""`fulcrum init`: from a model file to files that only need to be filled in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fulcrum_operator.cli.saying import say


def init(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL_FILE",
            help="Weights (.safetensors, .pt, .pth or .bin), an .onnx or a .pt2 file.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory to write to.")] = Path(
        "."
    ),
    force: Annotated[bool, typer.Option("--force", help="Overwrite files.")] = False,
) -> None:
    """Write a commented manifest for a model file, and a bundle around a file of weights."""
    from fulcrum_operator.scaffolding import scaffold

    written = scaffold(model, output, force=force)
    for path in written.files:
        say(f"wrote {path}")
    for path in written.edit:
        say(f"next: fill in what is marked EDIT in {path}")
    say(f"then: fulcrum validate {written.files[-1]} && fulcrum run {written.files[-1]}")
