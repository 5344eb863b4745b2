"""The real operator with the instant engine; its settings are the defaults wherever they can be."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path

from perf.scale.engine import InstantEngine

from fulcrum_operator.engines.slots import EngineDesk, Slots
from fulcrum_operator.logs import configure
from fulcrum_operator.runtime.app import Operator
from fulcrum_operator.settings import load_settings


def main() -> None:
    """Run until a signal; write the port, and every submission with its time, to files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--hold-s", type=float, required=True)
    options = parser.parse_args()
    settings = load_settings(options.config)
    configure(settings.log_format, settings.log_level, sys.stderr)

    def started(port: int) -> None:
        (options.directory / "port.partial").write_text(str(port))
        (options.directory / "port.partial").rename(options.directory / "port")

    with (options.directory / "submitted").open("a", buffering=1) as submitted:
        engine = InstantEngine(
            Path(settings.store),
            options.hold_s,
            lambda key: print(time.time(), key, file=submitted),
        )
        desks = {"process": EngineDesk(engine, Slots(None))}
        asyncio.run(Operator(settings, lambda *_: desks, started=started).run(asyncio.Event()))
    (options.directory / "engine-cpu").write_text(str(engine.cpu_s))


if __name__ == "__main__":
    main()
