"""The real operator with a pipeline that takes no time, and a hand on its effects.

`--kill-at EFFECT` ends the process with SIGKILL right after the effect of that name, which is what
a crash there looks like; `--pause-at` stops everything in it for a while (SIGSTOP), as a machine
that is overloaded or migrated does. A file can say the same to a process that is running already:
`KILL EFFECT` or `STOP EFFECT`, which is taken once. `--block-at` never gives the event loop back,
as code that waits where it must not would.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from unittest import mock

from fulcrum_operator.engines.factory import job_cluster
from fulcrum_operator.engines.job.engine import JobEngine
from fulcrum_operator.engines.process import ProcessEngine
from fulcrum_operator.engines.slots import EngineDesk, Slots
from fulcrum_operator.kubernetes.api import Kube
from fulcrum_operator.kubernetes.election import unique_identity
from fulcrum_operator.kubernetes.fence import Fence
from fulcrum_operator.logs import configure
from fulcrum_operator.runtime.app import Operator
from fulcrum_operator.settings import Settings, load_settings
from fulcrum_pipelines.storage.store import Store

BLOCK_S = 600.0
STAND_IN = (sys.executable, str(Path(__file__).with_name("stand_in.py")))


def main(arguments: Sequence[str]) -> None:
    """Run until a signal, or until the effect of `--kill-at`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--port-file", type=Path, required=True, help="gets the metrics' port")
    parser.add_argument("--kill-at", default="")
    parser.add_argument("--pause-at", default="")
    parser.add_argument("--block-at", default="")
    parser.add_argument("--orders", type=Path, default=Path(os.devnull), help="the file")
    parser.add_argument("--pipeline", type=Path, help="compiled, for the engine kubeflow")
    parser.add_argument("--unique", action="store_true", help="be another candidate each time")
    options = parser.parse_args(arguments)
    settings = load_settings(options.config)
    if options.unique:
        identity = unique_identity(settings.identity)
        settings = settings.model_copy(update={"identity": identity})
    configure(settings.log_format, settings.log_level, sys.stderr)

    def probe(effect: str) -> None:
        print(f"effect {effect}", flush=True)
        if effect == options.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if effect == options.pause_at:
            os.kill(os.getpid(), signal.SIGSTOP)
        if effect == options.block_at:
            time.sleep(BLOCK_S)
        obey(options.orders, effect)

    def started(port: int) -> None:
        partial = options.port_file.with_suffix(".partial")
        partial.write_text(str(port))
        partial.rename(options.port_file)

    build = partial(engines, pipeline=options.pipeline)
    operator = Operator(settings, build, probe, started)
    with mock.patch.object(Fence, "check", printing(Fence.check)):
        asyncio.run(operator.run(asyncio.Event()))


def printing(check: Callable[[Fence], float]) -> Callable[[Fence], float]:
    """Print every write that the fence lets pass: an effect is printed only after its answer."""

    def check_and_print(fence: Fence) -> float:
        left_s = check(fence)
        print("write", flush=True)
        return left_s

    return check_and_print


def obey(orders: Path, effect: str) -> None:
    """Do what the file says, if this is the effect at which to do it."""
    words = orders.read_text().split() if orders.exists() else []
    if len(words) == 2 and effect == words[1]:
        orders.unlink()
        os.kill(os.getpid(), signal.Signals[f"SIG{words[0]}"])


def engines(
    settings: Settings, store: Store, kube: Kube, *, pipeline: Path | None = None
) -> dict[str, EngineDesk]:
    """Return the process engine with the stand-in as its pipeline, and others that are set.

    These take a store that is a directory too: their pods are none.

    Args:
        settings: Of the operator.
        store: Its store.
        kube: The API server.
        pipeline: What the engine kubeflow runs; by default what is shipped.
    """
    engine = ProcessEngine(store, settings.process.work_root, command=STAND_IN, grace_s=1.0)
    found = {"process": EngineDesk(engine, Slots(settings.process.max_running))}
    if settings.job.enabled:
        jobs = JobEngine(store, settings.job, settings.pools, job_cluster(settings, kube))
        found["job"] = EngineDesk(jobs, Slots(settings.job.max_running))
    if settings.kubeflow.url:
        from fulcrum_operator.engines.kubeflow.engine import KubeflowEngine

        given = {} if pipeline is None else {"compiled": lambda _: pipeline.read_text()}
        kubeflow = KubeflowEngine(store, settings.kubeflow, settings.pools, **given)
        found["kubeflow"] = EngineDesk(kubeflow, Slots())
    return found
