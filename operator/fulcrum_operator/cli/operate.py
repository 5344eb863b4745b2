"""`fulcrum operator`: looks after the jobs of a cluster until it is stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def operate(
    config: Annotated[
        Path | None,
        typer.Option(
            help="Settings in YAML; FULCRUM_... variables override them.", show_default=False
        ),
    ] = None,
) -> None:
    """Run the operator: reconcile jobs, promotions and channels, and serve metrics and probes.

    Requires the CRDs in crds/ and the rights in operator/deploy/rbac.yaml. On SIGTERM or SIGINT it
    finishes its current work, releases the Lease and exits.
    """
    import sys

    from fulcrum_operator.logs import configure
    from fulcrum_operator.runtime.app import run_operator
    from fulcrum_operator.settings import load_settings

    settings = load_settings(config)
    configure(settings.log_format, settings.log_level, sys.stderr)
    run_operator(settings)
