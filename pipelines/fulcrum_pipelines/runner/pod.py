"""Run a plan in a pod of the engine: `python -m fulcrum_pipelines.runner.pod`.

It is the pod's first process. It runs the compiled pipeline as its child, reads the result from the
store, and reports it in the pod's exit code and last message. If the pod is asked to stop, the
pipeline is killed at once: the store has all that is worth keeping, and a model's code must not
turn the drain of a node into a failure of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import get_args

from fulcrum_pipelines.compiled import Part
from fulcrum_pipelines.errors import FulcrumError, InfrastructureError
from fulcrum_pipelines.runner.exit_codes import EXIT_CODES, NO_EVIDENCE, LastWords
from fulcrum_pipelines.runner.isolation import UNTOUCHABLE, hide_process
from fulcrum_pipelines.runner.results import part_status
from fulcrum_pipelines.storage.store import patient_store

LOCAL_RUNNER = (sys.executable, "-m", "fulcrum_pipelines.runner.local")
LAST_MESSAGE = Path("/dev/termination-log")
STORE = "FULCRUM_STORE"


class Stopper:
    """Ends the pipeline when the pod is asked to stop, at any moment."""

    def __init__(self) -> None:
        self.stopped = False
        self._pid: int | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle the signal."""
        self.stopped = True
        self._kill()

    def watch(self, pid: int) -> None:
        """Know the pipeline's process, which leads a group."""
        self._pid = pid
        if self.stopped:
            self._kill()

    def _kill(self) -> None:
        if self._pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._pid, signal.SIGKILL)


def run(
    store_url: str, plan_digest: str, part: Part, work_dir: Path, runner: Sequence[str]
) -> LastWords | None:
    """Run `part` of the plan and return why it failed, or None if it did not.

    Raises:
        FulcrumError: Store or plan cannot be read.
    """
    stopper = Stopper()
    signal.signal(signal.SIGTERM, stopper)
    store = patient_store(store_url)
    plan = store.plan(plan_digest)  # its digest is checked
    command = [
        *(*runner, "--store", store_url, "--plan", plan_digest),
        *("--work-dir", str(work_dir), "--part", part),
    ]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, **UNTOUCHABLE},
    )
    stopper.watch(process.pid)
    _wait(process.pid)
    if stopper.stopped:
        message = "the pod was asked to stop; finished stages are not run again"
        return LastWords("infrastructure", "Stopped", message)
    status = part_status(store, plan, plan_digest, part)
    if status.state == "Succeeded":
        return None
    return LastWords(status.failure_class or "internal", status.reason, status.message)


def _wait(pid: int) -> None:
    """Wait for the end of `pid`; as the first process, reap all others that end meanwhile."""
    while os.waitpid(-1, 0)[0] != pid:
        pass


def exit_code(words: LastWords | None) -> int:
    """Return what the pod ends with."""
    if words is None:
        return 0
    return NO_EVIDENCE if words.reason == "NoEvidence" else EXIT_CODES[words.failure_class]


def main(
    arguments: Sequence[str] | None = None,
    runner: Sequence[str] = LOCAL_RUNNER,
    last_message: Path = LAST_MESSAGE,
) -> int:
    """Run a plan, or a part of it, and return the exit code that says how it ended."""
    parser = argparse.ArgumentParser(description="Run a plan in a pod.")
    parser.add_argument("--store", default=os.environ.get(STORE), help=f"URL; default: ${STORE}")
    parser.add_argument("--plan", required=True, help="digest of the plan in the store")
    parser.add_argument("--part", choices=get_args(Part), default="all")
    parser.add_argument("--work-dir", required=True, type=Path)
    options = parser.parse_args(arguments)
    hide_process()
    if not options.store:
        parser.error(f"--store is needed, or the variable {STORE}")
    try:
        words = run(options.store, options.plan, options.part, options.work_dir, runner)
    except FulcrumError as error:
        words = LastWords(error.failure_class, "NotRun", str(error))
    except OSError as error:
        missing = InfrastructureError(f"{error.strerror}: {error.filename}", where="the pod")
        words = LastWords(missing.failure_class, "NotRun", str(missing))
    if words is not None:
        print(f"{words.failure_class}: {words.reason}: {words.message}", file=sys.stderr)
        with contextlib.suppress(OSError):  # on a machine without pods there is no such file
            last_message.write_text(words.as_text())
    return exit_code(words)


if __name__ == "__main__":
    os.environ["HOME"] = UNTOUCHABLE["HOME"]
    sys.exit(main())
